/* ingest/auth.h - who is this? AUTH, from the login to the account
 *
 * Policy is asked for the keys each time, so that a changed password counts at once; the slow
 * check of PLAIN and LOGIN runs on a pool thread, SCRAM costs some hashes.  A check that went
 * well is remembered for a minute under a digest of login, password and keys with a key of this
 * process: no secret is kept.  At most auth_waiting questions are at work: 454.
 *
 * Failures are counted by address, network and login (auth_fail_...); over a limit the answer is
 * 421 4.7.0 before anybody is asked.  A login's limit does not lock out an address that it was
 * used from with success in the last hours: failing on purpose is no way to keep the owner out.
 */
#ifndef INGEST_AUTH_H
#define INGEST_AUTH_H

#include "ingest/ingest.h"

struct auth_client {
	uint64_t session;
	const uint8_t *ip; size_t ip_len;
	const char *ip_text;
	const struct stream *stream; /* for the channel binding */
};

struct auth *auth_new(struct ingest *in);
void auth_free(struct auth **a); /* jobs on the pool end by themselves */

/* Ends in session_authed(), once, maybe from inside. */
void auth_begin(struct auth *a, const struct auth_client *c, uint64_t q,
                const struct sasl_login *login);

/* A message of a SCRAM exchange: ends in session_challenge() or session_authed(), once, maybe from
 * inside.  *exchange is the session's: set by the first message, 0 when there is none. */
void auth_scram(struct auth *a, const struct auth_client *c, uint64_t q,
                const struct smtp_scram *m, uint64_t *exchange);
void auth_scram_over(struct auth *a, uint64_t *exchange);

#endif
