/* policy/list.c - the Bounce, Unsubscribe and system-wide lists
 *
 * An entry lies in CF_LIST while it stands or counts; what ended is in
 * CF_HISTORY.  A soft entry stands when its count has reached the account's
 * limit as it is now, so lowering the limit acts at once.
 */
#include "policy/policy.h"

#include <string.h>
#include "lib/clock.h"
#include "lib/log.h"
#include "lib/mem.h"

#define BOUNCE      HOLDFAST__LIST_NAME__LIST_BOUNCE
#define UNSUBSCRIBE HOLDFAST__LIST_NAME__LIST_UNSUBSCRIBE
#define SYSTEM      HOLDFAST__LIST_NAME__LIST_SYSTEM

enum { KEY_MAX = 320 };

static bool is_soft(const Holdfast__ListEntry *e)
{
	return e->list == BOUNCE && pb_is(e->origin, "soft");
}

bool list_entry_stands(const struct account *a, const Holdfast__ListEntry *e)
{
	return !is_soft(e) || e->soft_count >= a->soft_limit;
}

static bool is_domain(ProtobufCBinaryData key)
{
	return memchr(key.data, '@', key.len) == NULL;
}

/* Which of an account's counters an entry counts in. */
static enum listed counter_of(const Holdfast__ListEntry *e)
{
	if (e->list == UNSUBSCRIBE)
		return is_domain(e->key) ? LISTED_DOMAIN : LISTED_UNSUBSCRIBE;
	return is_soft(e) ? LISTED_SOFT : LISTED_BOUNCE;
}

static void count_entry(struct policy *p, struct account *a, const Holdfast__ListEntry *e,
                        int by, struct kv_batch *batch)
{
	if (e->list == SYSTEM) {
		p->system_entries += (uint64_t)by;
		store_u64_put(batch, CF_SYS, "system_entries", 14, p->system_entries);
		return;
	}
	a->figures.listed[counter_of(e)] += (uint64_t)by;
	store_figures_put(batch, a->name, &a->figures);
}

/* ---- verdicts */

static bool on_bounce(struct policy *p, const struct account *a, ProtobufCBinaryData key,
                      bool *soft)
{
	Holdfast__ListEntry *e;
	bool stands;

	if (a->figures.listed[LISTED_BOUNCE] + a->figures.listed[LISTED_SOFT] == 0)
		return false;
	e = unsynced_get(p, BOUNCE, a->name, key.data, key.len);
	if (e == NULL)
		return false;
	stands = list_entry_stands(a, e);
	*soft = is_soft(e);
	holdfast__list_entry__free_unpacked(e, NULL);
	return stands;
}

/* The bypass for transactional mail never covers a complaint. */
static bool unsubscribed(struct policy *p, const struct account *a, const void *key, size_t len)
{
	Holdfast__ListEntry *e = unsynced_get(p, UNSUBSCRIBE, a->name, key, len);
	bool hit;

	if (e == NULL)
		return false;
	hit = !a->bypass_unsubscribe || pb_is(e->origin, "complaint");
	holdfast__list_entry__free_unpacked(e, NULL);
	return hit;
}

/* The domain itself, then ".suffix" for each of its parents. */
static bool domain_unsubscribed(struct policy *p, const struct account *a,
                                ProtobufCBinaryData key)
{
	const char *at = memrchr(key.data, '@', key.len);
	const char *end = (const char *)key.data + key.len;

	if (at == NULL)
		return false;
	if (unsubscribed(p, a, at + 1, (size_t)(end - at - 1)))
		return true;
	for (const char *dot = memchr(at, '.', (size_t)(end - at)); dot != NULL;
	     dot = memchr(dot + 1, '.', (size_t)(end - dot - 1))) {
		if (unsubscribed(p, a, dot, (size_t)(end - dot)))
			return true;
	}
	return false;
}

static bool on_unsubscribe(struct policy *p, const struct account *a, ProtobufCBinaryData key)
{
	if (a->figures.listed[LISTED_UNSUBSCRIBE] > 0 && unsubscribed(p, a, key.data, key.len))
		return true;
	return a->figures.listed[LISTED_DOMAIN] > 0 && domain_unsubscribed(p, a, key);
}

bool list_blocked(struct policy *p, ProtobufCBinaryData key)
{
	Holdfast__ListEntry *e;

	if (p->system_entries == 0)
		return false;
	e = unsynced_get(p, SYSTEM, "", key.data, key.len);
	if (e == NULL)
		return false;
	holdfast__list_entry__free_unpacked(e, NULL);
	return true;
}

bool list_system_is_here(const struct policy *p, ProtobufCBinaryData key)
{
	unsigned i;

	if (p->bus == NULL)
		return true;
	i = bus_shard(p->bus, HOLDFAST__ROLE__ROLE_POLICY, key.data, key.len);
	return bus_is_self(p->bus, HOLDFAST__ROLE__ROLE_POLICY, i);
}

void list_verdict(struct policy *p, const struct account *a, ProtobufCBinaryData key,
                  Holdfast__Verdict *out, unsigned *hits, bool *remote)
{
	bool soft = false;

	*hits = 0;
	*remote = false;
	if (on_bounce(p, a, key, &soft))
		*hits |= 1u << HOLDFAST__VERDICT_CLASS__VERDICT_BOUNCE;
	if (on_unsubscribe(p, a, key))
		*hits |= 1u << HOLDFAST__VERDICT_CLASS__VERDICT_UNSUBSCRIBE;
	if (!list_system_is_here(p, key))
		*remote = true;
	else if (list_blocked(p, key))
		*hits |= 1u << HOLDFAST__VERDICT_CLASS__VERDICT_BLOCK;
	if (*hits == 0)
		return;
	out->class_ = (Holdfast__VerdictClass)__builtin_ctz(*hits); /* the first in order */
	out->soft = soft;
}

/* ---- what outcomes teach */

static void entry_of_event(const struct account *a, const Holdfast__Event *ev,
                           Holdfast__ListName list, const char *origin,
                           Holdfast__ListEntry *e)
{
	holdfast__list_entry__init(e);
	e->list = list;
	e->account = pb_str(list == SYSTEM ? "" : a->name);
	e->key = ev->key;
	e->added_ms = ev->time_ms;
	e->origin = pb_str(origin);
	e->evidence = ev->evidence;
	e->message_id = ev->message_id;
	e->version = 1;
}

static void log_listed(const struct account *a, const Holdfast__ListEntry *e, const char *list)
{
	struct uuid id = { { 0 } };

	if (e->message_id.len == UUID_LEN)
		memcpy(id.b, e->message_id.data, UUID_LEN);
	log_info("listed", LOGID(&id), LOGS("list", list), LOGS("account", a->name),
	         LOGB("address", e->key.data, e->key.len),
	         LOGB("origin", e->origin.data, e->origin.len));
}

static Holdfast__ListEntry *bounce_entry(struct policy *p, const struct account *a,
                                         const Holdfast__Event *ev)
{
	return unsynced_get(p, BOUNCE, a->name, ev->key.data, ev->key.len);
}

void list_hard(struct policy *p, struct account *a, const Holdfast__Event *ev,
               struct kv_batch *batch)
{
	Holdfast__ListEntry *old = bounce_entry(p, a, ev);
	Holdfast__ListEntry e;

	if (old != NULL && !is_soft(old)) {
		holdfast__list_entry__free_unpacked(old, NULL);
		return; /* the first evidence stays */
	}
	if (old != NULL) {
		count_entry(p, a, old, -1, batch);
		holdfast__list_entry__free_unpacked(old, NULL);
	}
	entry_of_event(a, ev, BOUNCE, "hard", &e);
	unsynced_put(p, batch, &e);
	count_entry(p, a, &e, 1, batch);
	log_listed(a, &e, "bounce");
	metric_add(p->stage->metrics, PM_LISTED, 1);
}

/* One message may have an address twice: that is one soft bounce. */
static bool same_message(const Holdfast__ListEntry *e, const Holdfast__Event *ev)
{
	return e->message_id.len == ev->message_id.len &&
	       memcmp(e->message_id.data, ev->message_id.data, ev->message_id.len) == 0;
}

void list_soft(struct policy *p, struct account *a, const Holdfast__Event *ev,
               struct kv_batch *batch)
{
	Holdfast__ListEntry *old = bounce_entry(p, a, ev);
	Holdfast__ListEntry e;
	uint32_t count = 1;

	if (old != NULL && (!is_soft(old) || same_message(old, ev))) {
		holdfast__list_entry__free_unpacked(old, NULL);
		return;
	}
	if (old != NULL)
		count = old->soft_count + 1;
	entry_of_event(a, ev, BOUNCE, "soft", &e);
	e.soft_count = count;
	unsynced_put(p, batch, &e);
	if (old == NULL)
		count_entry(p, a, &e, 1, batch);
	holdfast__list_entry__free_unpacked(old, NULL);
	if (count == a->soft_limit) {
		log_listed(a, &e, "bounce");
		metric_add(p->stage->metrics, PM_LISTED, 1);
	}
}

void list_delivered(struct policy *p, struct account *a, const Holdfast__Event *ev,
                    struct kv_batch *batch)
{
	Holdfast__ListEntry *e;

	if (a->figures.listed[LISTED_SOFT] == 0)
		return;
	e = bounce_entry(p, a, ev);
	if (e != NULL && is_soft(e) && !list_entry_stands(a, e)) {
		unsynced_del(p, batch, e);
		count_entry(p, a, e, -1, batch);
	}
	if (e != NULL)
		holdfast__list_entry__free_unpacked(e, NULL);
}

void list_block_invalid(struct policy *p, const Holdfast__Event *ev, struct kv_batch *batch)
{
	static const struct account nobody;
	Holdfast__ListEntry e;

	if (list_blocked(p, ev->key))
		return;
	entry_of_event(NULL, ev, SYSTEM, "invalid", &e);
	unsynced_put(p, batch, &e);
	count_entry(p, NULL, &e, 1, batch);
	log_listed(&nobody, &e, "system");
}

/* ---- by hand */

static Holdfast__Done__Result invalid(const char **text, const char *why)
{
	*text = why;
	return HOLDFAST__DONE__RESULT__INVALID;
}

static Holdfast__Done__Result find_account(struct policy *p, Holdfast__ListName list,
                                           ProtobufCBinaryData name, ProtobufCBinaryData key,
                                           struct account **a, const char **text)
{
	*a = NULL;
	if (list != BOUNCE && list != UNSUBSCRIBE && list != SYSTEM)
		return invalid(text, "no such list");
	if (key.len == 0 || key.len > KEY_MAX || memchr(key.data, '\0', key.len) != NULL)
		return invalid(text, "no good address");
	if (is_domain(key) && list != UNSUBSCRIBE)
		return invalid(text, "domains go on the Unsubscribe list only");
	if (list == SYSTEM)
		return HOLDFAST__DONE__RESULT__OK;
	*a = accounts_find(p, name);
	if (*a != NULL && (*a)->exists)
		return HOLDFAST__DONE__RESULT__OK;
	*text = "no such account";
	return HOLDFAST__DONE__RESULT__NO_SUCH;
}

/* A complaint says so even where the account had added the address, and an owner's wish is not
 * undone by whoever may ask for the removal of an invalid address. */
static bool is_stronger(const Holdfast__ListEntry *e, const Holdfast__ListEntry *old)
{
	const char *strongest = e->list == UNSUBSCRIBE ? "complaint"
	                      : e->list == SYSTEM      ? "owner" : "";

	return pb_is(e->origin, strongest) && !pb_is(old->origin, strongest);
}

/* old makes way for an entry of the same key: it goes to the history. */
static void replace(struct policy *p, struct account *a, Holdfast__ListEntry *old,
                    uint64_t now_ms, struct kv_batch *batch)
{
	ProtobufCBinaryData by = old->removed_by; /* only lent for the record */

	count_entry(p, a, old, -1, batch);
	old->removed_ms = now_ms;
	old->removed_by = pb_str("replaced");
	store_history_put(batch, old);
	old->removed_by = by;
}

Holdfast__Done__Result list_put(struct policy *p, const Holdfast__ListPut *put, uint64_t now_ms,
                                struct kv_batch *batch, const char **text)
{
	Holdfast__ListEntry e = *put->entry, *old;
	struct account *a;
	Holdfast__Done__Result r = find_account(p, e.list, e.account, e.key, &a, text);

	if (r != HOLDFAST__DONE__RESULT__OK)
		return r;
	if (e.origin.len == 0 || e.origin.len > 32 || e.by.len > 128 || e.note.len > 512)
		return invalid(text, "origin, name or note is missing or too long");
	old = unsynced_get(p, e.list, a == NULL ? "" : a->name, e.key.data, e.key.len);
	if (old != NULL) {
		bool stays = (a == NULL || list_entry_stands(a, old)) && !is_stronger(&e, old);

		if (!stays)
			replace(p, a, old, now_ms, batch);
		holdfast__list_entry__free_unpacked(old, NULL);
		if (stays) {
			*text = "it is on the list already";
			return HOLDFAST__DONE__RESULT__NO_CHANGE;
		}
	}
	if (a == NULL)
		e.account = pb_str("");
	e.added_ms = now_ms;
	e.removed_ms = 0;
	e.soft_count = 0;
	e.version = 1;
	unsynced_put(p, batch, &e);
	count_entry(p, a, &e, 1, batch);
	return HOLDFAST__DONE__RESULT__OK;
}

Holdfast__Done__Result list_remove(struct policy *p, const Holdfast__ListRemove *rm,
                                   uint64_t now_ms, struct kv_batch *batch, const char **text)
{
	Holdfast__ListEntry *e;
	ProtobufCBinaryData by;
	struct account *a;
	Holdfast__Done__Result r = find_account(p, rm->list, rm->account, rm->key, &a, text);

	if (r != HOLDFAST__DONE__RESULT__OK)
		return r;
	if (rm->by.len > 128 || rm->reason.len > 512)
		return invalid(text, "name or reason too long");
	e = unsynced_get(p, rm->list, a == NULL ? "" : a->name, rm->key.data, rm->key.len);
	if (e == NULL) {
		*text = "it is not on the list";
		return HOLDFAST__DONE__RESULT__NO_SUCH;
	}
	unsynced_del(p, batch, e);
	count_entry(p, a, e, -1, batch);
	by = e->removed_by; /* keep what unpack allocated: only lent for the record */
	e->removed_ms = now_ms;
	e->removed_by = rm->by;
	store_history_put(batch, e);
	e->removed_by = by;
	holdfast__list_entry__free_unpacked(e, NULL);
	return HOLDFAST__DONE__RESULT__OK;
}
