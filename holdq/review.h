/* holdq/review.h - what the commands of the reviewers' tool share
 *
 * Each command opens the bus when its arguments are good, asks, prints, returns an exit
 * code of sysexits.h.  Everything BLOCKS, as a tool may.
 */
#ifndef HOLDQ_REVIEW_H
#define HOLDQ_REVIEW_H

#include "lib/cli.h"
#include "lib/uuid.h"
#include "proto/tool.h"

#define REVIEW_WAIT_MS   5000
#define REVIEW_DECIDE_MS 60000 /* a decision asks policy about each mail */
#define REVIEW_SLICE     64    /* mails decided in one question */

/* The tool's state. */
struct review {
	struct tool *tool; /* NULL until review_open() */
};

/* Which mail a command is about: the options --account, --sender, --domain, --subject and
 * --older-than, and ids. */
struct review_filter {
	const char *account, *sender, *domain, *subject;
	uint64_t older_ms;
	struct uuid *id; /* owned */
	size_t n_id;
};
#define REVIEW_FILTER_OPTIONS(f) \
	{ "account", CLI_TEXT, &(f)->account, NULL }, \
	{ "sender", CLI_TEXT, &(f)->sender, NULL }, \
	{ "domain", CLI_TEXT, &(f)->domain, NULL }, \
	{ "subject", CLI_TEXT, &(f)->subject, NULL }, \
	{ "older-than", CLI_DURATION, &(f)->older_ms, NULL }

/* Read the ids of args (NULL-ended).  False: told which is none. */
bool review_ids(struct cli *c, const char **args, struct review_filter *f);
bool review_filter_empty(const struct review_filter *f);
/* False, and told: an option with an empty text (an unset variable of a script would match all). */
bool review_filter_sound(struct cli *c, const struct review_filter *f);
void review_filter_free(struct review_filter *f);

/* EX_OK, or an exit code: the reason was told. */
int review_open(struct cli *c);
struct tool *review_tool(struct cli *c);

/* Ask one instance; on EX_OK *out is an answer of the kind `want`, else the reason was told. */
int review_ask(struct cli *c, struct bus_to to, Holdfast__Frame *q, uint32_t wait_ms,
               Holdfast__Frame__BodyCase want, struct tool_answer *out);

/* Call fn for each held mail that matches, of every instance, page by page, until it returns
 * false.  Mail is borrowed.  EX_OK, or an exit code. */
typedef bool review_mail_fn(void *arg, unsigned instance, const Holdfast__HeldMail *m);
int review_each(struct cli *c, const struct review_filter *f, review_mail_fn *fn, void *arg);

/* Decide on mail and print a row for each.  expect is looked at when check is set. */
struct review_decision {
	Holdfast__Decision what;
	const char *reason;
	bool dry_run, check;
	uint64_t expect;
};
int review_decide(struct cli *c, const struct review_filter *f, const struct review_decision *d);

/* Text of bytes that a terminal may show, and of an id; xfree() them. */
char *review_text(ProtobufCBinaryData d);

int cmd_list(struct cli *c, int argc, char **argv);
int cmd_show(struct cli *c, int argc, char **argv);
int cmd_release(struct cli *c, int argc, char **argv);
int cmd_reject(struct cli *c, int argc, char **argv);
int cmd_approve(struct cli *c, int argc, char **argv);

#endif
