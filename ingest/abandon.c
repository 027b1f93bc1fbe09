/* ingest/abandon.c - tells policy which messages were given up
 *
 * An item stays listed from abandon_send() until policy's answer.
 */
#include "ingest/abandon.h"

#include <string.h>
#include "lib/clock.h"
#include "lib/mem.h"

#define RETRY_MS 1000

struct item {
	TAILQ_ENTRY(item) all;
	uint64_t id;
	bool     asked;
	uint64_t not_before_ms;
	struct uuid message;
	char account[INGEST_ACCOUNT_MAX + 1];
};

struct abandon {
	struct ingest *in;
	struct idmap *ids;
	TAILQ_HEAD(, item) items;
};

struct abandon *abandon_new(struct ingest *in)
{
	struct abandon *a = xcalloc(1, sizeof(*a));

	a->in = in;
	a->ids = idmap_new();
	TAILQ_INIT(&a->items);
	return a;
}

static void item_free(struct abandon *a, struct item *it)
{
	TAILQ_REMOVE(&a->items, it, all);
	idmap_remove(a->ids, it->id);
	xfree(it);
}

void abandon_free(struct abandon **ap)
{
	struct abandon *a = *ap;
	struct item *it;

	if (a == NULL)
		return;
	while ((it = TAILQ_FIRST(&a->items)) != NULL)
		item_free(a, it);
	idmap_free(&a->ids);
	xfree(a);
	*ap = NULL;
}

static void on_done(enum err err, const Holdfast__Frame *frame, struct blob *body, void *owner,
                    uint64_t id)
{
	struct ingest *in = ingest_of(owner);
	struct item *it = in ? idmap_get(in->abandon->ids, id) : NULL;

	if (it == NULL)
		return;
	if (err == ERR_OK) {
		metric_add(in->stage->metrics, M_ABANDONED, 1);
		item_free(in->abandon, it);
		return;
	}
	it->asked = false;
	it->not_before_ms = clock_mono_ms() + RETRY_MS;
}

static void item_ask(struct abandon *a, struct item *it)
{
	struct stage *st = a->in->stage;
	Holdfast__Frame frame = HOLDFAST__FRAME__INIT;
	Holdfast__Abandon ab = HOLDFAST__ABANDON__INIT;
	struct bus_to to = { HOLDFAST__ROLE__ROLE_POLICY, 0 };

	to.instance = bus_shard(st->bus, to.stage, it->account, strlen(it->account));
	ab.account = pb_str(it->account);
	ab.message_id = pb_bytes(it->message.b, UUID_LEN);
	frame.body_case = HOLDFAST__FRAME__BODY_ABANDON;
	frame.abandon = &ab;
	it->asked = bus_ask(st->bus, to, &frame, NULL, (uint32_t)a->in->conf.policy_wait, on_done,
	                    st, it->id) == ERR_OK;
	if (!it->asked)
		it->not_before_ms = clock_mono_ms() + RETRY_MS;
}

void abandon_send(struct abandon *a, const char *account, const struct uuid *message)
{
	struct item *it;

	if (idmap_count(a->ids) >= a->in->conf.abandon_waiting) {
		metric_add(a->in->stage->metrics, M_ABANDON_LOST, 1);
		return;
	}
	it = xcalloc(1, sizeof(*it));
	it->message = *message;
	memcpy(it->account, account, strnlen(account, INGEST_ACCOUNT_MAX));
	it->id = idmap_add(a->ids, it);
	TAILQ_INSERT_TAIL(&a->items, it, all);
	item_ask(a, it);
}

void abandon_tick(struct abandon *a, uint64_t now_ms)
{
	struct item *it;

	TAILQ_FOREACH(it, &a->items, all)
		if (!it->asked && now_ms >= it->not_before_ms)
			item_ask(a, it);
}

size_t abandon_open(const struct abandon *a)
{
	return idmap_count(a->ids);
}
