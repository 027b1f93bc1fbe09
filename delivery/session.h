/* delivery/session.h - one connection to a remote server: the engine on a stream
 *
 * Joins client.h (what is said) with lib/stream.h (bytes) and gives it jobs of
 * its destination, one after the other, the next behind the body of the one
 * before.  It tries the destination's addresses in turn until one greets it.
 * Ends in one place, with the reason; what its jobs lack then becomes a temporary
 * failure.  For a strict destination (REQUIRETLS) a host must also prove its name by TLS and offer
 * REQUIRETLS (RFC 8689, 4.2.1), or it is passed over.
 */
#ifndef DELIVERY_SESSION_H
#define DELIVERY_SESSION_H

#include "delivery/client.h"
#include "delivery/pool.h"

struct stream;

enum session_state {
	SN_CONNECTING, /* TCP, greeting, EHLO, TLS; in dest->n_connecting */
	SN_WORKING,    /* up; has jobs, or is about to look for one */
	SN_IDLE,       /* up; in dest->idle and pool->idle */
	SN_CLOSING     /* detached from its destination; waits for the stream's end */
};

/* A mail under way: the job and what the engine borrows for it. */
struct session_mail {
	struct job  *job;
	struct client_rcpt *rcpt;
	unsigned     cap;
};

/* The links are pool.c's; the rest is session.c's. */
struct session {
	TAILQ_ENTRY(session) all;       /* in pool->all, always */
	TAILQ_ENTRY(session) dest_idle; /* SN_IDLE: in dest->idle */
	TAILQ_ENTRY(session) idle;      /* SN_IDLE: in pool->idle */
	struct pool   *pool;
	struct dest   *dest;            /* NULL: SN_CLOSING */
	struct stream *stream;          /* NULL: gone */
	struct client *client;
	enum session_state state;
	enum client_wait waits;         /* what the stream's deadline is set for */
	bool     waits_set;             /* connected: the engine's waits apply */
	bool     plain, tls_failed;     /* without TLS; TLS is what failed last */
	bool     unfit, others_failed;  /* strict: this host is; another could not be asked */
	unsigned address, tried;        /* index of the address; addresses tried before it */
	struct session_mail mail[CLIENT_MAILS];
	unsigned head, n, mails;        /* mails: started on this connection */
	uint64_t idle_since_ms;         /* mono */
	char     host[256], ip[64], unfit_why[320];
};

/* Start connecting; the session is in pool->all until it is gone. */
void session_open(struct pool *pool, struct dest *dest);
/* An idle session: look for a job now. */
void session_wake(struct session *s);
/* No new mail; QUIT when what is open is done. */
void session_quit(struct session *s);
/* Break it; its jobs are temporary failures. */
void session_abort(struct session *s);

#endif
