/* tests/unit/test_classify.c - what a reply says of an address */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>
#include "delivery/classify.h"
#include "lib/err.h"

#define HARD  HOLDFAST__BOUNCE_CLASS__BOUNCE_HARD
#define SOFT  HOLDFAST__BOUNCE_CLASS__BOUNCE_SOFT
#define BLOCK HOLDFAST__BOUNCE_CLASS__BOUNCE_BLOCK
#define RCPT  HOLDFAST__SMTP_STAGE__STAGE_RCPT
#define END   HOLDFAST__SMTP_STAGE__STAGE_END_OF_DATA

static Holdfast__BounceClass judge(Holdfast__SmtpStage stage, int code, const char *enhanced,
                                   const char *text)
{
	struct outcome o = { .stage = stage, .code = code, .enhanced = enhanced, .text = text,
	                     .text_len = strlen(text) };

	classify_outcome(&o);
	assert_non_null(o.rule);
	return o.class;
}

static struct row {
	const char *name;
	Holdfast__SmtpStage stage;
	int code;
	const char *enhanced, *text;
	Holdfast__BounceClass want;
} rows[] = {
	{ "no such mailbox by status", RCPT, 550, "5.1.1", "rejected", HARD },
	{ "no such mailbox by text alone", RCPT, 550, "", "No such user here", HARD },
	{ "a 4.2.1 behind a 550 is soft", RCPT, 550, "4.2.1", "mailbox busy", SOFT },
	{ "a full mailbox is soft", RCPT, 552, "5.2.2", "Mailbox full", SOFT },
	{ "a full mailbox without status is soft", RCPT, 452, "", "user is over quota", SOFT },
	{ "a bare 552 is soft", RCPT, 552, "", "no", SOFT },
	{ "a bare 550 says nothing", RCPT, 550, "", "no", BLOCK },
	{ "spam is our trouble", RCPT, 550, "5.7.1", "looks like spam", BLOCK },
	{ "spam with the status of a missing mailbox is still ours", RCPT, 550, "5.1.1",
	  "rejected as spam", BLOCK },
	{ "a policy status with the text of a missing mailbox", RCPT, 550, "5.7.1",
	  "Recipient address rejected: User unknown", HARD },
	{ "Exchange's way to say that nobody is there", RCPT, 550, "5.4.1",
	  "Recipient address rejected: Access denied. AS(201806281)", HARD },
	{ "greylisting is no bounce of the address", RCPT, 450, "4.2.0", "Greylisted, see later",
	  BLOCK },
	{ "Gmail's missing account over three lines", RCPT, 550, "5.1.1",
	  "The email account that you tried to reach does not exist. Please\ntry double-checking",
	  HARD },
	{ "a text across the end of a line", RCPT, 550, "", "the mailbox was\nnot found", HARD },
	{ "case plays no part", RCPT, 550, "", "USER UNKNOWN", HARD },
	{ "a refusal at MAIL never speaks of the recipient", HOLDFAST__SMTP_STAGE__STAGE_MAIL, 550,
	  "5.1.1", "user unknown", BLOCK },
	{ "nor one at connect", HOLDFAST__SMTP_STAGE__STAGE_CONNECT, 0, "", "timed out", BLOCK },
	{ "nor one of DATA", HOLDFAST__SMTP_STAGE__STAGE_DATA, 554, "5.5.1", "no recipients", BLOCK },
	{ "after the message a missing mailbox counts", END, 550, "5.1.1", "user unknown", HARD },
	{ "after the message content does not", END, 554, "5.7.1", "message refused", BLOCK },
	{ "a lost connection after the message", END, 0, "", "connection lost", BLOCK },
	{ "no such domain, by our own look-up", HOLDFAST__SMTP_STAGE__STAGE_DNS, 550, "5.1.2",
	  "no such domain", HARD },
	{ "a null MX, by our own look-up", HOLDFAST__SMTP_STAGE__STAGE_DNS, 556, "5.1.10", "null MX",
	  HARD },
	{ "a name server that fails", HOLDFAST__SMTP_STAGE__STAGE_DNS, 451, "4.4.3", "SERVFAIL",
	  BLOCK },
	{ "the mailbox has moved", RCPT, 550, "5.1.6", "moved", HARD },
	{ "a disabled account is soft", RCPT, 525, "5.7.13", "user account is disabled", SOFT },
	{ "the sender's fault", RCPT, 550, "5.1.8", "sender domain", BLOCK },
	{ "a status that is none", RCPT, 550, "9.9.9", "user unknown", HARD },
	/* as the large ones say it */
	{ "Outlook's old answer for nobody", RCPT, 550, "5.5.0",
	  "Requested action not taken: mailbox unavailable (S2017062302)", HARD },
	{ "Outlook's block list", END, 550, "5.7.1",
	  "Unfortunately, messages from [192.0.2.1] weren't sent. Please contact your Internet "
	  "service provider since part of their network is on our block list (S3150).", BLOCK },
	{ "Exchange, recipient not found", RCPT, 550, "5.1.10",
	  "RESOLVER.ADR.RecipientNotFound; Recipient not found by SMTP address lookup", HARD },
	{ "Exchange, tenant attribution", RCPT, 550, "5.7.64", "TenantAttribution; Relay Access Denied",
	  BLOCK },
	{ "Exchange, banned address of ours", RCPT, 550, "5.7.606",
	  "Access denied, banned sending IP [192.0.2.1]", BLOCK },
	{ "Gmail, inactive", RCPT, 550, "5.2.1",
	  "The email account that you tried to reach is inactive.", SOFT },
	{ "Gmail, full", RCPT, 552, "5.2.2",
	  "The email account that you tried to reach is over quota.", SOFT },
	{ "Gmail, unsolicited", END, 550, "5.7.1",
	  "Our system has detected that this message is likely unsolicited mail.", BLOCK },
	{ "Gmail, unauthenticated", END, 550, "5.7.26",
	  "This mail has been blocked because the sender is unauthenticated.", BLOCK },
	{ "Yahoo, nobody", RCPT, 554, "",
	  "delivery error: dd This user doesn't have a yahoo.com account (x@yahoo.com) [0]", HARD },
	{ "Yahoo, disabled, at end of data", END, 554, "",
	  "30 Sorry, your message to x@yahoo.com cannot be delivered. This mailbox is disabled "
	  "(554.30).", SOFT },
	{ "Yahoo, deferred for complaints", RCPT, 421, "4.7.0",
	  "[TSS04] Messages from 192.0.2.1 temporarily deferred due to user complaints", BLOCK },
	{ "mail.ru, nobody", RCPT, 550, "",
	  "Message was not accepted -- invalid mailbox.  Local mailbox x@mail.ru is unavailable: "
	  "user not found", HARD },
	{ "mail.ru, disabled", RCPT, 550, "",
	  "Message was not accepted -- invalid mailbox. Local mailbox x@mail.ru is unavailable: "
	  "account is disabled", SOFT },
	{ "Yandex, nobody", RCPT, 550, "5.7.1", "No such user!", HARD },
	{ "qq.com, nobody", RCPT, 550, "",
	  "Mailbox not found. http://service.mail.qq.com/cgi-bin/help?id=20022", HARD },
	{ "qq.com, frequency", RCPT, 550, "", "Connection frequency limited", BLOCK },
	{ "GMX, nobody", RCPT, 550, "", "Requested action not taken: mailbox unavailable", HARD },
	{ "GMX, policy", RCPT, 550, "",
	  "Requested action not taken: mailbox unavailable\nReject due to policy restrictions.",
	  BLOCK },
	{ "Postfix, nobody", RCPT, 550, "5.1.1",
	  "<x@example.org>: Recipient address rejected: User unknown in local recipient table", HARD },
	{ "Postfix, nobody that it could verify yet", RCPT, 450, "4.1.1",
	  "<x@example.org>: Recipient address rejected: unverified address: connect to "
	  "mx.example.org[192.0.2.1]:25: Connection timed out", BLOCK },
	{ "Postfix, any cause", RCPT, 554, "",
	  "<x@example.org>: Recipient address rejected: see our terms", BLOCK },
	{ "Postfix, relaying", RCPT, 554, "5.7.1", "<x@example.org>: Relay access denied", BLOCK },
	{ "Exim, nobody", RCPT, 550, "", "Unknown user", HARD },
	{ "Exim, unrouteable", RCPT, 550, "", "Unrouteable address", BLOCK },
	{ "qmail, nobody", RCPT, 550, "", "sorry, no mailbox here by that name (#5.1.1)", HARD },
	{ "qmail, a status only", RCPT, 553, "", "sorry (#5.2.2)", SOFT },
	{ "Cisco, nobody", RCPT, 550, "", "#5.1.0 Address rejected x@example.org", HARD },
	{ "Sendmail, nobody", RCPT, 550, "5.3.0", "<x@example.org>... User unknown", HARD },
	{ "Mimecast, nobody", RCPT, 550, "",
	  "Invalid Recipient - https://community.mimecast.com/docs/DOC-1369#550 [abc]", HARD },
	{ "Mimecast, blocked sender", END, 550, "",
	  "Rejected by header based manually Blocked Senders", BLOCK },
	{ "Proofpoint, blocked", RCPT, 554, "",
	  "Blocked - see https://ipcheck.proofpoint.com/?ip=192.0.2.1", BLOCK },
	{ "Proofpoint, local policy", END, 550, "5.7.0", "Local Policy Violation", BLOCK },
	{ "Domino, nobody", RCPT, 550, "", "x@example.org... No such user", HARD },
	{ "GroupWise and its like, nobody", RCPT, 550, "5.1.1", "Mailbox unknown.", HARD },
	/* and what is easily taken wrongly */
	{ "the words of an address mean nothing", RCPT, 550, "",
	  "<spam-policy@example.org>: no such user", HARD },
	{ "not even of one that looks like a cause", RCPT, 550, "",
	  "user.unknown@example.org: try later", BLOCK },
	{ "an IP address is no status", RCPT, 550, "", "your host 5.1.1.1 is not welcome", BLOCK },
	{ "a status in the text of a policy", RCPT, 550, "", "mx: 5.7.515 Access denied", BLOCK },
	{ "a vague status with a text about us", RCPT, 550, "5.7.1",
	  "sender blocked: no such user may send here", BLOCK },
	{ "a full disk of theirs is not a full mailbox", RCPT, 452, "4.3.1",
	  "Insufficient system storage", BLOCK },
	{ "a message that is too large", END, 552, "5.3.4", "message size exceeds limit", BLOCK },
	{ "no text at all", RCPT, 554, "", "", BLOCK },
};

static void row_gives_class(void **state)
{
	const struct row *r = *state;

	assert_int_equal(judge(r->stage, r->code, r->enhanced, r->text), r->want);
}

/* Split a line at tabs in place; how many fields. */
static int fields(char *line, char **out, int max)
{
	int n = 0;

	while (n < max && line != NULL)
		out[n++] = strsep(&line, "\t");
	return n;
}

/* A collection of real reply lines with labels, kept outside the repository. */
static void real_replies_are_judged_right(void **state)
{
	FILE *f = fopen(HF_SOURCE_DIR "/../shared/corpora/replies/kumomta.tsv", "r");
	int hard = 0, hit = 0, must_not = 0, false_hard = 0;
	char line[4096], *f8[8];

	if (f == NULL) {
		print_message("no collection of replies beside the source; skipped\n");
		skip();
	}
	assert_non_null(fgets(line, sizeof(line), f));
	while (fgets(line, sizeof(line), f) != NULL) {
		bool is_hard;

		line[strcspn(line, "\n")] = '\0';
		if (fields(line, f8, 8) < 5)
			continue;
		is_hard = judge(RCPT, (f8[0][0] - '0') * 100 + (f8[0][1] - '0') * 10 + (f8[0][2] - '0'),
		                f8[1], f8[2]) == HARD;
		if (strcmp(f8[4], "hard") == 0) {
			hard++;
			hit += is_hard;
		} else if (strcmp(f8[4], "hard-or-soft") != 0) {
			must_not++;
			false_hard += is_hard;
		}
	}
	fclose(f);
	print_message("hard: %d of %d found; of %d others %d called hard\n", hit, hard, must_not,
	              false_hard);
	assert_true(hit * 100 >= hard * 95);
	assert_int_equal(false_hard, 0);
}

int main(void)
{
	struct CMUnitTest tests[ARRAY_LEN(rows) + 1];

	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		tests[i] = (struct CMUnitTest){
			.name = rows[i].name,
			.test_func = row_gives_class,
			.initial_state = &rows[i],
		};
	tests[ARRAY_LEN(rows)] = (struct CMUnitTest)cmocka_unit_test(real_replies_are_judged_right);
	return cmocka_run_group_tests_name("classify", tests, NULL, NULL);
}
