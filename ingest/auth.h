/* ingest/auth.h - who is this? AUTH, from the login to the account
 *
 * Policy is asked for the keys each time, so that a changed password counts at
 * once; the slow check runs on a pool thread.  A check that went well is remembered
 * for a minute under a digest of login, password and keys with a key of this
 * process: no secret is kept.  At most auth_waiting exchanges are open: 454.
 */
#ifndef INGEST_AUTH_H
#define INGEST_AUTH_H

#include "ingest/ingest.h"

struct auth *auth_new(struct ingest *in);
void auth_free(struct auth **a); /* jobs on the pool end by themselves */

/* Ends in session_authed(), once, maybe from inside. */
void auth_begin(struct auth *a, uint64_t session, uint64_t q, const struct sasl_login *login);

#endif
