/* policy/rated.c - the messages that were counted against their account's rate lately
 *
 * A question may come again, when its answer was lost with a link, and must not count
 * again.  Each counted message is remembered for longer than a question stays open,
 * or until RATED_MAX newer ones have been counted; one that comes again even later
 * counts twice.  In memory only, as the rates are: a restart leaves every rate untouched.
 */
#include "policy/policy.h"

#include <string.h>
#include "lib/mem.h"

enum { RATED_MAX = 200000, RATED_MS = 60000 };

struct rated {
	uint8_t  message_id[UUID_LEN];
	uint64_t at_ms;
	TAILQ_ENTRY(rated) link; /* by age */
	UT_hash_handle hh;
};

static void forget(struct policy *p, struct rated *m)
{
	HASH_DEL(p->rated, m);
	TAILQ_REMOVE(&p->rated_by_age, m, link);
	xfree(m);
}

bool rated_has(const struct policy *p, const uint8_t message_id[UUID_LEN])
{
	struct rated *m;

	HASH_FIND(hh, p->rated, message_id, UUID_LEN, m);
	return m != NULL;
}

void rated_add(struct policy *p, const uint8_t message_id[UUID_LEN], uint64_t now_ms)
{
	struct rated *m = xcalloc(1, sizeof(*m));

	if (HASH_COUNT(p->rated) >= RATED_MAX)
		forget(p, TAILQ_FIRST(&p->rated_by_age));
	memcpy(m->message_id, message_id, UUID_LEN);
	m->at_ms = now_ms;
	HASH_ADD(hh, p->rated, message_id, UUID_LEN, m);
	TAILQ_INSERT_TAIL(&p->rated_by_age, m, link);
}

void rated_expire(struct policy *p, uint64_t now_ms)
{
	struct rated *m;

	/* one that lies far ahead was counted before the clock was set back */
	while ((m = TAILQ_FIRST(&p->rated_by_age)) != NULL &&
	       (m->at_ms + RATED_MS < now_ms || m->at_ms > now_ms + RATED_MS))
		forget(p, m);
}

void rated_free(struct policy *p)
{
	struct rated *m;

	while ((m = TAILQ_FIRST(&p->rated_by_age)) != NULL)
		forget(p, m);
}
