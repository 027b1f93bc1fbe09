/* holdq/count.c - how much is held; see count.h
 *
 * One row an account that has held mail; a count below nothing is a bug and ends the process.
 */
#include "holdq/count.h"

#include <assert.h>
#include <string.h>
#include "lib/mem.h"

#define uthash_malloc(n) xmalloc(n)
#define uthash_free(p, n) xfree(p)
#include <uthash.h>

struct row {
	UT_hash_handle hh;
	int64_t mails, rcpts;
	char account[];
};

struct count {
	struct row *rows;
	int64_t mails, rcpts;
};

struct count *count_new(void)
{
	return xcalloc(1, sizeof(struct count));
}

void count_free(struct count **c)
{
	struct row *r, *next;

	if (*c == NULL)
		return;
	HASH_ITER(hh, (*c)->rows, r, next) {
		HASH_DEL((*c)->rows, r);
		xfree(r);
	}
	xfree(*c);
	*c = NULL;
}

void count_add(struct count *c, const void *account, size_t len, int64_t mails, int64_t rcpts)
{
	struct row *r;

	if (len == 0)
		account = ""; /* an empty field of a message is NULL */
	HASH_FIND(hh, c->rows, account, len, r);
	if (r == NULL) {
		r = xcalloc(1, sizeof(*r) + len + 1);
		memcpy(r->account, account, len);
		HASH_ADD_KEYPTR(hh, c->rows, r->account, len, r);
	}
	r->mails += mails;
	r->rcpts += rcpts;
	c->mails += mails;
	c->rcpts += rcpts;
	assert(r->mails >= 0 && r->rcpts >= 0);
	if (r->mails == 0 && r->rcpts == 0) {
		HASH_DEL(c->rows, r);
		xfree(r);
	}
}

uint64_t count_mails(const struct count *c)
{
	return (uint64_t)c->mails;
}

uint64_t count_rcpts(const struct count *c)
{
	return (uint64_t)c->rcpts;
}

uint64_t count_of(const struct count *c, const char *account)
{
	struct row *r;

	HASH_FIND(hh, c->rows, account, strlen(account), r);
	return r == NULL ? 0 : (uint64_t)r->rcpts;
}

void count_each(const struct count *c, count_fn *fn, void *arg)
{
	for (struct row *r = c->rows; r != NULL; r = r->hh.next)
		fn(arg, r->account, (uint64_t)r->rcpts);
}
