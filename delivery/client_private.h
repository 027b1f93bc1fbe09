/* delivery/client_private.h - what client.c (connection) and client_txn.c (mails) share
 *
 * client.c owns the connection's state and reads replies; client_txn.c owns the
 * open mails and judges the replies that belong to the head; client_say.c writes MAIL and RCPT.
 */
#ifndef DELIVERY_CLIENT_PRIVATE_H
#define DELIVERY_CLIENT_PRIVATE_H

#include "delivery/client.h"
#include "proto/smtp_reply.h"

enum conn_state {
	CS_GREETING, /* waits for the banner */
	CS_EHLO,     /* waits for the answer to EHLO */
	CS_HELO,     /* EHLO was refused: waits for the answer to HELO */
	CS_STARTTLS, /* waits for the answer to STARTTLS */
	CS_HANDSHAKE, /* the owner is to begin TLS */
	CS_TLS,      /* the owner's handshake is under way */
	CS_UP,       /* mails may be sent; waits for replies of the head, if any */
	CS_QUIT,     /* waits for the answer to QUIT */
	CS_OVER      /* nothing more is read or sent */
};

enum mail_phase {
	MP_COMMANDS, /* waits for the reply of command `step` */
	MP_BODY,     /* the owner is to send the body */
	MP_END,      /* waits for the reply to the end of the data */
	MP_LONE_DOT, /* an empty message to nobody was ended; waits for its reply */
	MP_DONE
};

struct mail {
	struct client_mail m;
	enum mail_phase phase;
	bool     rset;        /* its first command is RSET */
	bool     bdat;        /* BDAT follows the envelope, and no DATA command */
	bool     mail_failed;
	bool     unsure;
	unsigned sent, step;  /* commands written; the one whose reply is awaited */
	unsigned accepted;    /* recipients that wait for the end of data */
	unsigned said_yes;    /* positive replies to RCPT, whatever came of MAIL */
	struct client_result *result;
	unsigned result_cap;
	struct buf text;
};

struct client {
	struct client_conf conf;
	enum conn_state state;
	struct buf in, out;
	bool skipping;
	struct smtp_reply reply;
	bool pipelining, has_size, eight_bit, utf8, can_tls, dsn, chunking, requiretls;
	uint64_t size_max;
	bool secure, tls_tried, ready_told, quit_wanted, protocol_error;
	bool need_rset;       /* the server still has an envelope of ours */
	struct mail mail[CLIENT_MAILS];
	unsigned head, n;
	struct client_result why;
	struct buf why_text;
};

/* The only place where the connection changes state. */
void client_goto(struct client *c, enum conn_state to);
/* End the connection: what the open mails lack becomes this failure. */
void client_over(struct client *c, Holdfast__SmtpStage stage, int code, const char *enhanced,
                 const char *text);

struct mail *mails_head(struct client *c);
/* The reply in c->reply belongs to the head. */
void mails_reply(struct client *c);
/* Give every recipient of every open mail that has no result this one. */
void mails_fail(struct client *c, int code, const char *enhanced, const char *text);
Holdfast__SmtpStage mails_stage(const struct client *c);
void mails_free(struct client *c);

/* Add a command with the parameters that the server offers. */
void say_mail(struct client *c, const struct client_mail *m);
void say_rcpt(struct client *c, const struct client_rcpt *r);
/* Is there something in m that only a server with SMTPUTF8 can take? */
bool say_needs_utf8(const struct client_mail *m);

#endif
