/* holdq/review_main.c - holdq, the tool of review staff: its commands
 *
 * Speaks only the bus.  The table below is the tool.
 */
#include <stdio.h>
#include <sysexits.h>
#include "holdq/review.h"

#define FILTER "[--account A] [--sender S] [--domain D] [--subject T] [--older-than 2h]"
#define FILTER_HELP \
	"A filter: --account; --sender, the whole address; --domain of a recipient; --subject,\n" \
	"text in the Subject as it was written; --older-than, held for longer.  All that are\n" \
	"given must fit.  Letters match without case."

static const struct cli_command commands[] = {
	{ "list", FILTER " [--limit N]",
	  "Show held mail, the oldest first.\n" FILTER_HELP, cmd_list },
	{ "show", "ID [--body]",
	  "Show the header of one held mail.\n--body shows the whole; that is put on record.",
	  cmd_show },
	{ "release", "ID... | " FILTER " [--dry-run] [--expect N]",
	  "Let mail go to its recipients.\n" FILTER_HELP "\n"
	  "--dry-run tells what would be released and changes nothing (it does not ask policy).\n"
	  "--expect refuses to act when another number of mails is meant.\n"
	  "Results: released; partial, some recipients are on a list now; refused, the\n"
	  "account cannot send: stays held (exit 65); later, policy is out of reach: stays\n"
	  "held, try again (exit 75); already, decided before; no-such, not known here (exit 65).",
	  cmd_release },
	{ "reject", "ID... | " FILTER " [--reason TEXT] [--dry-run] [--expect N]",
	  "End mail with a delivery report to its sender.\n" FILTER_HELP "\n"
	  "--reason is told to the sender.  --dry-run and --expect as with release.", cmd_reject },
	{ "approve", "ACCOUNT [--no-release]",
	  "Let an account send without review and release its held mail.\n"
	  "--no-release leaves the mail held.", cmd_approve },
	{ NULL, NULL, NULL, NULL },
};

static const struct cli_spec spec = {
	"holdq", "review held mail: look at it, release it, reject it", commands,
};

int main(int argc, char **argv)
{
	struct review r = { NULL };
	int code = cli_main(&spec, &r, argc, argv);

	tool_close(&r.tool);
	if (fflush(stdout) != 0)
		return EX_IOERR;
	return code;
}
