/* proto/tool.h - the bus for command-line tools: ask, wait, have the answer
 *
 * Makes a loop and a bus without a ROUTER, from the same configuration file as the
 * stages.  Everything BLOCKS until the answer or the deadline.
 */
#ifndef PROTO_TOOL_H
#define PROTO_TOOL_H

#include <stdbool.h>
#include <stdint.h>
#include "lib/blob.h"
#include "lib/err.h"
#include "lib/worker.h"
#include "proto/bus.h"

struct tool;

/* ERR_SYNTAX and so on of worker_conf_load(), told on stderr as FILE:LINE:COLUMN. */
enum err tool_open(const char *conf_path, Holdfast__Role role, struct tool **out) MUST_CHECK;
void tool_close(struct tool **t);

unsigned    tool_instances(const struct tool *t, Holdfast__Role stage);
const char *tool_instance_name(const struct tool *t, Holdfast__Role stage, unsigned i);
unsigned    tool_shard(const struct tool *t, Holdfast__Role stage, const void *key, size_t len);

/* An answer that the caller owns. */
struct tool_answer {
	Holdfast__Frame *frame; /* unpacked copy */
	struct blob     *body;  /* or NULL */
};

/* ERR_TIMEOUT: nobody answered in wait_ms (5000 is the tools' habit). */
enum err tool_ask(struct tool *t, struct bus_to to, Holdfast__Frame *q, uint32_t wait_ms,
                  struct tool_answer *out) MUST_CHECK;
void tool_answer_free(struct tool_answer *a);

/* What the other side said when the last question was refused, or NULL. */
const char *tool_refusal(const struct tool *t);

/* exit code of sysexits.h for err: 69 no link or timeout, 65 data, 77 permission, ... */
int tool_exit_code(enum err err);

/* Who acts, for histories: $SUDO_USER, else the login name, else "uid:N". */
const char *tool_user(void);

#endif
