/* delivery/tally.h - how many recipients of each account are in our custody
 *
 * Filled by one walk over the store at the start, kept in step with each durable
 * batch after that.  One entry an account that has mail here; memory goes with the
 * number of accounts, not of messages.
 */
#ifndef DELIVERY_TALLY_H
#define DELIVERY_TALLY_H

#include <stdint.h>

struct tally;

struct tally *tally_new(void);
void tally_free(struct tally **t);

void tally_part(struct tally *t, const char *account, int parts, int64_t recipients);

uint64_t tally_parts(const struct tally *t);
uint64_t tally_recipients(const struct tally *t);

typedef void tally_fn(void *arg, const char *account, uint64_t recipients);
void tally_each(const struct tally *t, tally_fn *fn, void *arg);

#endif
