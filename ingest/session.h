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

/* Accept a connection of a listener.  One that is gone already leaves nothing. */
void session_accept(struct ingest *in, uv_stream_t *listener, const struct listener_conf *door);

/* Answer question q of session id; nothing happens when it is gone: false. */
bool session_answer(struct ingest *in, uint64_t id, uint64_t q, bool ok, const char *reply);
/* AUTH is over; account is whose the session is when ok. */
bool session_authed(struct ingest *in, uint64_t id, uint64_t q, bool ok, const char *account,
                    const char *reply);
/* AUTH goes on: the server's next message. */
void session_challenge(struct ingest *in, uint64_t id, uint64_t q, const void *p, size_t n);
/* The session sends for this account, found by its address.  NULL, or the 421 of a limit. */
const char *session_account(struct ingest *in, uint64_t id, const char *account);
/* The transaction of session id has ended, with so many bytes where it was accepted. */
void session_txn_over(struct ingest *in, uint64_t id, bool accepted, uint64_t bytes);

/* Read on or pause, as session_pace.c says. */
void sessions_balance(struct ingest *in);
void sessions_turn(struct ingest *in);     /* every tick */
void sessions_shutdown(struct ingest *in); /* 421 when idle */
void sessions_abort(struct ingest *in);

#endif
