/* ingest/smtp_server.h - the ESMTP server dialogue, without sockets, clock or bus
 *
 * Bytes come in through smtp_server_input(); replies gather in a buffer that
 * the caller sends; what the dialogue cannot decide by itself (who is this, may
 * they send, take this message) it asks through struct smtp_events.  Each
 * question has a number; the answer comes back with it through
 * smtp_server_answer(), from inside the event or at any time later.
 *
 * Order: replies leave in the order of the commands, whatever the order of the
 * answers.  RCPT commands that follow each other are asked side by side, up to
 * SMTP_OPEN_MAX; every other command waits until all replies before it are
 * known.  Input that waits stays in a buffer: stop reading while
 * smtp_server_full() is true.  Where many replies gather commands wait until they have gone
 * (smtp_server_drained()): a client that only asks costs neither memory nor others their turn.
 *
 * A line ends with CR LF and with nothing else, a message with CR LF . CR LF or with the last
 * octet of BDAT LAST (RFC 3030).  A message that holds a bare CR, a bare LF, a NUL or a line over
 * 998 octets is refused (554 5.6.11, naming it): servers that read line ends differently would
 * see another message in it.  With conf.repair the owner gets it all the same, and is told.
 */
#ifndef INGEST_SMTP_SERVER_H
#define INGEST_SMTP_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "ingest/sasl.h"
#include "lib/buf.h"
#include "proto/holdfast.pb-c.h"
#include "proto/smtp_addr.h"

#define SMTP_OPEN_MAX   64    /* RCPT questions open at once in a session */
#define SMTP_LINE_MAX   2048  /* a command with its CRLF, where the configuration says nothing */
#define SMTP_AUTH_MAX   12288 /* a line of AUTH (RFC 4954, 4) */
#define SMTP_INPUT_MAX  16384 /* waiting input at which reading should stop */
#define SMTP_OUTPUT_MAX 16384 /* waiting replies at which commands wait */
#define SMTP_HELO_MAX   255
#define SMTP_TEXT_MAX   998   /* octets of a line of a message, without CRLF (RFC 5322, 2.1.1) */
#define SMTP_ENVID_MAX  100   /* RFC 3461, 4.4 */
#define SMTP_ORCPT_MAX  500   /* RFC 3461, 4.2 */
#define SMTP_HEADROOM   2048  /* free octets in front of a message, for fields of our own */

struct smtp_server;

/* Where the dialogue is; the masks of the command table. */
enum smtp_phase {
	PH_NEW   = 1,  /* no EHLO yet */
	PH_READY = 2,  /* between messages */
	PH_MAIL  = 4,  /* MAIL was accepted */
	PH_RCPT  = 8,  /* a RCPT was asked */
	PH_DATA  = 16, /* the message is coming in */
	PH_AUTH  = 32, /* the lines of AUTH are coming in */
	PH_CHUNK = 64, /* the octets of a BDAT chunk are coming in */
	PH_BDAT  = 128, /* a chunk was taken, and it was not the last */
	PH_ENDED = 256, /* the last reply is written: send it, close */
};

/* Shared by all sessions, borrowed.  max_unknown, max_commands, max_messages 0: no limit;
 * max_line 0: SMTP_LINE_MAX. */
struct smtp_conf {
	const char *hostname;
	uint64_t max_size;     /* 552 5.3.4 at MAIL, or at the end of a message */
	unsigned max_rcpt;     /* 452 4.5.3 at RCPT */
	unsigned max_errors;   /* refused commands of a session, then 421 */
	unsigned max_unknown;  /* unknown commands of a session, then 421 */
	unsigned max_commands; /* commands since the last message that bring none nearer, or were
	                        * refused without an error: MAIL, DATA, RCPT over twice max_rcpt */
	unsigned max_messages; /* of a session; then 421 at MAIL */
	unsigned max_line;     /* octets of a command with its CRLF; then 500 5.5.2 */
	bool     repair;       /* faults of lines are no refusal: the owner mends them */
};

struct smtp_door { /* what this session's listener and peer allow */
	bool tls_offered;  /* STARTTLS is to be had */
	bool secure;       /* TLS is on from the start */
	bool auth_offered; /* AUTH at all */
	bool plain_ok;     /* PLAIN and LOGIN without TLS */
	bool need_auth;    /* 530 at MAIL without AUTH */
	bool requiretls;   /* delivery obeys REQUIRETLS (RFC 8689); offered under TLS only */
	bool xclient;      /* the peer may say who its client is (XCLIENT), once */
	bool unbound;      /* TLS ends at a proxy: there is no channel to bind to */
};

/* MAIL and its parameters.  Pointers live until the event returns. */
struct smtp_mail {
	const struct smtp_path *from;
	uint64_t size;     /* SIZE=, 0: not said */
	bool eight_bit;    /* BODY=8BITMIME */
	bool utf8;         /* SMTPUTF8 */
	bool require_tls;  /* REQUIRETLS */
	Holdfast__DsnRet ret;
	const char *envid; /* ENVID=, xtext as given; NULL: not said */
	size_t envid_len;
};

struct smtp_rcpt {
	const struct smtp_path *to;
	unsigned notify;   /* NOTIFY=, as in Recipient.notify */
	const char *orcpt; /* ORCPT= as given; NULL: not said */
	size_t orcpt_len;
};

struct smtp_content {
	bool eight_bit;    /* said, or seen */
	bool damaged;      /* holds a bare CR, LF, NUL or a long line (conf.repair) */
};

/* One message of a SCRAM exchange, decoded (RFC 5802). */
struct smtp_scram {
	bool first, plus;  /* it begins the exchange; SCRAM-SHA-256-PLUS */
	const uint8_t *p;
	size_t n;
};

/* What a peer says of its client by XCLIENT; helo "": not said. */
struct smtp_xclient {
	bool    addr_said;
	uint8_t ip[16];
	size_t  ip_len; /* 0: it does not know either */
	char    helo[SMTP_HELO_MAX + 1];
};

/* Questions and news.  q numbers the question.  Pointers live until return. */
struct smtp_events {
	void (*auth)(void *owner, uint64_t q, const struct sasl_login *login);
	/* Answered by smtp_server_challenge(), or by smtp_server_answer() as the end. */
	void (*scram)(void *owner, uint64_t q, const struct smtp_scram *m);
	void (*scram_over)(void *owner); /* the exchange of scram() has ended, however */
	void (*mail)(void *owner, uint64_t q, const struct smtp_mail *m);
	void (*rcpt)(void *owner, uint64_t q, const struct smtp_rcpt *r);
	/* The message is there, behind SMTP_HEADROOM octets that mean nothing.  Take its
	 * memory (blob_take()); what is left in it is dropped. */
	void (*message)(void *owner, uint64_t q, struct buf *msg, const struct smtp_content *c);
	/* The transaction that mail() began ends without message(): why. */
	void (*given_up)(void *owner, const char *why);
	/* "220" to STARTTLS is in the output: send it, begin TLS, then say
	 * smtp_server_secured(). */
	void (*secure)(void *owner);
	/* The session goes on as that of another client, from its beginning. */
	void (*xclient)(void *owner, const struct smtp_xclient *x);
};

struct smtp_server *smtp_server_new(const struct smtp_conf *conf, const struct smtp_door *door,
                                    const struct smtp_events *ev, void *owner);
void smtp_server_free(struct smtp_server **s); /* no event but scram_over(); NULL is fine */

void smtp_server_greet(struct smtp_server *s);
void smtp_server_input(struct smtp_server *s, const char *p, size_t n);

/* Answer question q.  ok: the command succeeds.  reply: one whole reply, lines
 * ended by CRLF; NULL: the usual words.  421 ends the session.  Too late or never asked:
 * ignored. */
void smtp_server_answer(struct smtp_server *s, uint64_t q, bool ok, const char *reply);

/* Answer a question of scram() with the server's message of n octets. */
void smtp_server_challenge(struct smtp_server *s, uint64_t q, const void *p, size_t n);

void smtp_server_secured(struct smtp_server *s);
/* In xclient(): may the client that it is now use PLAIN and LOGIN without TLS? */
void smtp_server_plain_ok(struct smtp_server *s, bool ok);
/* End it with one reply (code, enhanced code, text) of the owner's choice; a transaction that is
 * open is given up: why. */
void smtp_server_end(struct smtp_server *s, int code, const char *enhanced, const char *text,
                     const char *why);
void smtp_server_timeout(struct smtp_server *s);  /* 421 4.4.2, ended */
/* 421 4.3.2 as soon as no transaction is open, ended. */
void smtp_server_shutdown(struct smtp_server *s);

/* All that was taken of smtp_server_out() has gone out.  False: nothing waited for it. */
bool            smtp_server_drained(struct smtp_server *s);
/* Replies to send; the caller consumes them. */
struct buf     *smtp_server_out(struct smtp_server *s);
bool            smtp_server_full(const struct smtp_server *s);
enum smtp_phase smtp_server_phase(const struct smtp_server *s);
/* A question is open that the client waits for: its own deadline rests (but not where we wait
 * for its handshake). */
bool            smtp_server_asking(const struct smtp_server *s);
/* Octets of a message are what is read now, or what is to come next. */
bool            smtp_server_receiving(const struct smtp_server *s);
size_t          smtp_server_message_bytes(const struct smtp_server *s); /* held here */
uint64_t        smtp_server_commands(const struct smtp_server *s); /* lines taken so far */
const char     *smtp_server_helo(const struct smtp_server *s); /* "" before EHLO */
bool            smtp_server_esmtp(const struct smtp_server *s);
bool            smtp_server_authed(const struct smtp_server *s);

#endif
