/* delivery/client.h - the client's side of SMTP (RFC 5321), without socket or clock
 *
 * Bytes go in through client_feed(); client_step() then says, one action after the
 * other, what the owner of the connection must do; what is to be sent collects
 * in client_out().  The engine pipelines (RFC 2920) where it is offered: a
 * whole envelope in one group, and the next envelope behind the body of the one
 * before.  At most CLIENT_MAILS mails are open; the oldest is the head.
 *
 * A reply of any shape is borne: what cannot be understood ends the connection
 * and is a temporary failure of the mails that were open, never more.
 */
#ifndef DELIVERY_CLIENT_H
#define DELIVERY_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "lib/buf.h"
#include "proto/holdfast.pb-c.h"

#define CLIENT_MAILS 2
#define CLIENT_LINE_MAX 2048   /* RFC 5321 says 512; some say more */
#define CLIENT_INPUT_MAX 65536 /* unread replies: more is no SMTP */

enum client_act {
	CL_WAIT,   /* nothing to do until bytes come */
	CL_SECURE, /* send client_out(), begin TLS, then client_secured() */
	CL_READY,  /* the connection can take its first mail (once a connection) */
	CL_BODY,   /* send client_out(), the head's body, then client_body_sent() */
	CL_DONE,   /* the head is over: read its results, then client_next() */
	CL_CLOSE   /* nothing more will come of this connection: client_why() */
};

/* What the engine waits for: the owner's deadline goes by it. */
enum client_wait {
	CLW_GREETING, CLW_HELLO, CLW_TLS, CLW_IDLE, CLW_COMMAND, CLW_DATA, CLW_BODY, CLW_END,
	CLW_QUIT, CLW__COUNT
};

struct client_result {
	int  code;              /* of the reply; 0 where none came */
	char enhanced[12];
	Holdfast__SmtpStage stage;
	uint32_t text, text_len; /* in client_text() */
};

struct client_rcpt {
	const char *addr;
	unsigned    notify;   /* NOTIFY= (RFC 3461, 4.1): CLIENT_NEVER ...; 0: not said */
	const char *orcpt;    /* ORCPT= as given; "": not said */
};
enum { CLIENT_NEVER = 1, CLIENT_SUCCESS = 2, CLIENT_FAILURE = 4, CLIENT_DELAY = 8 };

/* A mail to send.  Everything is borrowed until client_next() has passed it. */
struct client_mail {
	const char *mail_from;
	const struct client_rcpt *rcpt;
	unsigned n_rcpt;
	uint64_t size;
	bool eight_bit;       /* BODY=8BITMIME where it is offered; else it is sent as it is */
	bool utf8;            /* SMTPUTF8 was said, or the message needs it */
	bool utf8_optional;   /* ... but it may go to a server without, where no address needs it */
	bool require_tls;     /* say REQUIRETLS; the owner has seen that it is offered */
	bool ends_in_crlf;    /* the last line of the body is whole */
	Holdfast__DsnRet ret;
	const char *envid;    /* ENVID= as given; "" or NULL: not said */
};

struct client_conf {
	const char *hostname; /* said in EHLO; borrowed */
	bool starttls;        /* use it where it is offered */
	bool chunking;        /* BDAT in place of DATA where it is offered (RFC 3030) */
};

/* Extensions that the owner asks about; what the last EHLO offered. */
enum client_ext { CLX_DSN, CLX_REQUIRETLS };

struct client;

struct client *client_new(const struct client_conf *conf);
void client_free(struct client **c);

/* Bytes came.  False: more unread bytes than CLIENT_INPUT_MAX; treat it as client_lost(). */
bool client_feed(struct client *c, const char *p, size_t len);
enum client_act client_step(struct client *c);

struct buf *client_out(struct client *c); /* the owner sends and resets it */

/* TLS stands (ok), or failed: then the connection is over. */
void client_secured(struct client *c, bool ok, const char *why);

/* May another mail be started now? */
bool client_can_start(const struct client *c);
/* Start a mail.  Step afterwards: a mail that the server cannot take (SIZE, SMTPUTF8) is
 * CL_DONE without a word to it.  An address of which only the domain is beyond ASCII goes to a
 * server without SMTPUTF8 with the domain's A-label. */
void client_start(struct client *c, const struct client_mail *mail);

/* CL_BODY: is the head's body to be sent as it is (BDAT), without dots added? */
bool client_body_is_raw(const struct client *c);
/* The head's body was written. */
void client_body_sent(struct client *c);

bool client_offers(const struct client *c, enum client_ext x);
bool client_is_secure(const struct client *c); /* over TLS */

/* Results of the head after CL_DONE, one for each recipient; valid until client_next(). */
const struct client_result *client_results(const struct client *c);
const char *client_text(const struct client *c, const struct client_result *r);
/* The whole message went out and its reply never came: the server may have it. */
bool client_unsure(const struct client *c);
void client_next(struct client *c);

/* Say QUIT as soon as no mail is open. */
void client_quit(struct client *c);
/* The connection broke, or a deadline passed.  The open mails become CL_DONE, then CL_CLOSE.
 * A second call changes nothing. */
void client_lost(struct client *c, const char *why);

enum client_wait client_waits(const struct client *c);
unsigned client_open(const struct client *c);    /* mails that are open */
bool client_protocol_error(const struct client *c); /* ended by bytes that are no SMTP */
/* Why the connection is over, as a result of its own (stage, code, text). */
const struct client_result *client_why(const struct client *c);
const char *client_why_text(const struct client *c);

#endif
