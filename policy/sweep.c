/* policy/sweep.c - verdicts and traces that are past their retention
 *
 * Both are keyed by ids that begin with their time, so the old ones are at the
 * front.  A few hundred go a turn, from where the last turn ended.
 */
#include "policy/policy.h"

#include <string.h>
#include "lib/uuid.h"

enum { A_TURN = 500 };

static void sweep_family(struct policy *p, unsigned cf, uint64_t before_ms, struct buf *at)
{
	struct kv_batch *batch = kv_batch_new();
	struct kv_iter *it = kv_iter_new(p->kv, cf, buf_str(at), at->len, NULL, 0);
	int n = 0;

	while (n < A_TURN && kv_iter_next(it)) {
		size_t len;
		const void *key = kv_iter_key(it, &len);
		struct uuid id;

		if (len < UUID_LEN)
			break;
		memcpy(id.b, key, UUID_LEN);
		if (uuid_time_ms(&id) >= before_ms)
			break;
		kv_del(batch, cf, key, len);
		buf_reset(at);
		buf_add(at, key, len);
		n++;
	}
	(void)kv_iter_free(&it); /* what is not reached now is at the next turn */
	if (kv_batch_empty(batch))
		kv_batch_free(&batch);
	else
		kv_write_lazy(p->kv, &batch);
}

void sweep(struct policy *p, uint64_t now_ms)
{
	sweep_family(p, CF_VERDICT, now_ms - p->conf.verdict_retention_ms, &p->verdict_at);
	sweep_family(p, CF_TRACE, now_ms - p->conf.trace_retention_ms, &p->trace_at);
}
