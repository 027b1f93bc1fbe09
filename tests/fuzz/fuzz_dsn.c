/* tests/fuzz/fuzz_dsn.c - a report on anything
 *
 * The input is cut at 0xff into what comes from outside: address, sender, ORCPT, ENVID, a reply's
 * text, and the original.  Whatever they hold, lines end in CRLF and are short, the parts are as many
 * as they should be, and each field of the status part stands once.
 */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "proto/bus.h"
#include "proto/dsn.h"

enum { ADDRESS, SENDER, ORCPT, ENVID, REPLY, ORIGINAL, TEXTS };

static unsigned count(const char *s, const char *what)
{
	unsigned n = 0;

	for (; (s = strstr(s, what)) != NULL; s++)
		n++;
	return n;
}

static void check_lines(const struct buf *out)
{
	size_t column = 0;

	for (size_t i = 0; i < out->len; i++) {
		assert(out->data[i] != '\0');
		assert(out->data[i] != '\r' || (i + 1 < out->len && out->data[i + 1] == '\n'));
		assert(out->data[i] != '\n' || (i > 0 && out->data[i - 1] == '\r'));
		column = out->data[i] == '\n' ? 0 : column + 1;
		assert(column <= 999);
	}
	assert(column == 0);
}

/* Fields at the beginning of a line, between the marks of the status part. */
static void check_status(const char *s)
{
	static const char *const once[] = { "\r\nFinal-Recipient: ", "\r\nAction: ", "\r\nStatus: ",
		"\r\nReporting-MTA: ", "\r\nDiagnostic-Code: " };
	const char *begin = strstr(s, "\r\nContent-Description: Delivery report\r\n");
	const char *end = begin != NULL ? strstr(begin, "\r\n--=_holdfast_R") : NULL;
	char *part;

	assert(begin != NULL && end != NULL);
	part = strndup(begin, (size_t)(end - begin));
	for (size_t i = 0; i < sizeof(once) / sizeof(once[0]); i++)
		assert(count(part, once[i]) == 1);
	assert(count(part, "\r\nOriginal-Recipient: ") <= 1);
	assert(count(part, "\r\nOriginal-Envelope-Id: ") <= 1);
	free(part);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static const char *const actions[] = { "failed", "delayed", "relayed", "failed" };
	Holdfast__Evidence e = HOLDFAST__EVIDENCE__INIT;
	char *text[TEXTS] = { NULL };
	uint8_t flags = len > 0 ? data[0] : 0;
	size_t at = len > 0;
	struct buf out = BUF_INIT;

	for (int i = 0; i < TEXTS; i++) {
		const uint8_t *end = at < len ? memchr(data + at, 0xff, len - at) : NULL;
		size_t n = end != NULL ? (size_t)(end - data) - at : len - at;

		text[i] = strndup((const char *)data + at, n);
		at += n + (end != NULL);
	}
	e.code = 550;
	e.text = pb_str(text[REPLY]);
	dsn_build(&out, &(struct dsn_facts){
		.hostname = "relay.test", .report_id = "R", .message_id = "M", .to = text[SENDER],
		.rcpt = &(struct dsn_rcpt){ .address = text[ADDRESS], .action = actions[flags & 3],
			.status = "5.0.0", .evidence = flags & 4 ? &e : NULL, .why = "why",
			.orcpt = text[ORCPT] },
		.n_rcpt = 1, .original = text[ORIGINAL], .original_len = strlen(text[ORIGINAL]),
		.envid = text[ENVID], .utf8 = (flags & 8) != 0, .full = (flags & 16) != 0,
		.retry_until_ms = 1 });
	check_lines(&out);
	check_status(buf_str(&out));
	buf_free(&out);
	for (int i = 0; i < TEXTS; i++)
		free(text[i]);
	return 0;
}
