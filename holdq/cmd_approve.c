/* holdq/cmd_approve.c - holdq approve: the account is good, its mail may go
 *
 * Two acts in that order; when the second fails the first stands, and `release` does the rest.
 */
#include <stdio.h>
#include <string.h>
#include <sysexits.h>
#include "holdq/review.h"
#include "lib/mem.h"

static int told(struct cli *c, const char *account, const Holdfast__Done *d)
{
	char *text = review_text(d->text);
	int code = EX_OK;

	switch (d->result) {
	case HOLDFAST__DONE__RESULT__OK:
	case HOLDFAST__DONE__RESULT__NO_CHANGE: /* it was active: its mail goes all the same */
		break;
	case HOLDFAST__DONE__RESULT__NO_SUCH:
		code = cli_fail(c, EX_NOUSER, "there is no account %s", account);
		break;
	default:
		code = cli_fail(c, EX_DATAERR, "%s: %s", account,
		                text[0] != '\0' ? text : "policy does not allow it");
	}
	xfree(text);
	return code;
}

static int activate(struct cli *c, const char *account)
{
	struct bus_to to = { HOLDFAST__ROLE__ROLE_POLICY, 0 };
	Holdfast__Frame f = HOLDFAST__FRAME__INIT;
	Holdfast__AccountPut put = HOLDFAST__ACCOUNT_PUT__INIT;
	Holdfast__Account a = HOLDFAST__ACCOUNT__INIT;
	ProtobufCBinaryData set = pb_str("state");
	struct tool_answer answer;
	int code;

	a.name = pb_str(account);
	a.state = HOLDFAST__ACCOUNT_STATE__ACCOUNT_ACTIVE;
	put.account = &a;
	put.set = &set;
	put.n_set = 1;
	put.by = pb_str(tool_user());
	put.reason = pb_str("approved by review");
	f.body_case = HOLDFAST__FRAME__BODY_ACCOUNT_PUT;
	f.account_put = &put;
	to.instance = tool_shard(review_tool(c), to.stage, account, strlen(account));
	code = review_ask(c, to, &f, REVIEW_WAIT_MS, HOLDFAST__FRAME__BODY_DONE, &answer);
	if (code != EX_OK)
		return code;
	code = told(c, account, answer.frame->done);
	tool_answer_free(&answer);
	return code;
}

int cmd_approve(struct cli *c, int argc, char **argv)
{
	bool keep = false;
	const struct cli_option options[] = {
		{ "no-release", CLI_FLAG, &keep, NULL }, { NULL, CLI_FLAG, NULL, NULL },
	};
	const char *args[2];
	enum err err = cli_parse(c, options, argc, argv, args, (int[2]){ 1, 1 });
	struct review_decision d = { .what = HOLDFAST__DECISION__DECISION_RELEASE };
	struct review_filter f = { 0 };
	int code;

	if (err != ERR_OK)
		return cli_parse_exit(err);
	f.account = args[0];
	if (!review_filter_sound(c, &f))
		return EX_USAGE;
	code = review_open(c);
	if (code == EX_OK)
		code = activate(c, args[0]);
	if (code == EX_OK && !keep)
		code = review_decide(c, &f, &d);
	return code;
}
