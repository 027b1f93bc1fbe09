/* policy/rate.c - see policy/rate.h
 *
 * In 60000ths of a message a millisecond lets exactly per_minute run off: no rate is rounded.
 */
#include "policy/rate.h"

#include <assert.h>

#define MINUTE_MS 60000ull
#define MESSAGE   60000ull

static void run_off(struct rate *r, uint64_t per_minute, uint64_t now_ms)
{
	uint64_t past = now_ms > r->at_ms ? now_ms - r->at_ms : 0;
	uint64_t gone = (past < MINUTE_MS ? past : MINUTE_MS) * per_minute;
	uint64_t most = per_minute * MESSAGE; /* of a rate that was lowered more was taken */

	if (r->taken > most)
		r->taken = most;
	r->taken -= gone < r->taken ? gone : r->taken;
	r->at_ms = now_ms;
}

bool rate_take(struct rate *r, uint64_t per_minute, uint64_t now_ms, uint64_t *again_ms)
{
	uint64_t over;

	assert(per_minute > 0 && per_minute <= RATE_MINUTE_MAX);
	run_off(r, per_minute, now_ms);
	if (r->taken + MESSAGE <= per_minute * MESSAGE) {
		r->taken += MESSAGE;
		return true;
	}
	over = r->taken + MESSAGE - per_minute * MESSAGE;
	*again_ms = now_ms + (over + per_minute - 1) / per_minute;
	return false;
}
