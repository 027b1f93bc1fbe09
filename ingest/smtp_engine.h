/* ingest/smtp_engine.h - the inside of the SMTP server engine
 *
 * Shared by its files, and by nobody else: smtp_server.c (input, order of replies, phases),
 * smtp_cmd.c (verbs), smtp_auth.c (AUTH), smtp_param.c (parameters of MAIL and RCPT), smtp_body.c
 * (DATA and BDAT), smtp_xclient.c.
 */
#ifndef INGEST_SMTP_ENGINE_H
#define INGEST_SMTP_ENGINE_H

#include "ingest/smtp_server.h"
#include "proto/smtp_data.h"

/* A reply that waits for its turn. */
struct slot {
	bool ready;
	bool is_rcpt;
	struct buf reply;
};

/* What the dialogue waits for; nothing is read meanwhile. */
enum smtp_wait { WAIT_NOTHING, WAIT_AUTH, WAIT_MAIL, WAIT_MESSAGE, WAIT_TLS };

/* An AUTH exchange (smtp_auth.c). */
struct smtp_auth;

struct smtp_server {
	const struct smtp_conf *conf;
	const struct smtp_events *ev;
	void *owner;
	struct smtp_door door;

	enum smtp_phase phase;
	enum smtp_wait wait;
	bool running;     /* run() is on the stack */
	bool skipping;    /* inside a line that is too long */
	bool leaving;     /* smtp_server_shutdown() */
	bool stuffed;     /* commands wait until the replies have gone */
	bool esmtp, authed;
	unsigned errors, unknown, idle, messages; /* what the limits count */
	uint64_t commands;
	char helo[SMTP_HELO_MAX + 1];

	struct buf in, out;
	const char *view; /* input at hand; inside `in` unless borrowed */
	size_t view_n;
	bool borrowed;

	struct slot slot[SMTP_OPEN_MAX + 1];
	uint64_t head, tail; /* questions [head, tail) have a slot */

	struct smtp_auth *auth; /* NULL: none is under way */

	unsigned n_asked, n_ok; /* recipients of this transaction */
	bool utf8;              /* SMTPUTF8 */
	struct smtp_data_in din;
	struct buf msg;
	size_t msg_max;
	uint64_t size_said;     /* SIZE= */
	bool over, eight_bit;

	uint64_t chunk;         /* octets of the chunk at hand that are still to come */
	bool chunk_last;
	bool chunk_lost;        /* they are dropped, then comes the refusal */
};

/* smtp_cmd.c */
void smtp_command(struct smtp_server *s, const char *line, size_t n); /* run one */
bool smtp_command_is(const char *line, size_t n, const char *verb);
bool smtp_helo_fits(const char *p, size_t n); /* can stand in a trace header */

/* smtp_auth.c */
bool smtp_auth_allowed(const struct smtp_server *s);
void smtp_auth_offer(const struct smtp_server *s, struct buf *out); /* "250-AUTH ..." */
void smtp_auth_begin(struct smtp_server *s, const char *arg, size_t n);
void smtp_auth_line(struct smtp_server *s, const char *line, size_t n);
/* The exchange is over, however: its secrets are wiped, the phase is PH_READY. */
void smtp_auth_end(struct smtp_server *s);

/* smtp_param.c: false, and a reply is given, where something is wrong */
bool smtp_mail_read(struct smtp_server *s, const char *arg, size_t n, struct smtp_path *from,
                    struct smtp_mail *m);
bool smtp_rcpt_read(struct smtp_server *s, const char *arg, size_t n, struct smtp_path *to,
                    struct smtp_rcpt *r);

/* smtp_body.c */
void smtp_data_begin(struct smtp_server *s);
void smtp_chunk_begin(struct smtp_server *s, const char *arg, size_t n);
/* Take input as octets of a message; false when nothing more can be taken. */
bool smtp_body_step(struct smtp_server *s);
bool smtp_body_wants(const struct smtp_server *s); /* the next octets are no command */

/* smtp_xclient.c */
void smtp_xclient(struct smtp_server *s, const char *arg, size_t n);

/* smtp_server.c */
/* The only place where the phase changes. */
void smtp_goto(struct smtp_server *s, enum smtp_phase to);
/* Drop the first n octets of the input at hand. */
void smtp_eat(struct smtp_server *s, size_t n);
/* Where the next reply goes: the output, or a slot behind those that wait. */
struct buf *smtp_reply_to(struct smtp_server *s);
void smtp_say(struct smtp_server *s, int code, const char *enhanced, const char *text);
/* The same for a command that is refused; too many of them end the session. */
void smtp_deny(struct smtp_server *s, int code, const char *enhanced, const char *text);
/* The same, and the session is over with it. */
void smtp_finish(struct smtp_server *s, int code, const char *enhanced, const char *text,
                 const char *why);
uint64_t smtp_question(struct smtp_server *s, enum smtp_wait wait);
void smtp_forget_mail(struct smtp_server *s, const char *why);
void smtp_restart(struct smtp_server *s); /* as before EHLO (RFC 3207, 4.2) */

#endif
