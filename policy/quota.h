/* policy/quota.h - how many recipients an account may still have, now
 *
 * Pure arithmetic on calendar windows in UTC: hour, day, month, and for ever.
 * What was used in a window that is over counts no more.
 */
#ifndef POLICY_QUOTA_H
#define POLICY_QUOTA_H

#include <stdint.h>

enum window { WINDOW_HOUR, WINDOW_DAY, WINDOW_MONTH, WINDOW_TOTAL, N_WINDOWS };

#define QUOTA_NEVER UINT64_MAX

struct used {
	uint64_t window; /* which hour, day, month */
	uint64_t n;      /* recipients used in it */
};

/* The number of the window that now lies in. */
uint64_t quota_window(enum window w, uint64_t now_ms);
/* When the window that now lies in ends; QUOTA_NEVER for the total. */
uint64_t quota_reset(enum window w, uint64_t now_ms);

/* Used in the window that now lies in.  A clock that was set back opens no window again: what
 * was counted in a later one still counts. */
uint64_t quota_used(const struct used *u, enum window w, uint64_t now_ms);

/* Count n recipients at time at_ms.  A window that is past by now does not
 * come back: late news of it is counted in no window but the total.  at_ms is not after
 * now: the caller sees to that, or a window would open before its time. */
void quota_count(struct used used[N_WINDOWS], uint64_t at_ms, uint64_t n);

/* Recipients left under all quotas (0: none), with `reserved` shares open.
 * Where none are left *reset_ms is when some will be, or QUOTA_NEVER. */
uint64_t quota_room(const uint64_t quota[N_WINDOWS], const struct used used[N_WINDOWS],
                    uint64_t reserved, uint64_t now_ms, uint64_t *reset_ms);

#endif
