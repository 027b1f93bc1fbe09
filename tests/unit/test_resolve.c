/* tests/unit/test_resolve.c - MX, A and AAAA through libunbound against a name server here
 *
 * The server answers from the table below over UDP on a loopback port.  signed.test is signed
 * (Ed25519) until 2080; its signatures go out with what they sign, asked for or not.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <stdlib.h>
#include <strings.h>
#include <unistd.h>
#include <arpa/inet.h>
#include <cmocka.h>
#include <uv.h>
#include "delivery/resolve.h"
#include "lib/buf.h"
#include "lib/clock.h"
#include "lib/mem.h"

#define WAIT_MS 20000

enum { A = 1, MX = 15, AAAA = 28, RRSIG = 46, DNSKEY = 48, SERVFAIL = 2, NXDOMAIN = 3, SILENT = -1 };

static const struct record {
	const char *name;
	int type;
	unsigned preference;
	const char *value; /* address, host or hex; NULL: rcode in preference; RRSIG: of that type */
} records[] = {
	{ "order.test", MX, 20, "last.test" },
	{ "order.test", MX, 5, "first.test" },
	{ "order.test", MX, 10, "second.test" },
	{ "first.test", A, 0, "127.0.0.11" },
	{ "first.test", AAAA, 0, "::1" },
	{ "second.test", A, 0, "127.0.0.12" },
	{ "last.test", A, 0, "127.0.0.13" },
	{ "equal.test", MX, 10, "first.test" },
	{ "equal.test", MX, 10, "second.test" },
	{ "null.test", MX, 0, "" },
	{ "implicit.test", A, 0, "127.0.0.20" },
	{ "bare.test", 16, 0, "" }, /* exists, with neither MX nor address */
	{ "lost.test", MX, 10, "nowhere.test" },
	{ "half.test", MX, 10, "nowhere.test" },
	{ "half.test", MX, 20, "last.test" },
	{ "inside.test", MX, 10, "private.test" },
	{ "private.test", A, 0, "10.1.2.3" },
	{ "outside.test", MX, 10, "both.test" },
	{ "both.test", A, 0, "192.168.0.1" },
	{ "both.test", A, 0, "9.9.9.9" },
	{ "broken.test", 0, SERVFAIL, NULL },
	{ "silent.test", 0, (unsigned)SILENT, NULL },
	{ "signed.test", MX, 10, "first.test" },
	{ "signed.test", RRSIG, MX,
	  "000f0f020000012ccee7b9805e0be1005ffa067369676e6564047465737400c980f3cc2a9c90ce1c"
	  "857096d738d38ff0d22155efe8bc390862c1cca6d180b9939f5546e2616f40f7cd215ad1133d57fa"
	  "6bb53cfbeb482fbe3d627ca44f3e08" },
	{ "signed.test", DNSKEY, 0,
	  "0101030f2545c12f9265157b08bf484daa73c9fc434c6078dcb164d08a3746d52e59236b" },
	{ "signed.test", RRSIG, DNSKEY,
	  "00300f020000012ccee7b9805e0be1005ffa067369676e656404746573740068368c02245298f759"
	  "a0ace8be927cd2ec08fe8508d221426964e7e55fa4c597afc7ed6baeb29a904751aa7b1a8de8af12"
	  "c5f260b3b2f81cc0ef01797cd6390e" },
};

#define KEY_DIGEST " IN DS 24570 15 2 73dc8a23e71aa02b5d923107c0a4263a5b6d5ccd50c0dac605cc32c6fbe12808\n"

static const char anchors[] = "signed.test." KEY_DIGEST "order.test." KEY_DIGEST;
static char anchor_file[] = "/tmp/hf-anchor-XXXXXX";

/* ---- the name server */

struct server {
	uv_loop_t loop;
	uv_udp_t udp;
	uv_timer_t pulse;
	unsigned port;
};

struct reply {
	uv_udp_send_t req;
	char data[1024];
	size_t len;
};

static void sent(uv_udp_send_t *req, int status)
{
	xfree(req);
}

static void put16(struct reply *r, unsigned v)
{
	r->data[r->len++] = (char)(v >> 8);
	r->data[r->len++] = (char)v;
}

static void put_name(struct reply *r, const char *name)
{
	while (*name != '\0') {
		size_t n = strcspn(name, ".");

		r->data[r->len++] = (char)n;
		memcpy(r->data + r->len, name, n);
		r->len += n;
		name += n + (name[n] == '.');
	}
	r->data[r->len++] = 0;
}

static void put_record(struct reply *r, const struct record *rec)
{
	size_t at;

	put16(r, 0xc00c);
	put16(r, (unsigned)rec->type);
	put16(r, 1);
	put16(r, 0);
	put16(r, 300);
	at = r->len;
	put16(r, 0);
	if (rec->type == RRSIG || rec->type == DNSKEY) {
		unsigned byte;

		for (const char *h = rec->value; sscanf(h, "%2x", &byte) == 1; h += 2)
			r->data[r->len++] = (char)byte;
	} else if (rec->type == MX) {
		put16(r, rec->preference);
		put_name(r, rec->value);
	} else {
		int af = rec->type == A ? AF_INET : AF_INET6;

		inet_pton(af, rec->value, r->data + r->len);
		r->len += af == AF_INET ? 4 : 16;
	}
	r->data[at] = (char)((r->len - at - 2) >> 8);
	r->data[at + 1] = (char)(r->len - at - 2);
}

static size_t question_name(const char *p, size_t n, char name[256])
{
	size_t at = 12, o = 0;

	while (at < n && p[at] != 0 && at + (size_t)p[at] < n && o + (size_t)p[at] < 254) {
		memcpy(name + o, p + at + 1, (size_t)p[at]);
		o += (size_t)p[at];
		name[o++] = '.';
		at += 1 + (size_t)p[at];
	}
	name[o > 0 ? o - 1 : 0] = '\0';
	return at + 1;
}

static void answer(struct server *s, const struct sockaddr *to, const char *q, size_t n)
{
	struct reply *r = xcalloc(1, sizeof(*r));
	char name[256];
	size_t end = question_name(q, n, name);
	int type = (unsigned char)q[end] << 8 | (unsigned char)q[end + 1];
	int rcode = NXDOMAIN;
	unsigned count = 0;
	uv_buf_t b;

	memcpy(r->data, q, end + 4);
	r->len = end + 4;
	for (size_t i = 0; i < sizeof(records) / sizeof(records[0]); i++) {
		if (strcasecmp(records[i].name, name) != 0)
			continue;
		rcode = records[i].value == NULL ? (int)records[i].preference : 0;
		if (rcode == 0 && (records[i].type == type ||
		                   (records[i].type == RRSIG && (int)records[i].preference == type))) {
			put_record(r, &records[i]);
			count++;
		}
	}
	if (rcode == SILENT) {
		xfree(r);
		return;
	}
	r->data[2] = (char)0x81;
	r->data[3] = (char)(0x80 | rcode);
	r->data[6] = 0;
	r->data[7] = (char)count;
	memset(r->data + 8, 0, 4);
	b = uv_buf_init(r->data, (unsigned)r->len);
	if (uv_udp_send(&r->req, &s->udp, &b, 1, to, sent) != 0)
		xfree(r);
}

static void alloc(uv_handle_t *h, size_t want, uv_buf_t *out)
{
	static char mem[65536];

	*out = uv_buf_init(mem, sizeof(mem));
}

static void received(uv_udp_t *u, ssize_t n, const uv_buf_t *b, const struct sockaddr *from,
                     unsigned flags)
{
	if (n > 16 && from != NULL)
		answer(u->data, from, b->base, (size_t)n);
}

static struct resolver *current;

static void pulse(uv_timer_t *t)
{
	if (current != NULL)
		resolver_tick(current, clock_mono_ms());
}

static int setup(void **state)
{
	struct server *s = xcalloc(1, sizeof(*s));
	struct sockaddr_in sa;
	int len = sizeof(sa);

	assert_int_equal(uv_loop_init(&s->loop), 0);
	uv_ip4_addr("127.0.0.1", 0, &sa);
	uv_udp_init(&s->loop, &s->udp);
	s->udp.data = s;
	assert_int_equal(uv_udp_bind(&s->udp, (struct sockaddr *)&sa, 0), 0);
	uv_udp_getsockname(&s->udp, (struct sockaddr *)&sa, &len);
	s->port = ntohs(sa.sin_port);
	uv_udp_recv_start(&s->udp, alloc, received);
	uv_timer_init(&s->loop, &s->pulse);
	uv_timer_start(&s->pulse, pulse, 20, 20);
	*state = s;
	return 0;
}

static int teardown(void **state)
{
	struct server *s = *state;

	resolver_close(&current);
	uv_close((uv_handle_t *)&s->udp, NULL);
	uv_close((uv_handle_t *)&s->pulse, NULL);
	uv_run(&s->loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&s->loop), 0);
	xfree(s);
	return 0;
}

/* ---- questions */

struct got {
	unsigned calls;
	enum resolve_end end;
	unsigned n, port;
	bool secure;
	char hosts[256]; /* "first.test=127.0.0.11 ..." */
};

static void on_done(void *owner, uint64_t id, const struct resolution *r)
{
	struct got *g = owner;
	size_t at = 0;

	assert_int_equal(id, 77);
	g->calls++;
	g->end = r->end;
	g->n = r->n;
	g->secure = r->secure;
	assert_non_null(r->text);
	for (unsigned i = 0; i < r->n; i++) {
		const struct sockaddr *sa = (const struct sockaddr *)&r->address[i].sa;
		const void *p = sa->sa_family == AF_INET
			? (const void *)&((const struct sockaddr_in *)sa)->sin_addr
			: (const void *)&((const struct sockaddr_in6 *)sa)->sin6_addr;
		char ip[64];

		g->port = ntohs(((const struct sockaddr_in *)sa)->sin_port);
		inet_ntop(sa->sa_family, p, ip, sizeof(ip));
		at += (size_t)snprintf(g->hosts + at, sizeof(g->hosts) - at, "%s%s=%s",
		                       i > 0 ? " " : "", r->address[i].host, ip);
	}
}

static const char *anchor = "";

static void start(struct server *s, bool allow_private, uint64_t wait_ms)
{
	char forwarder[32];
	struct resolve_conf conf = { forwarder, wait_ms, anchor, allow_private };

	snprintf(forwarder, sizeof(forwarder), "127.0.0.1:%u", s->port);
	assert_int_equal(resolver_open(&s->loop, &conf, &current), ERR_OK);
}

static struct got ask(struct server *s, const char *name, bool mx)
{
	struct got g = { 0 };
	uint64_t end = clock_mono_ms() + WAIT_MS;

	resolve(current, &(struct resolve_what){ name, mx, 2525 }, on_done, &g, 77);
	assert_int_equal(g.calls, 0); /* never from inside */
	while (g.calls == 0 && clock_mono_ms() < end)
		uv_run(&s->loop, UV_RUN_ONCE);
	assert_int_equal(g.calls, 1);
	return g;
}

struct row {
	const char *name, *domain;
	bool mx, allow_private;
	enum resolve_end want;
	const char *hosts;
};

static struct row rows[] = {
	{ "hosts in order of preference, A before AAAA", "order.test", true, true, RESOLVE_OK,
	  "first.test=127.0.0.11 first.test=::1 second.test=127.0.0.12 last.test=127.0.0.13" },
	{ "null MX", "null.test", true, true, RESOLVE_NULL_MX, "" },
	{ "no MX, an address: the domain itself", "implicit.test", true, true, RESOLVE_OK,
	  "implicit.test=127.0.0.20" },
	{ "neither MX nor address", "bare.test", true, true, RESOLVE_NO_DOMAIN, "" },
	{ "no such domain", "nosuch.test", true, true, RESOLVE_NO_DOMAIN, "" },
	{ "an MX host that does not exist is no end", "lost.test", true, true, RESOLVE_LATER, "" },
	{ "one MX host of two exists", "half.test", true, true, RESOLVE_OK,
	  "last.test=127.0.0.13" },
	{ "name service broken", "broken.test", true, true, RESOLVE_LATER, "" },
	{ "MX into a private network", "inside.test", true, false, RESOLVE_UNUSABLE, "" },
	{ "MX into a private network, allowed", "inside.test", true, true, RESOLVE_OK,
	  "private.test=10.1.2.3" },
	{ "the public one of two addresses", "outside.test", true, false, RESOLVE_OK,
	  "both.test=9.9.9.9" },
	{ "a host of the configuration, wherever it is", "private.test", false, false, RESOLVE_OK,
	  "private.test=10.1.2.3" },
	{ "a host of the configuration has no MX", "order.test", false, true, RESOLVE_LATER, "" },
};

static struct server *server; /* rows share one */

static void row_gives(void **state)
{
	const struct row *r = *state;
	struct got g;

	start(server, r->allow_private, 10000);
	g = ask(server, r->domain, r->mx);
	assert_int_equal(g.end, r->want);
	assert_string_equal(g.hosts, r->hosts);
	if (g.n > 0)
		assert_int_equal(g.port, 2525);
	resolver_close(&current);
}

static void equals_are_shuffled(void **state)
{
	unsigned first = 0, n;

	start(server, true, 10000);
	for (n = 0; n < 64; n++) {
		struct got g = ask(server, "equal.test", true);

		assert_int_equal(g.n, 3);
		first += strncmp(g.hosts, "first", 5) == 0;
	}
	assert_in_range(first, 1, 63);
	resolver_close(&current);
}

static void silence_ends_at_the_deadline(void **state)
{
	uint64_t before = clock_mono_ms();
	struct got g;

	start(server, true, 300);
	g = ask(server, "silent.test", true);
	assert_int_equal(g.end, RESOLVE_LATER);
	assert_true(clock_mono_ms() - before >= 300);
	resolver_close(&current);
}

static void questions_that_are_open_at_the_end_are_dropped(void **state)
{
	struct got g = { 0 };

	start(server, true, 10000);
	resolve(current, &(struct resolve_what){ "silent.test", true, 25 }, on_done, &g, 77);
	resolve(current, &(struct resolve_what){ "order.test", true, 25 }, on_done, &g, 77);
	resolver_close(&current);
	for (int i = 0; i < 10; i++)
		uv_run(&server->loop, UV_RUN_ONCE);
	assert_int_equal(g.calls, 0);
}

static void a_forwarder_that_cannot_be_read_is_refused(void **state)
{
	struct resolve_conf conf = { "not a place", 1000, "", true };

	assert_int_equal(resolver_open(&server->loop, &conf, &current), ERR_SYNTAX);
}

/* ---- DNSSEC */

static void validation_tells_which_hosts_are_proven(void **state)
{
	static const struct { const char *domain; enum resolve_end end; bool secure; } asks[] = {
		{ "signed.test", RESOLVE_OK, true },
		{ "order.test", RESOLVE_LATER, false },  /* its zone should be signed and is not */
		{ "equal.test", RESOLVE_OK, false },     /* nothing says that it should be */
		{ "implicit.test", RESOLVE_OK, false },
	};

	start(server, true, WAIT_MS);
	assert_false(ask(server, "signed.test", true).secure); /* without an anchor */
	resolver_close(&current);
	anchor = anchor_file;
	start(server, true, WAIT_MS);
	anchor = "";
	for (size_t i = 0; i < ARRAY_LEN(asks); i++) {
		struct got g = ask(server, asks[i].domain, true);

		if (g.end != asks[i].end || g.secure != asks[i].secure)
			fail_msg("%s: end %d, secure %d", asks[i].domain, (int)g.end, g.secure);
	}
	resolver_close(&current);
}

static void an_anchor_that_cannot_be_read_is_refused(void **state)
{
	anchor = "/nonexistent/anchor";
	assert_int_equal(resolver_open(&server->loop, &(struct resolve_conf){
		"", 1000, anchor, true }, &current), ERR_IO);
	anchor = "";
}

static void only_addresses_of_the_internet_are_public(void **state)
{
	static const struct { const char *ip; bool want; } ips[] = {
		{ "9.9.9.9", true }, { "127.0.0.1", false }, { "10.0.0.1", false },
		{ "172.16.0.1", false }, { "172.32.0.1", true }, { "192.168.1.1", false },
		{ "169.254.1.1", false }, { "100.64.0.1", false }, { "0.0.0.0", false },
		{ "224.0.0.1", false }, { "255.255.255.255", false }, { "198.51.100.7", false },
		{ "2600::1", true }, { "::1", false }, { "::", false }, { "fe80::1", false },
		{ "fd00::1", false }, { "ff02::1", false }, { "::ffff:10.0.0.1", false },
		{ "::ffff:9.9.9.9", true }, { "2001:db8::1", false }, { "2002:a00:1::", false },
	};

	for (size_t i = 0; i < sizeof(ips) / sizeof(ips[0]); i++) {
		struct sockaddr_storage ss = { 0 };
		bool v6 = strchr(ips[i].ip, ':') != NULL;

		if (v6)
			uv_ip6_addr(ips[i].ip, 25, (struct sockaddr_in6 *)&ss);
		else
			uv_ip4_addr(ips[i].ip, 25, (struct sockaddr_in *)&ss);
		if (address_is_public((struct sockaddr *)&ss) != ips[i].want)
			fail_msg("%s", ips[i].ip);
	}
}

static int group_setup(void **state)
{
	int fd = mkstemp(anchor_file);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, anchors, sizeof(anchors) - 1), sizeof(anchors) - 1);
	close(fd);
	return setup((void **)&server);
}

static int group_teardown(void **state)
{
	unlink(anchor_file);
	return teardown((void **)&server);
}

int main(void)
{
	struct CMUnitTest tests[ARRAY_LEN(rows) + 7];
	size_t n = ARRAY_LEN(rows);

	for (size_t i = 0; i < n; i++)
		tests[i] = (struct CMUnitTest){ .name = rows[i].name, .test_func = row_gives,
		                                .initial_state = &rows[i] };
	tests[n++] = (struct CMUnitTest)cmocka_unit_test(equals_are_shuffled);
	tests[n++] = (struct CMUnitTest)cmocka_unit_test(silence_ends_at_the_deadline);
	tests[n++] = (struct CMUnitTest)cmocka_unit_test(
		questions_that_are_open_at_the_end_are_dropped);
	tests[n++] = (struct CMUnitTest)cmocka_unit_test(a_forwarder_that_cannot_be_read_is_refused);
	tests[n++] = (struct CMUnitTest)cmocka_unit_test(validation_tells_which_hosts_are_proven);
	tests[n++] = (struct CMUnitTest)cmocka_unit_test(an_anchor_that_cannot_be_read_is_refused);
	tests[n++] = (struct CMUnitTest)cmocka_unit_test(only_addresses_of_the_internet_are_public);
	return cmocka_run_group_tests_name("resolve", tests, group_setup, group_teardown);
}
