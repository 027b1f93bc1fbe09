/* policy/life.c - the start, the ticks and the end of policy
 */
#include "policy/policy.h"

#include "lib/log.h"
#include "lib/mem.h"

enum { SWEEP_TICKS = 10 };

enum err policy_open(struct stage *st)
{
	struct policy *p = xcalloc(1, sizeof(*p));
	enum err err;

	p->stage = st;
	p->kv = st->kv;
	p->bus = st->bus;
	p->conf = *(const struct policy_conf *)st->worker->conf;
	p->laters = idmap_new();
	TAILQ_INIT(&p->all_laters);
	TAILQ_INIT(&p->unsynced_by_batch);
	TAILQ_INIT(&p->rated_by_age);
	st->state = p;
	err = credential_open(p);
	if (err == ERR_OK)
		err = accounts_load(p);
	if (err == ERR_OK)
		err = reserve_load(p);
	if (err == ERR_OK)
		err = sources_load(p);
	if (err == ERR_OK)
		err = outbox_open(p->kv, CF_OUTBOX, p->bus, &p->outbox);
	if (err != ERR_OK)
		return err;
	p->system_entries = store_u64_get(p->kv, CF_SYS, "system_entries", 14);
	log_info("accounts_loaded", LOGU("accounts", p->n_accounts),
	         LOGU("reservations", reserve_count(p)));
	return ERR_OK;
}

bool policy_busy(struct stage *st)
{
	return idmap_count(policy_of(st)->laters) > 0;
}

void policy_close(struct stage *st)
{
	struct policy *p = policy_of(st);

	if (p == NULL)
		return;
	outbox_close(&p->outbox);
	reserve_free(p);
	rated_free(p);
	sources_free(p);
	apply_free(p);
	unsynced_free(p);
	accounts_free(p);
	later_end_all(p);
	idmap_free(&p->laters);
	buf_free(&p->verdict_at);
	buf_free(&p->trace_at);
	xfree(p);
	st->state = NULL;
}

void policy_tick(struct stage *st, uint64_t wall_ms)
{
	struct policy *p = policy_of(st);

	outbox_tick(p->outbox);
	if (++p->ticks % SWEEP_TICKS != 0)
		return;
	reserve_expire(p, wall_ms);
	rated_expire(p, wall_ms);
	sweep(p, wall_ms);
}

void policy_collect(struct stage *st)
{
	struct policy *p = policy_of(st);

	metric_gauge(st->metrics, PM_ACCOUNTS, p->n_accounts);
	metric_gauge(st->metrics, PM_RESERVATIONS, (double)reserve_count(p));
	metric_gauge(st->metrics, PM_SYSTEM_ENTRIES, (double)p->system_entries);
	metric_gauge(st->metrics, PM_UNSENT, (double)outbox_unsent(p->outbox));
	metric_gauge(st->metrics, PM_IN_FLIGHT, (double)idmap_count(p->laters));
}

enum err policy_reload(struct stage *st, const void *conf)
{
	policy_of(st)->conf = *(const struct policy_conf *)conf;
	return ERR_OK;
}
