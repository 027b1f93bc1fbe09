/* policy/later.c - answers that wait: for the sync of a batch, or for another instance
 *
 * One struct later a question that cannot be answered at once.  It is found by
 * its id; what it was asked was copied into it.
 */
#include "policy/policy.h"

#include "lib/mem.h"

uint64_t later_new(struct policy *p, const struct bus_from *from, struct later **out)
{
	struct later *l = xcalloc(1, sizeof(*l));

	l->p = p;
	l->from = *from;
	l->id = idmap_add(p->laters, l);
	TAILQ_INSERT_TAIL(&p->all_laters, l, link);
	*out = l;
	return l->id;
}

struct later *later_find(struct policy *p, uint64_t id)
{
	return idmap_get(p->laters, id);
}

void later_end(struct policy *p, uint64_t id)
{
	struct later *l = idmap_remove(p->laters, id);

	if (l == NULL)
		return;
	TAILQ_REMOVE(&p->all_laters, l, link);
	buf_free(&l->key);
	xfree(l->rcpt);
	xfree(l);
}

void later_end_all(struct policy *p)
{
	struct later *l;

	while ((l = TAILQ_FIRST(&p->all_laters)) != NULL)
		later_end(p, l->id);
}

static void on_written(enum err err, void *owner, uint64_t id)
{
	struct policy *p = policy_of(owner);
	struct later *l;

	if (p == NULL)
		return;
	outbox_kick(p->outbox);
	unsynced_durable(p);
	l = later_find(p, id);
	if (l == NULL)
		return;
	if (err == ERR_OK)
		l->answer(l);
	else
		bus_refuse(p->bus, &l->from, HOLDFAST__REFUSED__WHY__FAILED, "the store failed");
	later_end(p, id);
}

void later_write(struct policy *p, uint64_t id, struct kv_batch **batch)
{
	p->batches++;
	kv_write(p->kv, batch, on_written, p->stage, id);
}

void later_answer_done(struct later *l)
{
	bus_done(l->p->bus, &l->from, HOLDFAST__DONE__RESULT__OK, "");
}

void later_act(struct policy *p, const struct bus_from *from, Holdfast__Done__Result result,
               const char *text, struct kv_batch **batch)
{
	struct later *l;
	uint64_t id;

	if (result != HOLDFAST__DONE__RESULT__OK || kv_batch_empty(*batch)) {
		kv_batch_free(batch);
		bus_done(p->bus, from, result, text);
		return;
	}
	id = later_new(p, from, &l);
	l->answer = later_answer_done;
	later_write(p, id, batch);
}
