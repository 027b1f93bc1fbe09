/* holdq/count.h - how much is held, in all and for each account, in memory
 *
 * Built by a scan at start, kept in step with what became durable.  An account without
 * held mail has no entry.
 */
#ifndef HOLDQ_COUNT_H
#define HOLDQ_COUNT_H

#include <stddef.h>
#include <stdint.h>

struct count;

struct count *count_new(void);
void count_free(struct count **c);

/* Add to (or take from) an account; the account "" is our own reports. */
void count_add(struct count *c, const void *account, size_t len, int64_t mails, int64_t rcpts);

uint64_t count_mails(const struct count *c);
uint64_t count_rcpts(const struct count *c); /* of accounts' mail and reports */
uint64_t count_of(const struct count *c, const char *account); /* recipients */

typedef void count_fn(void *arg, const char *account, uint64_t rcpts);
void count_each(const struct count *c, count_fn *fn, void *arg);

#endif
