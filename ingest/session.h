/* ingest/session.h - one connection: the SMTP engine on a stream
 *
 * A session lives from accept to the stream's closed callback.  Whatever asks on
 * its behalf (transaction, AUTH) holds its id only.
 */
#ifndef INGEST_SESSION_H
#define INGEST_SESSION_H

#include "ingest/ingest.h"
#include "lib/stream.h"
#include "proto/smtp_addr.h"

/* Accept a connection of a listener with this role.  Failure is counted only. */
void session_accept(struct ingest *in, uv_stream_t *listener, enum ingest_role role);

/* Answer question q of session id; nothing happens when it is gone: false. */
bool session_answer(struct ingest *in, uint64_t id, uint64_t q, bool ok, const char *reply);
/* AUTH is over; account is whose the session is when ok. */
bool session_authed(struct ingest *in, uint64_t id, uint64_t q, bool ok, const char *account,
                    const char *reply);
/* The transaction of session id has ended; it forgets it. */
void session_txn_over(struct ingest *in, uint64_t id, bool accepted);

/* Read on or pause, as the rule of ingest->receiving says. */
void sessions_balance(struct ingest *in);
void sessions_shutdown(struct ingest *in); /* 421 when idle */
void sessions_abort(struct ingest *in);

#endif
