/* deploy/hfctl.h - what the commands of hfctl share
 *
 * A command opens the bus when its arguments are good, asks, prints, returns an exit
 * code of sysexits.h.  Everything BLOCKS, as a tool may.
 */
#ifndef DEPLOY_HFCTL_H
#define DEPLOY_HFCTL_H

#include "lib/buf.h"
#include "lib/cli.h"
#include "proto/tool.h"

#define HFCTL_WAIT_MS 5000

/* The tool's state: the bus, once it is open. */
struct hfctl {
	struct tool *tool;
};

/* Open the bus as operator; told on standard error when not.  EX_OK or an exit code. */
int hfctl_open(struct cli *c);
struct tool *hfctl_tool(struct cli *c);

/* Ask the instance of policy that owns key.  On EX_OK *out is the answer, of the kind
 * `want`; else the reason was told. */
int hfctl_ask_policy(struct cli *c, const void *key, size_t len, Holdfast__Frame *q,
                     Holdfast__Frame__BodyCase want, struct tool_answer *out);
int hfctl_ask(struct cli *c, struct bus_to to, Holdfast__Frame *q,
              Holdfast__Frame__BodyCase want, struct tool_answer *out);

/* Ask for an act: Done's result as exit code, its text told unless it is OK. */
int hfctl_act(struct cli *c, const void *key, size_t len, Holdfast__Frame *q);
int hfctl_done_code(struct cli *c, const Holdfast__Done *d);

/* Arguments.  False: told on standard error (exit 65). */
bool hfctl_account_name(struct cli *c, const char *name);
bool hfctl_address_key(struct cli *c, const char *address, struct buf *key);

/* Text of bytes for a table cell, valid until the next call but 7. */
const char *hfctl_cell(ProtobufCBinaryData d);
/* Time as text, NULL for 0; valid until the next call but 7. */
const char *hfctl_when(uint64_t wall_ms);

/* The commands: one file a group. */
int cmd_account_add(struct cli *c, int argc, char **argv);
int cmd_account_show(struct cli *c, int argc, char **argv);
int cmd_account_list(struct cli *c, int argc, char **argv);
int cmd_account_set(struct cli *c, int argc, char **argv);
int cmd_account_activate(struct cli *c, int argc, char **argv);
int cmd_account_disable(struct cli *c, int argc, char **argv);
int cmd_credential_add(struct cli *c, int argc, char **argv);
int cmd_credential_remove(struct cli *c, int argc, char **argv);
int cmd_address_allow(struct cli *c, int argc, char **argv);
int cmd_address_remove(struct cli *c, int argc, char **argv);
int cmd_list_add(struct cli *c, int argc, char **argv);
int cmd_list_remove(struct cli *c, int argc, char **argv);
int cmd_list_show(struct cli *c, int argc, char **argv);
int cmd_block_add(struct cli *c, int argc, char **argv);
int cmd_block_remove(struct cli *c, int argc, char **argv);
int cmd_block_show(struct cli *c, int argc, char **argv);
int cmd_queue(struct cli *c, int argc, char **argv);
int cmd_ledger(struct cli *c, int argc, char **argv);
int cmd_trace(struct cli *c, int argc, char **argv);
int cmd_config_check(struct cli *c, int argc, char **argv);

#endif
