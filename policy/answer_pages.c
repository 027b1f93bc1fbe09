/* policy/answer_pages.c - what operators read: accounts, lists, page by page
 *
 * A page ends by count or by bytes, whichever comes first, so that its frame stays
 * under bus_frame_size.
 */
#include "policy/policy.h"

#include <string.h>
#include "lib/clock.h"
#include "lib/mem.h"

enum { PAGE_MAX = 256, PAGE_BYTES = 32768 };

static uint32_t page_limit(uint32_t asked)
{
	return asked == 0 || asked > PAGE_MAX ? PAGE_MAX : asked;
}

/* ---- accounts */

static void send_accounts(struct policy *p, const struct bus_from *from,
                          Holdfast__AccountPage *page)
{
	Holdfast__Frame answer = HOLDFAST__FRAME__INIT;

	answer.body_case = HOLDFAST__FRAME__BODY_ACCOUNT_PAGE;
	answer.account_page = page;
	bus_answer(p->bus, from, &answer, NULL);
}

static void one_account(struct policy *p, const struct bus_from *from, const struct account *a)
{
	Holdfast__AccountPage page = HOLDFAST__ACCOUNT_PAGE__INIT;
	Holdfast__Account m = HOLDFAST__ACCOUNT__INIT, *row = &m;

	if (a != NULL && a->exists) {
		accounts_message(a, clock_wall_ms(), &m);
		page.account = &row;
		page.n_account = 1;
	}
	send_accounts(p, from, &page);
}

void answer_account_get(void *state, const struct bus_from *from, const Holdfast__Frame *f,
                        struct blob *body)
{
	struct policy *p = policy_of(state);
	const Holdfast__AccountGet *q = f->account_get;
	Holdfast__AccountPage page = HOLDFAST__ACCOUNT_PAGE__INIT;
	Holdfast__Account rows[PAGE_MAX], *row[PAGE_MAX];
	uint32_t limit = page_limit(q->limit);
	size_t bytes = 0;
	struct kv_iter *it;

	if (q->name.len > 0) {
		one_account(p, from, accounts_find(p, q->name));
		return;
	}
	page.account = row;
	it = kv_iter_new(p->kv, CF_ACCOUNT, q->after.data, q->after.len, NULL, 0);
	while (kv_iter_next(it)) {
		size_t klen;
		const uint8_t *key = kv_iter_key(it, &klen);
		const struct account *a = accounts_find(p, pb_bytes(key, klen));

		if (a == NULL || (klen == q->after.len && memcmp(key, q->after.data, klen) == 0))
			continue;
		if (page.n_account == limit) {
			page.more = true;
			break;
		}
		holdfast__account__init(&rows[page.n_account]);
		accounts_message(a, clock_wall_ms(), &rows[page.n_account]);
		bytes += holdfast__account__get_packed_size(&rows[page.n_account]);
		if (page.n_account > 0 && bytes > PAGE_BYTES) { /* one with many domains is long */
			page.more = true;
			break;
		}
		row[page.n_account] = &rows[page.n_account];
		page.n_account++;
	}
	if (kv_iter_free(&it) == ERR_OK)
		send_accounts(p, from, &page);
	else
		bus_refuse(p->bus, from, HOLDFAST__REFUSED__WHY__FAILED, "store unreadable");
}

/* ---- lists */

struct list_page {
	const struct account *account; /* NULL: the system-wide list */
	Holdfast__ListEntry *row[PAGE_MAX];
	size_t n, limit, bytes;
	bool more;
};

/* Add a packed entry; false when the page is full. */
static bool add_entry(struct list_page *g, const void *p, size_t len, bool history)
{
	Holdfast__ListEntry *e;

	if (g->n == g->limit || g->bytes + len > PAGE_BYTES) {
		g->more = true;
		return false;
	}
	e = holdfast__list_entry__unpack(NULL, len, p);
	if (e == NULL)
		return true; /* an unreadable one hides no other */
	e->stands = !history && (g->account == NULL || list_entry_stands(g->account, e));
	g->bytes += len;
	g->row[g->n++] = e;
	return true;
}

static enum err add_range(struct policy *p, struct list_page *g, unsigned cf,
                          const struct buf *lo, const struct buf *hi, bool skip_lo)
{
	struct kv_iter *it = kv_iter_new(p->kv, cf, lo->data, lo->len, hi->data, hi->len);

	while (kv_iter_next(it)) {
		size_t klen, vlen;
		const void *key = kv_iter_key(it, &klen);
		const void *value = kv_iter_value(it, &vlen);

		if (skip_lo && klen == lo->len && memcmp(key, lo->data, klen) == 0)
			continue;
		if (!add_entry(g, value, vlen, cf == CF_HISTORY))
			break;
	}
	return kv_iter_free(&it);
}

/* One key: its entry, then how it stood before. */
static enum err one_key(struct policy *p, const Holdfast__ListGet *q, const char *account,
                        struct list_page *g)
{
	struct buf k = BUF_INIT, end = BUF_INIT, v = BUF_INIT;
	enum err err;

	key_list(&k, q->list, account, q->key.data, q->key.len);
	err = kv_get(p->kv, CF_LIST, k.data, k.len, &v);
	if (err == ERR_OK && q->after_removed_ms == 0)
		(void)add_entry(g, v.data, v.len, false);
	if (err == ERR_NOENT)
		err = ERR_OK;
	if (err == ERR_OK && q->history) {
		buf_reset(&k);
		key_history(&end, q->list, account, q->key.data, q->key.len, 0);
		buf_add(&end, "\xff\xff\xff\xff\xff\xff\xff\xff", 8);
		key_history(&k, q->list, account, q->key.data, q->key.len, q->after_removed_ms);
		err = add_range(p, g, CF_HISTORY, &k, &end, q->after_removed_ms != 0);
	}
	buf_free(&k);
	buf_free(&end);
	buf_free(&v);
	return err;
}

/* A page of the list, or of its history. */
static enum err key_page(struct policy *p, const Holdfast__ListGet *q, const char *account,
                         struct list_page *g)
{
	struct buf lo = BUF_INIT, hi = BUF_INIT;
	enum err err;

	if (q->history && q->after.len > 0)
		key_history(&lo, q->list, account, q->after.data, q->after.len,
		            q->after_removed_ms);
	else
		key_list(&lo, q->list, account, q->after.data, q->after.len);
	key_list(&hi, q->list, account, "", 0);
	hi.data[hi.len - 1] = 1; /* behind every key of this account */
	err = add_range(p, g, q->history ? CF_HISTORY : CF_LIST, &lo, &hi,
	                q->after.len > 0); /* it ended the page before */
	buf_free(&lo);
	buf_free(&hi);
	return err;
}

static void send_list(struct policy *p, const struct bus_from *from, struct list_page *g)
{
	Holdfast__ListPage page = HOLDFAST__LIST_PAGE__INIT;
	Holdfast__Frame answer = HOLDFAST__FRAME__INIT;

	page.entry = g->row;
	page.n_entry = g->n;
	page.more = g->more;
	answer.body_case = HOLDFAST__FRAME__BODY_LIST_PAGE;
	answer.list_page = &page;
	bus_answer(p->bus, from, &answer, NULL);
}

void answer_list_get(void *state, const struct bus_from *from, const Holdfast__Frame *f,
                     struct blob *body)
{
	struct policy *p = policy_of(state);
	const Holdfast__ListGet *q = f->list_get;
	struct list_page g = { .limit = page_limit(q->limit) };
	bool system = q->list == HOLDFAST__LIST_NAME__LIST_SYSTEM;
	enum err err;

	g.account = system ? NULL : accounts_find(p, q->account);
	if (q->list < HOLDFAST__LIST_NAME__LIST_BOUNCE ||
	    q->list > HOLDFAST__LIST_NAME__LIST_SYSTEM ||
	    (!system && g.account == NULL)) {
		bus_done(p->bus, from, HOLDFAST__DONE__RESULT__NO_SUCH, "no such account or list");
		return;
	}
	if (q->key.len > 0)
		err = one_key(p, q, system ? "" : g.account->name, &g);
	else
		err = key_page(p, q, system ? "" : g.account->name, &g);
	if (err == ERR_OK)
		send_list(p, from, &g);
	else
		bus_refuse(p->bus, from, HOLDFAST__REFUSED__WHY__FAILED, "store unreadable");
	for (size_t i = 0; i < g.n; i++)
		holdfast__list_entry__free_unpacked(g.row[i], NULL);
}
