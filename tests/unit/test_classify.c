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
	assert_true(hit * 100 >= hard * 90);
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
