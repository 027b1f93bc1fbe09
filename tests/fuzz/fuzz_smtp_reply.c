/* tests/fuzz/fuzz_smtp_reply.c - replies from any bytes, read; any text, written and judged */
#include <assert.h>
#include <stdint.h>
#include <string.h>
#include "delivery/classify.h"
#include "proto/smtp_line.h"
#include "proto/smtp_reply.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void judge(const struct smtp_reply *r)
{
	struct outcome o = {
		.stage = HOLDFAST__SMTP_STAGE__STAGE_RCPT, .code = r->code, .enhanced = r->enhanced,
		.text = buf_str(&r->text), .text_len = r->text.len,
	};

	classify_outcome(&o);
	assert(o.rule != NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *p = (const char *)data, *line;
	struct smtp_reply r = SMTP_REPLY_INIT;
	struct buf out = BUF_INIT;
	size_t n = size, len, used;
	bool skipping = false;
	enum smtp_line_result got;
	char text[512];

	while ((got = smtp_line_take(p, n, 512, &skipping, &line, &len, &used)) != SMTP_LINE_MORE) {
		assert(used > 0 && used <= n);
		p += used;
		n -= used;
		if (got != SMTP_LINE_OK)
			continue;
		if (smtp_reply_line(&r, line, len) != ERR_OK)
			continue;
		assert(r.code >= 200 && r.code <= 599);
		judge(&r);
		smtp_reply_reset(&r);
	}
	len = size < sizeof(text) - 1 ? size : sizeof(text) - 1;
	memcpy(text, data, len);
	text[len] = '\0';
	smtp_reply_add(&out, 550, "5.7.1", text);
	assert(out.len >= 2 && memcmp(out.data + out.len - 2, "\r\n", 2) == 0);
	smtp_reply_free(&r);
	buf_free(&out);
	return 0;
}
