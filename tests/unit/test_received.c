/* tests/unit/test_received.c - the trace header, word for word */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>
#include "ingest/received.h"

#define BASE .helo = "app.test", .ip = "192.0.2.7", .hostname = "mx.test", .id = "ID26", \
             .now_ms = 1795509060000

static const struct row {
	const char *name;
	struct received_facts f;
	const char *want;
} rows[] = {
	{ "HELO is SMTP, whatever else", { BASE, .authed = true },
	  "Received: from app.test ([192.0.2.7])\r\n\tby mx.test with SMTP id ID26;\r\n"
	  "\tTue, 24 Nov 2026 08:31:00 +0000\r\n" },
	{ "EHLO is ESMTP", { BASE, .esmtp = true },
	  "Received: from app.test ([192.0.2.7])\r\n\tby mx.test with ESMTP id ID26;\r\n"
	  "\tTue, 24 Nov 2026 08:31:00 +0000\r\n" },
	{ "AUTH adds A", { BASE, .esmtp = true, .authed = true },
	  "Received: from app.test ([192.0.2.7])\r\n\tby mx.test with ESMTPA id ID26;\r\n"
	  "\tTue, 24 Nov 2026 08:31:00 +0000\r\n" },
	{ "TLS adds S and tells the cipher, one recipient is named",
	  { BASE, .esmtp = true, .authed = true, .tls = "TLS1.3", .cipher = "AES",
	    .for_addr = "a@b.test" },
	  "Received: from app.test ([192.0.2.7])\r\n\tby mx.test with ESMTPSA id ID26\r\n"
	  "\t(TLS1.3 AES)\r\n\tfor <a@b.test>;\r\n\tTue, 24 Nov 2026 08:31:00 +0000\r\n" },
	{ "TLS without AUTH", { BASE, .esmtp = true, .tls = "TLS1.2" },
	  "Received: from app.test ([192.0.2.7])\r\n\tby mx.test with ESMTPS id ID26\r\n"
	  "\t(TLS1.2);\r\n\tTue, 24 Nov 2026 08:31:00 +0000\r\n" },
	{ "a recipient that would break the line is not named",
	  { BASE, .esmtp = true, .for_addr = "\"a\tb\"@b.test" },
	  "Received: from app.test ([192.0.2.7])\r\n\tby mx.test with ESMTP id ID26;\r\n"
	  "\tTue, 24 Nov 2026 08:31:00 +0000\r\n" },
	{ "IPv6 is tagged (RFC 5321, 4.1.3)",
	  { .helo = "app.test", .ip = "2001:db8::1", .hostname = "mx.test", .id = "ID26",
	    .now_ms = 1795509060000, .esmtp = true },
	  "Received: from app.test ([IPv6:2001:db8::1])\r\n\tby mx.test with ESMTP id ID26;\r\n"
	  "\tTue, 24 Nov 2026 08:31:00 +0000\r\n" },
};

static void row_gives_header(void **state)
{
	const struct row *r = *state;
	struct buf out = BUF_INIT;

	received_add(&out, &r->f);
	assert_string_equal(buf_str(&out), r->want);
	buf_free(&out);
}

int main(void)
{
	struct CMUnitTest tests[sizeof(rows) / sizeof(rows[0])];

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		tests[i] = (struct CMUnitTest){ rows[i].name, row_gives_header, NULL, NULL,
		                                (void *)&rows[i] };
	return cmocka_run_group_tests_name("received", tests, NULL, NULL);
}
