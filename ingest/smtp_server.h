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
 * smtp_server_full() is true.
 *
 * A line ends with CR LF and with nothing else, a message with CR LF . CR LF.
 * A message that holds a bare CR, a bare LF or a NUL is refused (554 5.6.11):
 * servers that read line ends differently would see another message in it.
 */
#ifndef INGEST_SMTP_SERVER_H
#define INGEST_SMTP_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "ingest/sasl.h"
#include "lib/buf.h"
#include "proto/smtp_addr.h"

#define SMTP_OPEN_MAX   64    /* RCPT questions open at once in a session */
#define SMTP_LINE_MAX   1000  /* a command with its CRLF */
#define SMTP_AUTH_MAX   12288 /* a line of AUTH (RFC 4954, 4) */
#define SMTP_INPUT_MAX  16384 /* waiting input at which reading should stop */
#define SMTP_HELO_MAX   255

struct smtp_server;

/* Where the dialogue is; the masks of the command table. */
enum smtp_phase {
	PH_NEW   = 1,  /* no EHLO yet */
	PH_READY = 2,  /* between messages */
	PH_MAIL  = 4,  /* MAIL was accepted */
	PH_RCPT  = 8,  /* a RCPT was asked */
	PH_DATA  = 16, /* the message is coming in */
	PH_AUTH  = 32, /* the lines of AUTH are coming in */
	PH_ENDED = 64, /* the last reply is written: send it, close */
};

struct smtp_conf { /* shared by all sessions, borrowed */
	const char *hostname;
	uint64_t max_size;
	unsigned max_rcpt;
	unsigned max_errors; /* refused commands before 421 */
};

struct smtp_door { /* what this session's listener and peer allow */
	bool tls_offered;  /* STARTTLS is to be had */
	bool secure;       /* TLS is on from the start */
	bool auth_offered; /* AUTH at all */
	bool plain_ok;     /* PLAIN and LOGIN without TLS */
	bool need_auth;    /* 530 at MAIL without AUTH */
};

struct smtp_mail {
	const struct smtp_path *from;
	uint64_t size;     /* SIZE=, 0: not said */
	bool eight_bit;    /* BODY=8BITMIME */
};

/* Questions and news.  q numbers the question.  Pointers live until return. */
struct smtp_events {
	void (*auth)(void *owner, uint64_t q, const struct sasl_login *login);
	void (*mail)(void *owner, uint64_t q, const struct smtp_mail *m);
	void (*rcpt)(void *owner, uint64_t q, const struct smtp_path *to);
	/* The message begins: put into out what is to stand in front of it. */
	void (*begin)(void *owner, struct buf *out);
	/* The message is there, with what begin() wrote in front.  Take its
	 * memory (blob_take()); what is left in it is dropped. */
	void (*message)(void *owner, uint64_t q, struct buf *msg, bool eight_bit);
	/* The transaction that mail() began ends without message(): why. */
	void (*given_up)(void *owner, const char *why);
	/* "220" to STARTTLS is in the output: send it, begin TLS, then say
	 * smtp_server_secured(). */
	void (*secure)(void *owner);
};

struct smtp_server *smtp_server_new(const struct smtp_conf *conf, const struct smtp_door *door,
                                    const struct smtp_events *ev, void *owner);
void smtp_server_free(struct smtp_server **s); /* no event comes of it; NULL is fine */

void smtp_server_greet(struct smtp_server *s);
void smtp_server_input(struct smtp_server *s, const char *p, size_t n);

/* Answer question q.  ok: the command succeeds.  reply: one whole reply, lines
 * ended by CRLF; NULL: the usual words.  Too late or never asked: ignored. */
void smtp_server_answer(struct smtp_server *s, uint64_t q, bool ok, const char *reply);

void smtp_server_secured(struct smtp_server *s);
void smtp_server_timeout(struct smtp_server *s);  /* 421 4.4.2, ended */
/* 421 4.3.2 as soon as no transaction is open, ended. */
void smtp_server_shutdown(struct smtp_server *s);

/* Replies to send; the caller consumes them. */
struct buf     *smtp_server_out(struct smtp_server *s);
bool            smtp_server_full(const struct smtp_server *s);
enum smtp_phase smtp_server_phase(const struct smtp_server *s);
/* A question is open that the client waits for: its own deadline rests. */
bool            smtp_server_asking(const struct smtp_server *s);
size_t          smtp_server_message_bytes(const struct smtp_server *s); /* held here */
const char     *smtp_server_helo(const struct smtp_server *s); /* "" before EHLO */
bool            smtp_server_esmtp(const struct smtp_server *s);
bool            smtp_server_authed(const struct smtp_server *s);

#endif
