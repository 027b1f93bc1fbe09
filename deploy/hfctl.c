/* deploy/hfctl.c - the operators' tool: its commands, and how they ask
 *
 * Speaks only the bus.  The table below is the tool.
 */
#include "deploy/hfctl.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>
#include "lib/mem.h"
#include "proto/smtp_addr.h"

static const struct cli_command commands[] = {
	{ "account add", "NAME [--state STATE] [--quota-hour|-day|-month|-total N] "
	  "[--soft-limit N] [OPTION of account set]...",
	  "Make an account.\n"
	  "STATE is pending (the default), review or active; quotas are in recipients,\n"
	  "0 for none; --soft-limit is how many soft bounces list an address (1 to 9, 3).",
	  cmd_account_add },
	{ "account show", "NAME", "Show one account with its usage.", cmd_account_show },
	{ "account list", "", "Show all accounts.", cmd_account_list },
	{ "account set", "NAME [--state STATE] [--quota-... N] [--soft-limit N] "
	  "[--bypass-unsubscribe yes|no] [--check-from yes|no] [--from-domain LIST] "
	  "[--on-refusal refuse|accept] [--notify none|manager|from|both] "
	  "[--manager ADDRESS] [--rate-minute N] [--reason TEXT]",
	  "Change an account.\n"
	  "What is not named stays as it is; it holds for the next command of every\n"
	  "session.  --check-from yes: the sender's domains must be in --from-domain, a\n"
	  "list with commas (\"example.org,.example.net\"; the dot: all below it; \"\": none).\n"
	  "--on-refusal accept: refused recipients are accepted, and --notify is told.\n"
	  "--rate-minute: most messages a minute, 0 for any number.", cmd_account_set },
	{ "account activate", "NAME", "Let an account send without review.", cmd_account_activate },
	{ "account disable", "NAME --reason TEXT", "Stop an account: E4 at its next MAIL.",
	  cmd_account_disable },
	{ "credential add", "ACCOUNT LOGIN [--password-stdin]",
	  "Give an account a login.\n"
	  "The password is asked for, or read from the first line of standard\n"
	  "input; only its SCRAM-SHA-256 keys leave this program.", cmd_credential_add },
	{ "credential remove", "LOGIN", "Take a login away.", cmd_credential_remove },
	{ "address allow", "ACCOUNT IP[/PREFIX]", "Let a network send for an account without AUTH.",
	  cmd_address_allow },
	{ "address remove", "ACCOUNT IP[/PREFIX]", "Take that back.", cmd_address_remove },
	{ "list add", "bounce|unsubscribe ACCOUNT ADDRESS|DOMAIN [--note TEXT]",
	  "Put an address on a list.\n"
	  "A domain, or .domain for all below it, goes on the Unsubscribe list only.",
	  cmd_list_add },
	{ "list remove", "bounce|unsubscribe ACCOUNT ADDRESS|DOMAIN [--reason TEXT]",
	  "Take an address off a list; its history stays.", cmd_list_remove },
	{ "list show", "bounce|unsubscribe ACCOUNT [ADDRESS|DOMAIN] [--history]",
	  "Show a list, or one address with its evidence.", cmd_list_show },
	{ "block add", "ADDRESS [--owner] [--note TEXT]",
	  "Block an address for every account.\n"
	  "--owner: its owner asked (else: it does not exist).",
	  cmd_block_add },
	{ "block remove", "ADDRESS [--reason TEXT]", "Lift the block.", cmd_block_remove },
	{ "block show", "[ADDRESS] [--history]", "Show the system-wide list.", cmd_block_show },
	{ "queue", "", "Depth and oldest mail of every stage and instance.", cmd_queue },
	{ "ledger", "[ACCOUNT] [--wait DURATION]",
	  "Add up accepted mail over all stages.\n"
	  "accepted = delivered + bounced + expired + suppressed + "
	  "rejected + cancelled + held + queued.\n"
	  "While mail flows the figures are taken again until they "
	  "balance, for at most\n--wait (10s).  Exit 1 when they do not.", cmd_ledger },
	{ "trace", "ID", "What every stage knows of a message.", cmd_trace },
	{ "config check", "", "Would every stage start from this configuration?",
	  cmd_config_check },
	{ NULL, NULL, NULL, NULL },
};

static const struct cli_spec spec = {
	"hfctl", "operate a Holdfast relay: accounts, lists, queues", commands,
};

int main(int argc, char **argv)
{
	struct hfctl h = { NULL };
	int code = cli_main(&spec, &h, argc, argv);

	tool_close(&h.tool);
	if (fflush(stdout) != 0)
		return EX_IOERR;
	return code;
}

struct tool *hfctl_tool(struct cli *c)
{
	struct hfctl *h = c->state;

	return h->tool;
}

int hfctl_open(struct cli *c)
{
	struct hfctl *h = c->state;
	enum err err = tool_open(c->conf_path, HOLDFAST__ROLE__ROLE_OPERATOR, &h->tool);

	return err == ERR_OK ? EX_OK : tool_exit_code(err);
}

int hfctl_ask(struct cli *c, struct bus_to to, Holdfast__Frame *q,
              Holdfast__Frame__BodyCase want, struct tool_answer *out)
{
	struct tool_answer a = { NULL, NULL };
	enum err err = tool_ask(hfctl_tool(c), to, q, HFCTL_WAIT_MS, &a);
	const char *name = tool_instance_name(hfctl_tool(c), to.stage, to.instance);

	if (err != ERR_OK)
		return cli_fail(c, tool_exit_code(err), "%s: %s", name, err_text(err));
	if (a.frame->body_case != want) {
		int code = EX_OK;

		if (a.frame->body_case == HOLDFAST__FRAME__BODY_DONE)
			code = hfctl_done_code(c, a.frame->done); /* says why it is none */
		tool_answer_free(&a);
		return code != EX_OK ? code : cli_fail(c, EX_PROTOCOL,
		                                       "%s: answered something else", name);
	}
	*out = a;
	return EX_OK;
}

int hfctl_ask_policy(struct cli *c, const void *key, size_t len, Holdfast__Frame *q,
                     Holdfast__Frame__BodyCase want, struct tool_answer *out)
{
	struct bus_to to = {
		HOLDFAST__ROLE__ROLE_POLICY,
		tool_shard(hfctl_tool(c), HOLDFAST__ROLE__ROLE_POLICY, key, len),
	};

	return hfctl_ask(c, to, q, want, out);
}

int hfctl_done_code(struct cli *c, const Holdfast__Done *d)
{
	static const struct { int code; const char *text; } results[] = {
		[HOLDFAST__DONE__RESULT__OK] = { EX_OK, "" },
		[HOLDFAST__DONE__RESULT__NO_SUCH] = { EX_NOUSER, "there is no such thing" },
		[HOLDFAST__DONE__RESULT__EXISTS] = { EX_DATAERR, "it is there already" },
		[HOLDFAST__DONE__RESULT__INVALID] = { EX_DATAERR, "not allowed" },
		[HOLDFAST__DONE__RESULT__NO_CHANGE] = { EX_OK, "it was so already" },
	};
	char *said = pb_strdup(d->text);
	int code = EX_PROTOCOL;

	if ((unsigned)d->result < ARRAY_LEN(results)) {
		code = results[d->result].code;
		if (d->result != HOLDFAST__DONE__RESULT__OK)
			(void)cli_fail(c, code, "%s", said[0] != '\0' ? said
			                                             : results[d->result].text);
	}
	xfree(said);
	return code;
}

int hfctl_act(struct cli *c, const void *key, size_t len, Holdfast__Frame *q)
{
	struct tool_answer a;
	int code = hfctl_ask_policy(c, key, len, q, HOLDFAST__FRAME__BODY_DONE, &a);

	if (code != EX_OK)
		return code;
	code = hfctl_done_code(c, a.frame->done);
	tool_answer_free(&a);
	return code;
}

bool hfctl_account_name(struct cli *c, const char *name)
{
	size_t len = strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789._-");

	if (len > 0 && len <= 64 && name[len] == '\0' && strchr("._-", name[0]) == NULL)
		return true;
	(void)cli_fail(c, 0, "\"%s\" is no account name: 1 to 64 of a-z 0-9 . _ -, "
	               "a letter or digit first", name);
	return false;
}

bool hfctl_address_key(struct cli *c, const char *address, struct buf *key)
{
	struct smtp_path path;

	if (smtp_addr_parse(address, strlen(address), &path) == ERR_OK &&
	    path.at < path.len && smtp_addr_key(path.addr, path.len, key) == ERR_OK)
		return true;
	(void)cli_fail(c, 0, "\"%s\" is no address", address);
	return false;
}

/* A few cells at once, so that a row can be written in one go. */
static char *next_cell(char *fresh)
{
	static char *cells[8];
	static unsigned at;

	at = (at + 1) % ARRAY_LEN(cells);
	xfree(cells[at]);
	cells[at] = fresh;
	return fresh;
}

const char *hfctl_cell(ProtobufCBinaryData d)
{
	return d.len == 0 ? NULL : next_cell(pb_strdup(d));
}

const char *hfctl_when(uint64_t wall_ms)
{
	char text[24];

	if (wall_ms == 0)
		return NULL;
	cli_time(wall_ms, text);
	return next_cell(xstrdup(text));
}
