/* tests/fuzz/fuzz_client.c - a server that says anything, in any pieces
 *
 * The first byte sets options and the size of the pieces; a 0xff in the input is a
 * lost connection.  Whatever comes, each started mail must be done exactly once.
 */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include "delivery/client.h"

static const struct client_rcpt rcpts[] = {
	{ "b@y.test", CLIENT_NEVER, "" },
	{ "c@\xc3\xb6.test", CLIENT_SUCCESS | CLIENT_DELAY, "" },
	{ "d@y.test", 0, "utf-8;\xc3\xb6+2B@y.test" },
};

struct run {
	struct client *c;
	unsigned started, done, max;
	bool closed;
};

static void check_results(struct run *r)
{
	const struct client_result *res = client_results(r->c);

	for (unsigned i = 0; i < 3; i++) {
		assert(res[i].stage != HOLDFAST__SMTP_STAGE__STAGE_NONE);
		assert(res[i].code == 0 || (res[i].code >= 200 && res[i].code <= 599));
		assert(strlen(client_text(r->c, &res[i])) <= res[i].text_len);
	}
	r->done++;
	client_next(r->c);
}

/* Whole lines go out, and a chunk is announced exactly where its bytes follow. */
static void check_output(struct buf *out, bool chunk)
{
	const char *s = buf_str(out);

	assert(out->len == 0 || (out->len >= 2 && memcmp(s + out->len - 2, "\r\n", 2) == 0));
	assert(chunk == (strstr(s, "BDAT 12 LAST\r\n") != NULL));
	buf_reset(out);
}

static void drive(struct run *r)
{
	for (;;) {
		enum client_act act = client_step(r->c);

		check_output(client_out(r->c), act == CL_BODY && client_body_is_raw(r->c));
		if (act == CL_WAIT) {
			if (!client_can_start(r->c) || r->started >= r->max)
				return;
			r->started++;
			client_start(r->c, &(struct client_mail){ .mail_from = "a@x.test",
				.rcpt = rcpts, .n_rcpt = 3, .size = 10, .envid = "QQ314159",
				.ret = HOLDFAST__DSN_RET__RET_HDRS });
		} else if (act == CL_SECURE) {
			client_secured(r->c, true, NULL);
		} else if (act == CL_BODY) {
			client_body_sent(r->c);
		} else if (act == CL_DONE) {
			check_results(r);
		} else if (act == CL_CLOSE) {
			r->closed = true;
			return;
		}
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct run r = { 0 };
	size_t piece;

	if (len < 2)
		return 0;
	r.c = client_new(&(struct client_conf){ "us.test", (data[0] & 1) != 0,
	                                        (data[0] & 32) != 0 });
	r.max = data[0] >> 6;
	piece = 1 + ((data[0] >> 1) & 15);
	for (size_t i = 1; i < len; i += piece) {
		size_t n = len - i < piece ? len - i : piece;

		if (data[i] == 0xff || !client_feed(r.c, (const char *)data + i, n))
			client_lost(r.c, "lost");
		drive(&r);
	}
	client_quit(r.c);
	drive(&r);
	client_lost(r.c, "the end");
	drive(&r);
	assert(r.closed && r.started == r.done && client_open(r.c) == 0);
	client_free(&r.c);
	return 0;
}
