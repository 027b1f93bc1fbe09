/* ingest/abandon.h - giving an account's unused quota back
 *
 * Told to policy until it answers, from a list of at most abandon_waiting; what finds no
 * room there is counted, and policy's own reservation_ttl is the last resort.
 */
#ifndef INGEST_ABANDON_H
#define INGEST_ABANDON_H

#include "ingest/ingest.h"
#include "lib/uuid.h"

struct abandon *abandon_new(struct ingest *in);
void abandon_free(struct abandon **a);
void abandon_send(struct abandon *a, const char *account, const struct uuid *message);
void abandon_tick(struct abandon *a, uint64_t now_ms); /* mono: repeats what failed */
size_t abandon_open(const struct abandon *a);

#endif
