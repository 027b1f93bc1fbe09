/* ingest/smtp_engine.h - the inside of the SMTP server engine
 *
 * Shared by smtp_server.c (input, order of replies, state) and smtp_cmd.c
 * (verbs), and by nobody else.
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
	bool esmtp, authed;
	unsigned errors;
	char helo[SMTP_HELO_MAX + 1];

	struct buf in, out;
	const char *view; /* input at hand; inside `in` unless borrowed */
	size_t view_n;
	bool borrowed;

	struct slot slot[SMTP_OPEN_MAX + 1];
	uint64_t head, tail; /* questions [head, tail) have a slot */

	enum sasl_step { SASL_PLAIN, SASL_LOGIN_USER, SASL_LOGIN_PASS } sasl_step;
	struct sasl_login login;

	unsigned n_asked, n_ok; /* recipients of this transaction */
	struct smtp_data_in din;
	struct buf msg;
	size_t msg_max;
	uint64_t size_said; /* SIZE= */
	bool over, eight_bit;
};

/* Run one command line (smtp_cmd.c). */
void smtp_command(struct smtp_server *s, const char *line, size_t n);
bool smtp_command_is(const char *line, size_t n, const char *verb);
void smtp_auth_line(struct smtp_server *s, const char *line, size_t n);

/* The only place where the phase changes. */
void smtp_goto(struct smtp_server *s, enum smtp_phase to);

/* Where the next reply goes: the output, or a slot behind those that wait. */
struct buf *smtp_reply_to(struct smtp_server *s);
void smtp_say(struct smtp_server *s, int code, const char *enhanced, const char *text);
/* The same for a command that is refused; too many of them end the session. */
void smtp_deny(struct smtp_server *s, int code, const char *enhanced, const char *text);
uint64_t smtp_question(struct smtp_server *s, enum smtp_wait wait);
void smtp_forget_mail(struct smtp_server *s, const char *why);

#endif
