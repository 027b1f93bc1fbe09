/* tests/unit/test_session.c - connections: logins, limits, proxies, and clients that dawdle
 *
 * The whole stage with peers that the test plays; time passes only where a deadline is what
 * is tested, and each of these is waited for, never slept through.
 */
#include "tests/unit/ingest_rig.h"

#include <gsasl.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/sha.h>
#include "ingest/auth_in.h"

#define TALK "MAIL FROM:<a@b.test>\r\nRCPT TO:<c@d.test>\r\n"
#define QUEUED "250 2.0.0 Queued as "

static bool auth_at_rest(struct irig *r)
{
	const struct auth *a = ingest_of(&r->st)->auth;

	return a->n_open == 0 && idmap_count(a->exchanges) == 0 && idmap_count(a->jobs) == 0;
}

static bool at_rest(struct irig *r)
{
	struct ingest *in = ingest_of(&r->st);

	return in->n_sessions == 0 && idmap_count(in->txns) == 0 && idmap_count(in->asks) == 0 &&
	       auth_at_rest(r);
}

static uint64_t count(const struct irig *r, enum ingest_metric m)
{
	return metric_value(r->st.metrics, m);
}

/* The client is the only one: it goes, and nothing stays. */
static void part(struct irig *r)
{
	if (r->client != NULL)
		stream_abort(r->client);
	RIG_UNTIL(&r->rig, r->gone && at_rest(r));
}

/* ---- AUTH */

static struct sasl_keys keys; /* of "secret" */

static int keys_make(void **state)
{
	uint8_t salted[SASL_KEY_LEN], client[SASL_KEY_LEN];

	keys = (struct sasl_keys){ .salt = "0123456789", .salt_len = 10, .iterations = 4096 };
	assert_int_equal(PKCS5_PBKDF2_HMAC("secret", 6, keys.salt, 10, 4096, EVP_sha256(),
	                                   sizeof(salted), salted), 1);
	assert_non_null(HMAC(EVP_sha256(), salted, sizeof(salted), (const uint8_t *)"Client Key",
	                     10, client, NULL));
	assert_non_null(HMAC(EVP_sha256(), salted, sizeof(salted), (const uint8_t *)"Server Key",
	                     10, keys.server_key, NULL));
	SHA256(client, sizeof(client), keys.stored_key);
	return 0;
}

static struct irig *submission(void)
{
	struct irig *r = irig_new();

	r->door.role = DOOR_SUBMISSION;
	r->conf.auth_plaintext = PLAINTEXT_ALWAYS;
	r->keys = &keys;
	irig_start(r);
	client_connect(r);
	return r;
}

/* One more line of the client's end of SCRAM, which hears what the last "334 " line said. */
static void scram_say(struct irig *r, Gsasl_session *c, const char *before)
{
	char *at = strstr(buf_str(&r->heard), "334 "), *out = NULL;

	if (at != NULL)
		*strchr(at, '\r') = '\0';
	assert_int_not_equal(gsasl_step64(c, at ? at + 4 : "", &out), GSASL_AUTHENTICATION_ERROR);
	buf_reset(&r->heard);
	client_say(r, before);
	client_say(r, out);
	client_say(r, "\r\n");
	gsasl_free(out);
}

static Gsasl *gsasl;

static Gsasl_session *scram_client(const char *password)
{
	Gsasl_session *c;

	assert_int_equal(gsasl_init(&gsasl), GSASL_OK);
	assert_int_equal(gsasl_client_start(gsasl, "SCRAM-SHA-256", &c), GSASL_OK);
	assert_int_equal(gsasl_property_set(c, GSASL_AUTHID, "user"), GSASL_OK);
	assert_int_equal(gsasl_property_set(c, GSASL_PASSWORD, password), GSASL_OK);
	return c;
}

static void scram_client_free(Gsasl_session *c)
{
	gsasl_finish(c);
	gsasl_done(gsasl);
}

/* Up to where the server's challenge is heard. */
static void scram_begin(struct irig *r, Gsasl_session *c)
{
	client_say(r, "EHLO me\r\n");
	RIG_UNTIL(&r->rig, client_heard(r, "250 ENHANCEDSTATUSCODES\r\n"));
	assert_true(client_heard(r, "250-AUTH PLAIN LOGIN SCRAM-SHA-256\r\n"));
	scram_say(r, c, "AUTH SCRAM-SHA-256 ");
	RIG_UNTIL(&r->rig, client_heard(r, "334 ") && client_heard(r, "\r\n"));
}

static void scram_with_the_right_password_lets_in(void **state)
{
	struct irig *r = submission();
	Gsasl_session *c = scram_client("secret");

	delivery_up(r);
	scram_begin(r, c);
	scram_say(r, c, "");
	RIG_UNTIL(&r->rig, client_heard(r, "334 ") && client_heard(r, "\r\n"));
	scram_say(r, c, ""); /* the server has proved itself: an empty line */
	RIG_UNTIL(&r->rig, client_heard(r, "235 2.7.0"));
	assert_true(auth_at_rest(r));
	client_say(r, TALK "DATA\r\n\r\n.\r\n");
	RIG_UNTIL(&r->rig, client_heard(r, QUEUED));
	assert_int_equal(r->taken[0].frame->handoff->envelope->account.len, strlen("acct"));
	assert_int_equal(count(r, M_AUTH_FAILURES), 0);
	scram_client_free(c);
	part(r);
	irig_close(r);
}

static void scram_with_the_wrong_password_does_not(void **state)
{
	static const enum play logins[] = { PLAY_OK, PLAY_REFUSE };

	for (size_t i = 0; i < ARRAY_LEN(logins); i++) {
		struct irig *r = submission();
		/* whom policy does not know cannot get in by the keys that it made up either */
		Gsasl_session *c = scram_client(logins[i] == PLAY_OK ? "wrong" : "secret");

		r->login = logins[i];
		scram_begin(r, c);
		scram_say(r, c, "");
		if (logins[i] == PLAY_REFUSE) {
			RIG_UNTIL(&r->rig, client_heard(r, "334 ") && client_heard(r, "\r\n"));
			scram_say(r, c, "");
		}
		RIG_UNTIL(&r->rig, client_heard(r, "535 5.7.8 "));
		assert_true(auth_at_rest(r));
		assert_int_equal(count(r, M_AUTH_FAILURES), 1);
		client_say(r, TALK);
		RIG_UNTIL(&r->rig, client_heard(r, "530 5.7.0 Authentication required"));
		scram_client_free(c);
		part(r);
		irig_close(r);
	}
}

static void a_cancelled_scram_can_be_begun_again(void **state)
{
	struct irig *r = submission();
	Gsasl_session *c = scram_client("secret");

	scram_begin(r, c);
	buf_reset(&r->heard);
	client_say(r, "*\r\n");
	RIG_UNTIL(&r->rig, client_heard(r, "501 5.7.0 Authentication cancelled"));
	assert_true(auth_at_rest(r));
	scram_client_free(c);
	c = scram_client("secret");
	scram_begin(r, c);
	scram_say(r, c, "");
	RIG_UNTIL(&r->rig, client_heard(r, "334 ") && client_heard(r, "\r\n"));
	buf_reset(&r->heard);
	client_say(r, "*\r\n"); /* proved, and cancelled all the same: nobody is logged in */
	RIG_UNTIL(&r->rig, client_heard(r, "501 5.7.0 Authentication cancelled"));
	client_say(r, TALK);
	RIG_UNTIL(&r->rig, client_heard(r, "530 5.7.0 "));
	scram_client_free(c);
	part(r);
	irig_close(r);
}

#define FIRST "AUTH SCRAM-SHA-256 biwsbj11c2VyLHI9YWJj\r\n" /* n,,n=user,r=abc */
#define PLAIN "AUTH PLAIN AHVzZXIAc2VjcmV0\r\n"

static void a_client_gone_while_keys_are_asked_leaves_nothing(void **state)
{
	static const char *const says[] = { "EHLO me\r\n" FIRST, "EHLO me\r\n" PLAIN };

	for (size_t i = 0; i < 2 * ARRAY_LEN(says); i++) {
		struct irig *r = submission();

		r->login = PLAY_SILENT;
		client_say(r, says[i / 2]);
		RIG_UNTIL(&r->rig, r->n_login == 1);
		assert_int_equal(ingest_of(&r->st)->auth->n_open, 1);
		if (i % 2 == 0)
			part(r);
		irig_close(r); /* or the stage closes while they are asked */
	}
}

static void silence_about_keys_is_454(void **state)
{
	static const char *const says[] = { "EHLO me\r\n" FIRST, "EHLO me\r\n" PLAIN };

	for (size_t i = 0; i < ARRAY_LEN(says); i++) {
		struct irig *r = submission();

		r->login = PLAY_SILENT;
		client_say(r, says[i]);
		RIG_UNTIL(&r->rig, client_heard(r, "454 4.7.0 "));
		assert_true(auth_at_rest(r));
		assert_int_equal(count(r, M_AUTH_FAILURES), 0); /* not the client's fault */
		part(r);
		irig_close(r);
	}
}

static void more_logins_at_once_than_allowed_are_454(void **state)
{
	struct irig *r = submission();
	struct rig_client other;

	ingest_of(&r->st)->conf.auth_waiting = 1;
	ingest_of(&r->st)->conf.policy_wait = RIG_WAIT_MS;
	r->login = PLAY_SILENT;
	client_say(r, "EHLO me\r\n" FIRST);
	RIG_UNTIL(&r->rig, r->n_login == 1);
	other_connect(r, &other);
	other_say(&other, "EHLO me\r\n" FIRST);
	RIG_UNTIL(&r->rig, other_heard(&other, "454 4.7.0 "));
	assert_int_equal(r->n_login, 1);
	other_close(r, &other);
	irig_close(r);
}

static void after_too_many_failures_nobody_is_asked(void **state)
{
	struct irig *r = submission();

	ingest_of(&r->st)->conf.auth_fail_ip = 2;
	client_say(r, "EHLO me\r\nAUTH PLAIN AHVzZXIAd3Jvbmc=\r\nAUTH PLAIN AHVzZXIAd3Jvbmc=\r\n");
	RIG_UNTIL(&r->rig, count(r, M_AUTH_FAILURES) == 2);
	client_say(r, PLAIN); /* the right one */
	RIG_UNTIL(&r->rig, client_heard(r, "421 4.7.0 Too many failed logins, try again later"));
	assert_int_equal(r->n_login, 2);
	assert_int_equal(count(r, M_AUTH_BLOCKED), 1);
	part(r);
	irig_close(r);
}

/* ---- limits */

/* A limit of one: the next may come once the one before has gone, so nothing stays counted. */
static void an_address_gets_its_place_back(void **state)
{
	struct irig *r = irig_open();
	struct rig_client other;

	ingest_of(&r->st)->limits_conf.ip = 1;
	for (int i = 0; i < 5; i++) {
		client_connect(r);
		RIG_UNTIL(&r->rig, client_heard(r, "220 "));
		other_connect(r, &other);
		RIG_UNTIL(&r->rig, other_heard(&other, "421 4.7.0 Too many connections from your "
		                                       "address\r\n"));
		RIG_UNTIL(&r->rig, other.stream == NULL);
		other_close(r, &other);
		if (i % 2 == 0)
			client_say(r, "QUIT\r\n");
		else
			stream_abort(r->client);
		RIG_UNTIL(&r->rig, r->gone && at_rest(r));
	}
	assert_int_equal(count(r, M_SESSIONS_REFUSED), 5);
	irig_close(r);
}

static void an_account_gets_its_place_back(void **state)
{
	struct irig *r = irig_open();
	struct rig_client other;

	ingest_of(&r->st)->limits_conf.account = 1;
	for (int i = 0; i < 3; i++) {
		client_connect(r);
		client_say(r, "EHLO me\r\nMAIL FROM:<a@b.test>\r\n");
		RIG_UNTIL(&r->rig, client_heard(r, "250 2.1.0"));
		other_connect(r, &other);
		other_say(&other, "EHLO me\r\nMAIL FROM:<a@b.test>\r\n");
		RIG_UNTIL(&r->rig, other_heard(&other, "421 4.7.0 Too many connections of this "
		                                       "account\r\n"));
		RIG_UNTIL(&r->rig, other.stream == NULL);
		other_close(r, &other);
		part(r);
	}
	irig_close(r);
}

static void an_account_gets_its_place_back_after_auth(void **state)
{
	struct irig *r = submission();
	struct rig_client other;

	ingest_of(&r->st)->limits_conf.account = 1;
	for (int i = 0; i < 2; i++) {
		if (i > 0)
			client_connect(r);
		client_say(r, "EHLO me\r\n" PLAIN);
		RIG_UNTIL(&r->rig, client_heard(r, "235 "));
		other_connect(r, &other);
		other_say(&other, "EHLO me\r\n" PLAIN);
		RIG_UNTIL(&r->rig, other_heard(&other, "421 4.7.0 Too many connections of this "
		                                       "account\r\n"));
		RIG_UNTIL(&r->rig, other.stream == NULL);
		other_close(r, &other);
		part(r);
	}
	irig_close(r);
}

/* ---- PROXY */

static struct irig *proxied(const char *networks)
{
	static char *item[1];
	struct irig *r = irig_new();

	item[0] = (char *)networks;
	r->door.proxy = true;
	r->conf.proxy_networks = (struct conf_list){ item, 1 };
	irig_start(r);
	delivery_up(r);
	client_connect(r);
	return r;
}

#define HEADER "PROXY TCP4 192.0.2.77 127.0.0.1 40000 25\r\n"

/* Split at each octet, with commands right behind it; nothing is said before it is whole. */
static void a_proxy_header_may_come_in_pieces(void **state)
{
	static const char all[] = HEADER "EHLO me\r\n" TALK "DATA\r\nA: b\r\n\r\n.\r\nQUIT\r\n";
	struct irig *r = proxied("127.0.0.0/8");
	const Holdfast__Envelope *e;

	for (const char *p = all; *p != '\0'; p++) {
		stream_write(r->client, p, 1);
		uv_run(&r->rig.loop, UV_RUN_NOWAIT);
		if (p < all + strlen(HEADER) - 1)
			assert_int_equal(r->heard.len, 0);
	}
	RIG_UNTIL(&r->rig, client_heard(r, "221 2.0.0"));
	RIG_UNTIL(&r->rig, r->gone && at_rest(r));
	assert_int_equal(r->n_taken, 1);
	e = r->taken[0].frame->handoff->envelope;
	assert_int_equal(e->client_ip.len, strlen("192.0.2.77"));
	assert_memory_equal(e->client_ip.data, "192.0.2.77", e->client_ip.len);
	assert_non_null(strstr(r->taken[0].body, "([192.0.2.77])"));
	irig_close(r);
}

static void a_proxy_header_and_all_behind_it_may_come_at_once(void **state)
{
	struct irig *r = proxied("127.0.0.1");

	client_say(r, HEADER "EHLO me\r\n" TALK "DATA\r\nA: b\r\n\r\n.\r\nQUIT\r\n");
	RIG_UNTIL(&r->rig, client_heard(r, "221 2.0.0"));
	RIG_UNTIL(&r->rig, r->gone && at_rest(r));
	assert_int_equal(r->n_taken, 1);
	irig_close(r);
}

/* Not a word to who is no proxy, or speaks like none. */
static void what_is_no_proxy_header_ends_it(void **state)
{
	static const struct { const char *networks, *said; } no[] = {
		{ "127.0.0.1", "EHLO me\r\n" },
		{ "127.0.0.1", "PROXY TCP4 1.2.3.4 127.0.0.1 99999 25\r\n" },
		{ "127.0.0.1", "\r\n\r\nQUIT\r\n" },
		{ "127.0.0.2", HEADER }, /* not listed */
	};

	for (size_t i = 0; i < ARRAY_LEN(no); i++) {
		struct irig *r = proxied(no[i].networks);

		if (r->client != NULL)
			client_say(r, no[i].said);
		RIG_UNTIL(&r->rig, r->gone && at_rest(r));
		assert_int_equal(r->heard.len, 0);
		assert_int_equal(count(r, M_SESSIONS_REFUSED), 1);
		irig_close(r);
	}
}

static void the_limit_is_that_of_the_client_behind_the_proxy(void **state)
{
	struct irig *r = proxied("127.0.0.1");
	struct rig_client other;

	ingest_of(&r->st)->limits_conf.ip = 1;
	client_say(r, HEADER);
	RIG_UNTIL(&r->rig, client_heard(r, "220 "));
	other_connect(r, &other);
	other_say(&other, HEADER);
	RIG_UNTIL(&r->rig, other_heard(&other, "421 4.7.0 Too many connections from your address"));
	other_close(r, &other);
	other_connect(r, &other);
	other_say(&other, "PROXY TCP4 192.0.2.78 127.0.0.1 40000 25\r\n");
	RIG_UNTIL(&r->rig, other_heard(&other, "220 "));
	other_close(r, &other);
	part(r);
	irig_close(r);
}

/* ---- clients that dawdle */

/* Say text again and again, a little pause between, until the client is gone or ms have passed. */
static void trickle(struct irig *r, const char *text, uint64_t ms)
{
	uint64_t began = clock_mono_ms(), next = began;

	while (!r->gone && clock_mono_ms() - began < ms) {
		if (r->client != NULL && clock_mono_ms() >= next) {
			client_say(r, text);
			next = clock_mono_ms() + 10;
		}
		uv_run(&r->rig.loop, UV_RUN_ONCE);
	}
}

static void octets_of_a_command_do_not_move_its_deadline(void **state)
{
	struct irig *r = irig_open();

	ingest_of(&r->st)->conf.command_timeout = 200;
	client_connect(r);
	trickle(r, "N", RIG_WAIT_MS);
	assert_true(r->gone && client_heard(r, "421 4.4.2"));
	assert_int_equal(count(r, M_COMMAND_TIMEOUTS), 1);
	RIG_UNTIL(&r->rig, at_rest(r));
	irig_close(r);
}

static void whole_commands_move_the_deadline(void **state)
{
	struct irig *r = irig_open();

	ingest_of(&r->st)->conf.command_timeout = 400;
	client_connect(r);
	trickle(r, "NOOP\r\n", 1200);
	assert_false(r->gone || client_heard(r, "421 "));
	part(r);
	irig_close(r);
}

/* Each is refused without counting as an error, and brings no message nearer. */
static void commands_that_lead_nowhere_end_the_session(void **state)
{
	static const struct { const char *first, *again; int n; enum play mail, rcpt; } says[] = {
		{ "EHLO me\r\n", "NOOP\r\n", 20, PLAY_OK, PLAY_OK },
		{ "EHLO me\r\n", "MAIL FROM:<a@b.test>\r\n", 21, PLAY_REFUSE, PLAY_OK },
		{ "EHLO me\r\n" TALK, "DATA\r\n", 21, PLAY_OK, PLAY_REFUSE },
		{ "EHLO me\r\n" TALK, "BDAT 2 LAST\r\n\r\n", 21, PLAY_OK, PLAY_REFUSE },
		{ "EHLO me\r\n" TALK, "RCPT TO:<e@f.test>\r\n", 100, PLAY_OK, PLAY_OK },
	};

	for (size_t i = 0; i < ARRAY_LEN(says); i++) {
		struct irig *r = irig_open();

		r->mail = says[i].mail;
		r->rcpt = says[i].rcpt;
		ingest_of(&r->st)->smtp.max_commands = 20;
		ingest_of(&r->st)->smtp.max_rcpt = 10;
		client_connect(r);
		client_say(r, says[i].first);
		RIG_UNTIL(&r->rig, r->n_rcpt == (strstr(says[i].first, "RCPT") != NULL));
		for (int n = 0; n < says[i].n; n++)
			client_say(r, says[i].again);
		RIG_UNTIL(&r->rig, client_heard(r, "421 4.7.0 Too many commands without a message"));
		RIG_UNTIL(&r->rig, r->gone && at_rest(r));
		irig_close(r);
	}
}

static void a_message_that_trickles_ends_at_the_total(void **state)
{
	static const char *const says[] = {
		"EHLO me\r\n" TALK "DATA\r\n\r\n", "EHLO me\r\n" TALK "BDAT 90000\r\n\r\n",
	};

	for (size_t i = 0; i < ARRAY_LEN(says); i++) {
		struct irig *r = irig_open();

		ingest_of(&r->st)->conf.data_total_timeout = 300;
		client_connect(r);
		client_say(r, says[i]);
		RIG_UNTIL(&r->rig, client_heard(r, "250 2.1.5"));
		trickle(r, "x\r\n", RIG_WAIT_MS);
		assert_true(r->gone && client_heard(r, "421 4.4.2"));
		RIG_UNTIL(&r->rig, at_rest(r));
		assert_int_equal(r->n_taken, 0);
		assert_int_equal(ingest_of(&r->st)->memory, 0);
		irig_close(r);
	}
}

static void octets_of_a_message_move_its_deadline(void **state)
{
	struct irig *r = irig_open();

	delivery_up(r);
	ingest_of(&r->st)->conf.data_timeout = 400;
	client_connect(r);
	client_say(r, "EHLO me\r\n" TALK "DATA\r\n\r\n");
	RIG_UNTIL(&r->rig, client_heard(r, "354 "));
	trickle(r, "x\r\n", 1200);
	client_say(r, ".\r\n");
	RIG_UNTIL(&r->rig, client_heard(r, QUEUED));
	part(r);
	irig_close(r);
}

/* ---- turns, when memory is short */

/* A message begins to come in, and no more of it comes. */
static void stall(struct irig *r, struct rig_client *c)
{
	other_connect(r, c);
	other_say(c, "EHLO me\r\n" TALK "DATA\r\n");
	RIG_UNTIL(&r->rig, other_heard(c, "354 "));
}

static void who_stalls_is_passed_by_and_given_up_at_last(void **state)
{
	struct irig *r = irig_open();
	struct ingest *in = ingest_of(&r->st);
	struct rig_client a, b, c;
	struct buf text = BUF_INIT;
	int ticks = 0;

	delivery_up(r);
	stall(r, &a);
	stall(r, &b);
	stall(r, &c);
	in->conf.memory_bytes = 1;
	ingest_memory(in, 1000);
	buf_adds(&text, "\r\n");
	for (int i = 0; i < 1000; i++)
		buf_adds(&text, "0123456789012345678901234567890\r\n");
	buf_adds(&text, ".\r\n");
	stream_write(c.stream, text.data, text.len);
	/* a tick judges who had the turn: it takes one to begin, one each for a and for b */
	for (; ticks < 3; ticks++)
		sessions_turn(in);
	RIG_UNTIL(&r->rig, other_heard(&c, QUEUED));
	assert_false(other_heard(&a, "451 ") || other_heard(&b, "451 "));
	for (; ticks < 100 && (a.stream != NULL || b.stream != NULL); ticks++) {
		sessions_turn(in);
		for (int i = 0; i < 3; i++)
			uv_run(&r->rig.loop, UV_RUN_ONCE);
	}
	assert_true(other_heard(&a, "451 4.3.1 Memory is short and the message stalls, try again "
	                            "later\r\n"));
	assert_true(other_heard(&b, "451 4.3.1 Memory is short and the message stalls, try again "
	                            "later\r\n"));
	assert_int_equal(count(r, M_STALLED), 2);
	assert_int_equal(in->memory, 1000);
	assert_true(TAILQ_FIRST(&in->receiving) == NULL);
	assert_int_equal(r->n_taken, 1);
	buf_free(&text);
	other_close(r, &a);
	other_close(r, &b);
	other_close(r, &c);
	irig_close(r);
}

/* With enough memory nobody is judged, however slow. */
static void nobody_is_judged_while_there_is_memory(void **state)
{
	struct irig *r = irig_open();
	struct rig_client a;

	delivery_up(r);
	stall(r, &a);
	for (int i = 0; i < 50; i++)
		sessions_turn(ingest_of(&r->st));
	other_say(&a, "\r\n.\r\n");
	RIG_UNTIL(&r->rig, other_heard(&a, QUEUED));
	assert_int_equal(count(r, M_STALLED), 0);
	other_close(r, &a);
	irig_close(r);
}

/* Who brings what a turn must bring keeps it. */
static void who_brings_bytes_keeps_the_turn(void **state)
{
	struct irig *r = irig_open();
	struct ingest *in = ingest_of(&r->st);
	struct rig_client a, b;
	char line[1200];

	delivery_up(r);
	stall(r, &a);
	stall(r, &b);
	in->conf.memory_bytes = 1;
	ingest_memory(in, 1000);
	memset(line, 'x', sizeof(line));
	other_say(&a, "\r\n");
	for (size_t i = 100; i < sizeof(line); i += 100)
		memcpy(line + i, "\r\n", 2);
	sessions_turn(in);
	for (int i = 0; i < 30; i++) {
		uint64_t before = in->memory;

		stream_write(a.stream, line, sizeof(line));
		RIG_UNTIL(&r->rig, in->memory >= before + sizeof(line));
		sessions_turn(in);
	}
	other_say(&a, "\r\n.\r\n");
	RIG_UNTIL(&r->rig, other_heard(&a, QUEUED));
	assert_int_equal(count(r, M_STALLED), 0);
	assert_false(other_heard(&b, "451 "));
	other_close(r, &a);
	other_close(r, &b);
	irig_close(r);
}

/* Just enough to keep the turn, and others wait: not for ever. */
static void who_keeps_the_turn_too_long_is_given_up(void **state)
{
	struct irig *r = irig_open();
	struct ingest *in = ingest_of(&r->st);
	struct rig_client a, b;
	char line[1200];
	int ticks = 0;

	in->smtp.max_size = 1 << 20;
	delivery_up(r);
	stall(r, &a);
	stall(r, &b);
	in->conf.memory_bytes = 1;
	ingest_memory(in, 1000);
	memset(line, 'x', sizeof(line));
	other_say(&a, "\r\n");
	other_say(&b, "\r\nshort\r\n.\r\n");
	for (size_t i = 100; i < sizeof(line); i += 100)
		memcpy(line + i, "\r\n", 2);
	for (; ticks < 200 && a.stream != NULL && !other_heard(&a, "451 "); ticks++) {
		uint64_t before = in->memory;

		stream_write(a.stream, line, sizeof(line));
		RIG_UNTIL(&r->rig, in->memory >= before + sizeof(line));
		sessions_turn(in);
		if (in->memory < before)
			RIG_UNTIL(&r->rig, other_heard(&a, "451 4.3.1 Memory is short"));
	}
	assert_in_range(ticks, 50, 150);
	RIG_UNTIL(&r->rig, other_heard(&b, QUEUED));
	assert_int_equal(count(r, M_STALLED), 1);
	other_close(r, &a);
	other_close(r, &b);
	irig_close(r);
}

#define CASE(f) { .name = #f, .test_func = f }

int main(void)
{
	static const struct CMUnitTest tests[] = {
		CASE(scram_with_the_right_password_lets_in),
		CASE(scram_with_the_wrong_password_does_not),
		CASE(a_cancelled_scram_can_be_begun_again),
		CASE(a_client_gone_while_keys_are_asked_leaves_nothing),
		CASE(silence_about_keys_is_454), CASE(more_logins_at_once_than_allowed_are_454),
		CASE(after_too_many_failures_nobody_is_asked), CASE(an_address_gets_its_place_back),
		CASE(an_account_gets_its_place_back), CASE(an_account_gets_its_place_back_after_auth),
		CASE(a_proxy_header_may_come_in_pieces),
		CASE(a_proxy_header_and_all_behind_it_may_come_at_once),
		CASE(what_is_no_proxy_header_ends_it),
		CASE(the_limit_is_that_of_the_client_behind_the_proxy),
		CASE(octets_of_a_command_do_not_move_its_deadline),
		CASE(whole_commands_move_the_deadline),
		CASE(commands_that_lead_nowhere_end_the_session),
		CASE(a_message_that_trickles_ends_at_the_total),
		CASE(octets_of_a_message_move_its_deadline),
		CASE(who_stalls_is_passed_by_and_given_up_at_last),
		CASE(nobody_is_judged_while_there_is_memory), CASE(who_brings_bytes_keeps_the_turn),
		CASE(who_keeps_the_turn_too_long_is_given_up),
	};

	return cmocka_run_group_tests_name("session", tests, keys_make, NULL);
}
