/* policy/quota.c - see policy/quota.h
 *
 * Windows are numbers that rise with time, so a new one is a larger one.
 */
#include "policy/quota.h"

#include <string.h>
#include <time.h>

#define HOUR_MS 3600000ull
#define DAY_MS  86400000ull

static uint64_t month_of(uint64_t now_ms)
{
	time_t s = (time_t)(now_ms / 1000);
	struct tm tm;

	gmtime_r(&s, &tm);
	return (uint64_t)tm.tm_year * 12 + (uint64_t)tm.tm_mon;
}

uint64_t quota_window(enum window w, uint64_t now_ms)
{
	switch (w) {
	case WINDOW_HOUR:  return now_ms / HOUR_MS;
	case WINDOW_DAY:   return now_ms / DAY_MS;
	case WINDOW_MONTH: return month_of(now_ms);
	default:           return 0;
	}
}

static uint64_t next_month(uint64_t now_ms)
{
	time_t s = (time_t)(now_ms / 1000);
	struct tm tm;

	gmtime_r(&s, &tm);
	tm = (struct tm){ .tm_year = tm.tm_year, .tm_mon = tm.tm_mon + 1, .tm_mday = 1 };
	return (uint64_t)timegm(&tm) * 1000;
}

uint64_t quota_reset(enum window w, uint64_t now_ms)
{
	switch (w) {
	case WINDOW_HOUR:  return (now_ms / HOUR_MS + 1) * HOUR_MS;
	case WINDOW_DAY:   return (now_ms / DAY_MS + 1) * DAY_MS;
	case WINDOW_MONTH: return next_month(now_ms);
	default:           return QUOTA_NEVER;
	}
}

uint64_t quota_used(const struct used *u, enum window w, uint64_t now_ms)
{
	return u->window >= quota_window(w, now_ms) ? u->n : 0;
}

void quota_count(struct used used[N_WINDOWS], uint64_t at_ms, uint64_t n)
{
	for (int w = 0; w < N_WINDOWS; w++) {
		uint64_t window = quota_window((enum window)w, at_ms);

		if (window > used[w].window) {
			used[w].window = window;
			used[w].n = 0;
		}
		if (window == used[w].window)
			used[w].n += n;
	}
}

uint64_t quota_room(const uint64_t quota[N_WINDOWS], const struct used used[N_WINDOWS],
                    uint64_t reserved, uint64_t now_ms, uint64_t *reset_ms)
{
	uint64_t room = UINT64_MAX, reset = 0;

	for (int w = 0; w < N_WINDOWS; w++) {
		uint64_t taken = quota_used(&used[w], (enum window)w, now_ms) + reserved;

		if (quota[w] == 0)
			continue;
		if (taken >= quota[w]) {
			uint64_t r = quota_reset((enum window)w, now_ms);

			room = 0;
			reset = r > reset ? r : reset;
		} else if (quota[w] - taken < room) {
			room = quota[w] - taken;
		}
	}
	if (room == 0)
		*reset_ms = reset;
	return room;
}
