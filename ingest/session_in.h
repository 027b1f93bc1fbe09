/* ingest/session_in.h - the inside of a session
 *
 * Shared by session.c (the dialogue), session_open.c (birth: PROXY, limits, TLS, greeting) and
 * session_pace.c (who is read when memory is short).
 */
#ifndef INGEST_SESSION_IN_H
#define INGEST_SESSION_IN_H

#include "ingest/limits.h"
#include "ingest/peer.h"
#include "ingest/session.h"

/* What comes before the dialogue; what the stream gives goes there. */
enum birth {
	BIRTH_PROXY,   /* waits for the PROXY header */
	BIRTH_TLS,     /* the handshake of implicit TLS is under way */
	BIRTH_DELAY,   /* the greeting is held back: who speaks now is no mail server */
	BIRTH_DONE,    /* the engine has greeted */
};

struct session {
	TAILQ_ENTRY(session) all, receiving;
	struct ingest *in;
	uint64_t id, txn, exchange;
	enum ingest_role role;
	enum birth birth;
	struct stream *stream;   /* NULL once it is closing */
	struct stream *handle;   /* NULL once it is closed */
	struct smtp_server *smtp; /* NULL until the peer is known */
	struct peer peer;        /* or what a proxy said */
	bool proxied_tls;        /* TLS ended at the proxy */
	struct limits_place place;
	char account[INGEST_ACCOUNT_MAX + 1];
	struct buf early;        /* of a PROXY header, until it is whole */
	char *helo;              /* by XCLIENT, or NULL */

	uint64_t opened_ms, deadline_ms, data_since_ms, commands;
	uint64_t waiting_since_ms; /* not read because memory is short; 0: it is */
	unsigned messages;
	uint64_t bytes;          /* of accepted messages */
	size_t counted;          /* bytes of its message that are in in->memory */
	size_t turn_bytes;       /* counted, when its turn began (session_pace.c) */
	unsigned stalls, ticks;  /* turns in a row that brought nothing; ticks of its turns */
	bool is_receiving, paused, ending;
	bool hung_up;            /* the client has said all that it will say */
	const char *why;
};

/* Begin the end, with the reason that the log will tell. */
void session_end(struct session *s, const char *why);
/* After anything that the engine was told: send, count, pace, set the deadline.  heard: bytes
 * have come. */
void session_settle(struct session *s, bool heard);

/* session_open.c */
bool session_plain_ok(const struct session *s); /* by auth_plaintext and the peer */
void session_birth_data(struct session *s, const char *p, size_t len);
void session_birth_secured(struct session *s);
void session_birth_expired(struct session *s);

/* session.c, for session_open.c */
extern const struct stream_events session_stream_events;
extern const struct smtp_events session_smtp_events;

/* session_pace.c */
void session_receiving_set(struct session *s, bool on);
void session_pace(struct session *s);

#endif
