/* delivery/schedule.h - when a part is tried again, and when it is given up
 *
 * Pure: the number of attempts, times and a random number in, a time out.
 */
#ifndef DELIVERY_SCHEDULE_H
#define DELIVERY_SCHEDULE_H

#include <stdbool.h>
#include <stdint.h>

struct schedule {
	uint64_t min_ms;     /* wait after the first attempt */
	uint64_t factor;     /* each later wait is so many times the one before */
	uint64_t max_ms;     /* and never longer than this */
	uint64_t jitter;     /* percent: a wait is moved by up to this much either way */
	uint64_t expire_ms;  /* age at which a part is given up */
};

/* When to try again after `attempts` attempts (at least 1).  random is any number,
 * evenly spread.  Never later than the end of life: the last attempt is made
 * then. */
uint64_t schedule_next(const struct schedule *s, uint32_t attempts, uint64_t taken_ms,
                       uint64_t now_ms, uint32_t random);

/* Has a part that we took at taken_ms lived its time? */
bool schedule_expired(const struct schedule *s, uint64_t taken_ms, uint64_t now_ms);

#endif
