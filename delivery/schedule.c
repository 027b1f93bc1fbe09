/* delivery/schedule.c - see schedule.h
 *
 * Waits are whole numbers of ms; the factor is applied with the limit checked first, so that
 * nothing overflows.
 */
#include "delivery/schedule.h"

static uint64_t wait_after(const struct schedule *s, uint32_t attempts)
{
	uint64_t wait = s->min_ms;

	for (uint32_t i = 1; i < attempts && wait < s->max_ms; i++)
		wait = s->factor > 1 && wait > s->max_ms / s->factor ? s->max_ms
		                                                     : wait * s->factor;
	return wait < s->max_ms ? wait : s->max_ms;
}

uint64_t schedule_next(const struct schedule *s, uint32_t attempts, uint64_t taken_ms,
                       uint64_t now_ms, uint32_t random)
{
	uint64_t wait = wait_after(s, attempts);
	uint64_t span = wait / 100 * s->jitter + wait % 100 * s->jitter / 100;
	uint64_t at = now_ms + wait - span + (span > 0 ? random % (2 * span + 1) : 0);
	uint64_t end = taken_ms + s->expire_ms;

	if (at > end && end > now_ms)
		at = end;
	return at > now_ms ? at : now_ms + 1;
}

bool schedule_expired(const struct schedule *s, uint64_t taken_ms, uint64_t now_ms)
{
	return now_ms >= taken_ms && now_ms - taken_ms >= s->expire_ms;
}
