/* lib/tls_tickets.h - the keys that session tickets are sealed with
 *
 * A ticket is worth TICKET_LIFE_MS.  The key in use is replaced when it is
 * KEY_USE_MS old and its predecessor opens tickets until the last of them has
 * run out, so two keys are all there ever are, no key outlives the sum of the
 * two times, and a client that comes back within TICKET_LIFE_MS always resumes.
 * Keys live in memory only: a restart, and each process of its own, begins anew.
 * The contexts that share a ring hold references.  One thread.
 */
#ifndef LIB_TLS_TICKETS_H
#define LIB_TLS_TICKETS_H

#include <stdbool.h>
#include <stdint.h>
#include "lib/err.h"

enum {
	TICKET_LIFE_MS = 2 * 3600 * 1000,
	KEY_USE_MS = 4 * 3600 * 1000,
	TICKET_NAME_BYTES = 16,
};

struct ticket_key {
	uint8_t  name[TICKET_NAME_BYTES]; /* stands in the ticket, in the clear */
	uint8_t  cipher[32];              /* AES-256-CBC */
	uint8_t  mac[32];                 /* HMAC-SHA-256 */
	uint64_t made;                    /* 0: there is none */
};

struct tickets;

struct tickets *tickets_new(void);
struct tickets *tickets_ref(struct tickets *t);
void tickets_unref(struct tickets **t); /* wipes the keys with the last; NULL is fine */

/* The key to seal with at now (monotonic ms), a new one when it is time.  Valid
 * until the next call.  ERR_IO: no random bytes, and no key that is fresh enough. */
enum err tickets_seal(struct tickets *t, uint64_t now, const struct ticket_key **out) MUST_CHECK;

/* The key of that name, if it may still open tickets at now, else NULL.  renew:
 * it is not the one to seal with any more, so the client should get a new ticket. */
const struct ticket_key *tickets_open(const struct tickets *t,
                                      const uint8_t name[TICKET_NAME_BYTES], uint64_t now,
                                      bool *renew);

#endif
