/* policy/rate.h - how many messages a minute an account may begin
 *
 * Pure arithmetic of a token bucket that holds a minute's messages: a full one may be sent at
 * once, and then one each time that a message's share of the minute has passed.  It keeps
 * what was taken rather than what is left, so a rate that is raised leaves more at once,
 * and a bucket of zeros is a full one.  A clock that is set back gives nothing back for the
 * time it repeats, and keeps nobody waiting longer than a minute.
 */
#ifndef POLICY_RATE_H
#define POLICY_RATE_H

#include <stdbool.h>
#include <stdint.h>

#define RATE_MINUTE_MAX 1000000000ull

struct rate {
	uint64_t taken; /* and not yet run off, in 60000ths of a message */
	uint64_t at_ms; /* when that was so */
};

/* Take one message out, of a bucket of per_minute (1 to RATE_MINUTE_MAX).  False: there is none
 * now, nothing was taken, and *again_ms is when the next one may be. */
bool rate_take(struct rate *r, uint64_t per_minute, uint64_t now_ms, uint64_t *again_ms);

#endif
