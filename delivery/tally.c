/* delivery/tally.c - see tally.h
 *
 * A count that would go below nothing is a bug of ours, and ends the program: the ledger must
 * never be made to fit.
 */
#include <string.h>
#include "delivery/part.h"
#include "delivery/tally.h"
#include "lib/log.h"

struct entry {
	UT_hash_handle hh;
	uint64_t parts, recipients;
	char account[];
};

struct tally {
	struct entry *by_account;
	uint64_t parts, recipients;
};

struct tally *tally_new(void)
{
	return xcalloc(1, sizeof(struct tally));
}

void tally_free(struct tally **tp)
{
	struct tally *t = *tp;
	struct entry *e, *next;

	if (t == NULL)
		return;
	HASH_ITER(hh, t->by_account, e, next) {
		HASH_DEL(t->by_account, e);
		xfree(e);
	}
	xfree(t);
	*tp = NULL;
}

static struct entry *entry_get(struct tally *t, const char *account)
{
	size_t len = strlen(account);
	struct entry *e;

	HASH_FIND(hh, t->by_account, account, len, e);
	if (e != NULL)
		return e;
	e = xcalloc(1, sizeof(*e) + len + 1);
	memcpy(e->account, account, len);
	HASH_ADD_KEYPTR(hh, t->by_account, e->account, len, e);
	return e;
}

static void add(uint64_t *v, int64_t n)
{
	if (n < 0 && *v < (uint64_t)-n)
		die_bug("more mail left an account's tally than was in it");
	*v += (uint64_t)n;
}

void tally_part(struct tally *t, const char *account, int parts, int64_t recipients)
{
	struct entry *e = entry_get(t, account);

	add(&e->parts, parts);
	add(&e->recipients, recipients);
	add(&t->parts, parts);
	add(&t->recipients, recipients);
	if (e->parts == 0) {
		HASH_DEL(t->by_account, e);
		xfree(e);
	}
}

uint64_t tally_parts(const struct tally *t)
{
	return t->parts;
}

uint64_t tally_recipients(const struct tally *t)
{
	return t->recipients;
}

void tally_each(const struct tally *t, tally_fn *fn, void *arg)
{
	const struct entry *e, *next;

	HASH_ITER(hh, t->by_account, e, next)
		fn(arg, e->account, e->recipients);
}
