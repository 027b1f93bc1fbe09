/* policy/accounts.c - all accounts in memory, their records on disk
 *
 * Bounded by accounts_max, which refuses new ones.  An account is never freed
 * while the process runs, so a pointer to one is good for ever.
 */
#include "policy/policy.h"

#include <string.h>
#include "lib/log.h"
#include "lib/mem.h"

struct account *accounts_find(const struct policy *p, ProtobufCBinaryData name)
{
	const void *key = name.len > 0 ? (const void *)name.data : ""; /* empty bytes are NULL */
	struct account *a;

	HASH_FIND(hh, p->accounts, key, name.len, a);
	return a;
}

static struct account *account_new(struct policy *p, ProtobufCBinaryData name)
{
	struct account *a = xcalloc(1, sizeof(*a));

	if (name.len > 0)
		memcpy(a->name, name.data, name.len);
	a->soft_limit = (unsigned)p->conf.soft_limit;
	holdfast__terms__init(&a->terms);
	HASH_ADD(hh, p->accounts, name, name.len, a);
	return a;
}

struct account *accounts_ledger(struct policy *p, ProtobufCBinaryData name)
{
	struct account *a = accounts_find(p, name);

	return a != NULL ? a : account_new(p, name);
}

/* ---- records */

static void from_record(struct account *a, const Holdfast__Account *m)
{
	a->exists = true;
	a->state = m->state;
	a->hold = m->hold;
	xfree(a->reason);
	a->reason = pb_strdup(m->reason);
	a->created_ms = m->created_ms;
	a->changed_ms = m->changed_ms;
	a->quota[WINDOW_HOUR] = m->quota_hour;
	a->quota[WINDOW_DAY] = m->quota_day;
	a->quota[WINDOW_MONTH] = m->quota_month;
	a->quota[WINDOW_TOTAL] = m->quota_total;
	a->soft_limit = m->soft_limit;
	a->bypass_unsubscribe = m->bypass_unsubscribe;
	a->rate_minute = m->rate_minute;
	terms_set(&a->terms, m);
}

static void to_record(const struct account *a, Holdfast__Account *m)
{
	m->name = pb_str(a->name);
	m->state = a->state;
	m->hold = a->hold;
	m->reason = pb_str(a->reason != NULL ? a->reason : "");
	m->created_ms = a->created_ms;
	m->changed_ms = a->changed_ms;
	m->quota_hour = a->quota[WINDOW_HOUR];
	m->quota_day = a->quota[WINDOW_DAY];
	m->quota_month = a->quota[WINDOW_MONTH];
	m->quota_total = a->quota[WINDOW_TOTAL];
	m->soft_limit = a->soft_limit;
	m->bypass_unsubscribe = a->bypass_unsubscribe;
	m->rate_minute = a->rate_minute;
	terms_message(&a->terms, m);
	m->version = 1;
}

void accounts_message(const struct account *a, uint64_t now_ms, Holdfast__Account *out)
{
	const struct used *u = a->figures.used;

	to_record(a, out);
	out->used_hour = quota_used(&u[WINDOW_HOUR], WINDOW_HOUR, now_ms) + a->reserved;
	out->used_day = quota_used(&u[WINDOW_DAY], WINDOW_DAY, now_ms) + a->reserved;
	out->used_month = quota_used(&u[WINDOW_MONTH], WINDOW_MONTH, now_ms) + a->reserved;
	out->used_total = quota_used(&u[WINDOW_TOTAL], WINDOW_TOTAL, now_ms) + a->reserved;
}

static void load_account(struct policy *p, ProtobufCBinaryData name, const void *v, size_t len)
{
	Holdfast__Account *m = holdfast__account__unpack(NULL, len, v);

	if (m == NULL) {
		log_error("record_unreadable", LOGS("family", "account"),
		          LOGB("account", name.data, name.len));
		return;
	}
	from_record(account_new(p, name), m);
	p->n_accounts++;
	holdfast__account__free_unpacked(m, NULL);
}

static void load_figures(struct policy *p, ProtobufCBinaryData name, const void *v, size_t len)
{
	struct account *a = accounts_ledger(p, name);

	if (store_figures_parse(v, len, &a->figures) != ERR_OK)
		log_error("record_unreadable", LOGS("family", "figures"), LOGS("account", a->name));
}

static enum err load(struct policy *p, unsigned cf,
                     void (*one)(struct policy *p, ProtobufCBinaryData name, const void *v,
                                 size_t len))
{
	struct kv_iter *it = kv_iter_new(p->kv, cf, "", 0, NULL, 0);

	while (kv_iter_next(it)) {
		size_t klen, vlen;
		const void *key = kv_iter_key(it, &klen);
		const void *value = kv_iter_value(it, &vlen);

		if (klen <= ACCOUNT_NAME_MAX)
			one(p, pb_bytes(key, klen), value, vlen);
	}
	return kv_iter_free(&it);
}

enum err accounts_load(struct policy *p)
{
	enum err err = load(p, CF_ACCOUNT, load_account);

	return err != ERR_OK ? err : load(p, CF_FIGURES, load_figures);
}

void accounts_free(struct policy *p)
{
	struct account *a, *next;

	HASH_ITER(hh, p->accounts, a, next) {
		HASH_DEL(p->accounts, a);
		xfree(a->reason);
		terms_free(&a->terms);
		xfree(a);
	}
}

/* ---- changes */

static Holdfast__Done__Result invalid(const char **text, const char *why)
{
	*text = why;
	return HOLDFAST__DONE__RESULT__INVALID;
}

static bool sets(const Holdfast__AccountPut *put, const char *field)
{
	for (size_t i = 0; i < put->n_set; i++) {
		if (pb_is(put->set[i], field))
			return true;
	}
	return false;
}

/* Copy what put names into m, an account's record as it is now. */
static void merge(const Holdfast__AccountPut *put, Holdfast__Account *m)
{
	const Holdfast__Account *from = put->account;

	if (sets(put, "quota_hour"))
		m->quota_hour = from->quota_hour;
	if (sets(put, "quota_day"))
		m->quota_day = from->quota_day;
	if (sets(put, "quota_month"))
		m->quota_month = from->quota_month;
	if (sets(put, "quota_total"))
		m->quota_total = from->quota_total;
	if (sets(put, "soft_limit"))
		m->soft_limit = from->soft_limit;
	if (sets(put, "bypass_unsubscribe"))
		m->bypass_unsubscribe = from->bypass_unsubscribe;
	if (sets(put, "rate_minute"))
		m->rate_minute = from->rate_minute;
	if (sets(put, "check_from"))
		m->check_from = from->check_from;
	if (sets(put, "accept_refused"))
		m->accept_refused = from->accept_refused;
	if (sets(put, "notify"))
		m->notify = from->notify;
	if (sets(put, "manager"))
		m->manager = from->manager;
}

/* Make keys of the From domains that put names.  Each verdict on a MAIL carries them. */
static Holdfast__Done__Result merge_domains(const struct policy *p,
                                            const Holdfast__AccountPut *put,
                                            struct terms_domains *d, Holdfast__Account *m,
                                            const char **text)
{
	enum err err;

	if (!sets(put, "from_domain"))
		return HOLDFAST__DONE__RESULT__OK;
	err = terms_domains(put->account->from_domain, put->account->n_from_domain, d);
	if (err == ERR_TOOBIG)
		return invalid(text, "more than 100 from_domain");
	if (err != ERR_OK)
		return invalid(text, "a from_domain is no domain");
	if (p->bus != NULL && d->bytes.len > bus_frame_limit(p->bus) / 2)
		return invalid(text, "from_domain does not fit into bus_frame_size");
	m->from_domain = d->key;
	m->n_from_domain = d->n;
	return HOLDFAST__DONE__RESULT__OK;
}

static void audit(struct policy *p, const struct account *a, const Holdfast__AccountPut *put,
                  uint64_t now_ms, struct kv_batch *batch)
{
	struct buf k = BUF_INIT, v = BUF_INIT;

	key_audit(&k, a->name, now_ms, ++p->serial);
	buf_addf(&v, "%s by %.*s: %.*s", account_state_name(a->state), (int)put->by.len,
	         (const char *)put->by.data, (int)put->reason.len, (const char *)put->reason.data);
	kv_put(batch, CF_AUDIT, k.data, k.len, v.data, v.len);
	buf_free(&k);
	buf_free(&v);
}

/* The state that put asks for, checked against the table of transitions. */
static Holdfast__Done__Result next_state(const Holdfast__AccountPut *put,
                                         Holdfast__AccountState now, Holdfast__Account *m,
                                         const char **text)
{
	Holdfast__AccountState want = put->account->state;
	Holdfast__HoldReason hold;

	if (!sets(put, "state")) {
		if (!put->create)
			return HOLDFAST__DONE__RESULT__OK;
		want = HOLDFAST__ACCOUNT_STATE__ACCOUNT_PENDING;
	}
	if (want == now && !put->create)
		return HOLDFAST__DONE__RESULT__OK;
	if (account_transition(now, want, &hold) != ERR_OK)
		return invalid(text, now == HOLDFAST__ACCOUNT_STATE__ACCOUNT_DISABLED
		                             ? "a disabled account goes to review first"
		                             : "that state cannot follow the present one");
	m->state = want;
	m->hold = hold;
	m->reason = put->reason;
	return HOLDFAST__DONE__RESULT__OK;
}

static Holdfast__Done__Result check_put(const struct policy *p, const struct account *a,
                                        const Holdfast__AccountPut *put, const char **text)
{
	ProtobufCBinaryData name = put->account->name;

	if (!account_name_good((const char *)name.data, name.len))
		return invalid(text, "no good account name");
	if (put->create && a != NULL && a->exists)
		return HOLDFAST__DONE__RESULT__EXISTS;
	if (!put->create && (a == NULL || !a->exists))
		return HOLDFAST__DONE__RESULT__NO_SUCH;
	if (put->create && p->n_accounts >= p->conf.accounts_max)
		return invalid(text, "accounts_max is reached");
	if (sets(put, "soft_limit") &&
	    (put->account->soft_limit < 1 || put->account->soft_limit > 9))
		return invalid(text, "soft_limit is 1 to 9");
	if (sets(put, "rate_minute") && put->account->rate_minute > RATE_MINUTE_MAX)
		return invalid(text, "rate_minute is at most 1000000000");
	if (sets(put, "notify") &&
	    (unsigned)put->account->notify > HOLDFAST__NOTIFY_WHO__NOTIFY_BOTH)
		return invalid(text, "notify is none, manager, from or both");
	if (sets(put, "manager") && !terms_manager_good(put->account->manager))
		return invalid(text, "manager is no address");
	if (put->reason.len > 512 || put->by.len > 128)
		return invalid(text, "reason or name too long");
	return HOLDFAST__DONE__RESULT__OK;
}

/* What m says together. */
static Holdfast__Done__Result check_merged(const Holdfast__Account *m, const char **text)
{
	bool to_manager = m->notify == HOLDFAST__NOTIFY_WHO__NOTIFY_MANAGER ||
	                  m->notify == HOLDFAST__NOTIFY_WHO__NOTIFY_BOTH;

	if (to_manager && m->manager.len == 0)
		return invalid(text, "who notifies a manager needs one");
	return HOLDFAST__DONE__RESULT__OK;
}

/* m is what the account is to be; it borrows from a, put and whatever else. */
static void store_account(struct policy *p, struct account *a, const Holdfast__AccountPut *put,
                          Holdfast__Account *m, uint64_t now_ms, struct kv_batch *batch)
{
	char *reason = a->reason; /* m->reason may point to it */

	if (put->create) {
		m->created_ms = now_ms;
		p->n_accounts++;
	}
	m->changed_ms = now_ms;
	store_put_message(batch, CF_ACCOUNT, a->name, strlen(a->name), &m->base);
	a->reason = NULL;
	from_record(a, m);
	xfree(reason);
	audit(p, a, put, now_ms, batch);
}

Holdfast__Done__Result accounts_put(struct policy *p, const Holdfast__AccountPut *put,
                                    uint64_t now_ms, struct kv_batch *batch,
                                    const char **text)
{
	struct account *a = accounts_find(p, put->account->name);
	struct terms_domains domains = { .bytes = BUF_INIT };
	Holdfast__Account m = HOLDFAST__ACCOUNT__INIT;
	Holdfast__Done__Result result = check_put(p, a, put, text);

	if (result != HOLDFAST__DONE__RESULT__OK)
		return result;
	if (a == NULL)
		a = account_new(p, put->account->name);
	to_record(a, &m);
	merge(put, &m);
	result = next_state(put, a->exists ? a->state : HOLDFAST__ACCOUNT_STATE__ACCOUNT_NONE, &m,
	                    text);
	if (result == HOLDFAST__DONE__RESULT__OK)
		result = check_merged(&m, text);
	if (result == HOLDFAST__DONE__RESULT__OK)
		result = merge_domains(p, put, &domains, &m, text);
	if (result == HOLDFAST__DONE__RESULT__OK)
		store_account(p, a, put, &m, now_ms, batch);
	buf_free(&domains.bytes);
	return result;
}
