/* tests/unit/test_scram.c - exchanges of SCRAM-SHA-256 against libgsasl's client
 *
 * A row is a client, the channel that each side sees, and how the exchange ends.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include <gsasl.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/sha.h>
#include "ingest/scram.h"

#define EXPORTER "0123456789abcdef0123456789abcdef"
#define UNIQUE   "finished-msg"
#define OTHER    "another channel, another binding"

static struct scram_lib *lib;
static Gsasl *gsasl;
static struct sasl_keys keys; /* of "secret" */
static uint8_t client_key[SASL_KEY_LEN];

static void hmac(const void *key, const char *text, uint8_t out[SASL_KEY_LEN])
{
	assert_non_null(HMAC(EVP_sha256(), key, SASL_KEY_LEN, (const uint8_t *)text, strlen(text),
	                     out, NULL));
}

static int group_up(void **state)
{
	uint8_t salted[SASL_KEY_LEN];

	keys = (struct sasl_keys){ .salt = "0123456789", .salt_len = 10, .iterations = 4096 };
	assert_int_equal(PKCS5_PBKDF2_HMAC("secret", 6, keys.salt, 10, 4096, EVP_sha256(),
	                                   sizeof(salted), salted), 1);
	hmac(salted, "Client Key", client_key);
	hmac(salted, "Server Key", keys.server_key);
	SHA256(client_key, sizeof(client_key), keys.stored_key);
	lib = scram_lib_new();
	assert_int_equal(gsasl_init(&gsasl), GSASL_OK);
	return 0;
}

static int group_down(void **state)
{
	scram_lib_free(&lib);
	scram_lib_free(&lib); /* NULL is fine */
	gsasl_done(gsasl);
	return 0;
}

static const struct row {
	const char *name;
	const char *login, *password, *authzid;
	bool plus;                          /* the mechanism, at both ends */
	const char *exporter, *unique;      /* what the client sees; NULL: none */
	const char *our_exporter, *our_unique;
	enum err login_err;
	enum scram_result first, final;
} rows[] = {
	{ "the right password", "user", "secret", NULL, false, NULL, NULL, NULL, NULL, ERR_OK,
	  SCRAM_MORE, SCRAM_PROVED },
	{ "the wrong password", "user", "Secret", NULL, false, NULL, NULL, NULL, NULL, ERR_OK,
	  SCRAM_MORE, SCRAM_NO },
	{ "an empty password", "user", "", NULL, false, NULL, NULL, NULL, NULL, ERR_OK, SCRAM_MORE,
	  SCRAM_NO },
	{ "a login with commas and equals signs", "a,b=c=2C,=", "secret", NULL, false, NULL, NULL,
	  NULL, NULL, ERR_OK, SCRAM_MORE, SCRAM_PROVED },
	{ "a login beyond ASCII", "k\303\244se", "secret", NULL, false, NULL, NULL, NULL, NULL,
	  ERR_OK, SCRAM_MORE, SCRAM_PROVED },
	{ "acting as oneself", "u,ser", "secret", "u,ser", false, NULL, NULL, NULL, NULL, ERR_OK,
	  SCRAM_MORE, SCRAM_PROVED },
	{ "acting as somebody else", "user", "secret", "root", false, NULL, NULL, NULL, NULL,
	  ERR_PERM, SCRAM_NO, SCRAM_NO },
	{ "PLUS, bound by tls-exporter", "user", "secret", NULL, true, EXPORTER, NULL, EXPORTER,
	  UNIQUE, ERR_OK, SCRAM_MORE, SCRAM_PROVED },
	{ "PLUS, bound by tls-unique", "user", "secret", NULL, true, NULL, UNIQUE, EXPORTER, UNIQUE,
	  ERR_OK, SCRAM_MORE, SCRAM_PROVED },
	{ "PLUS with the wrong password", "user", "Secret", NULL, true, EXPORTER, NULL, EXPORTER,
	  UNIQUE, ERR_OK, SCRAM_MORE, SCRAM_NO },
	{ "PLUS over another channel: tls-exporter", "user", "secret", NULL, true, OTHER, NULL,
	  EXPORTER, UNIQUE, ERR_OK, SCRAM_MORE, SCRAM_NO },
	{ "PLUS over another channel: tls-unique", "user", "secret", NULL, true, NULL, OTHER,
	  EXPORTER, UNIQUE, ERR_OK, SCRAM_MORE, SCRAM_NO },
	{ "PLUS where there is no channel", "user", "secret", NULL, true, EXPORTER, NULL, NULL,
	  NULL, ERR_OK, SCRAM_NO, SCRAM_NO },
	{ "PLUS by tls-unique, which TLS 1.3 does not have", "user", "secret", NULL, true, NULL,
	  UNIQUE, EXPORTER, NULL, ERR_OK, SCRAM_NO, SCRAM_NO },
	{ "cannot bind, and need not where it is offered", "user", "secret", NULL, false, NULL,
	  NULL, EXPORTER, UNIQUE, ERR_OK, SCRAM_MORE, SCRAM_PROVED },
};

static void binding_set(Gsasl_session *c, Gsasl_property name, const char *binding)
{
	struct buf text = BUF_INIT;

	if (binding == NULL)
		return;
	sasl_base64_add(&text, binding, strlen(binding));
	assert_int_equal(gsasl_property_set(c, name, buf_str(&text)), GSASL_OK);
	buf_free(&text);
}

static Gsasl_session *client_new(const struct row *r)
{
	Gsasl_session *c;

	assert_int_equal(gsasl_client_start(gsasl, r->plus ? "SCRAM-SHA-256-PLUS" : "SCRAM-SHA-256",
	                                    &c), GSASL_OK);
	assert_int_equal(gsasl_property_set(c, GSASL_AUTHID, r->login), GSASL_OK);
	assert_int_equal(gsasl_property_set(c, GSASL_PASSWORD, r->password), GSASL_OK);
	if (r->authzid != NULL)
		assert_int_equal(gsasl_property_set(c, GSASL_AUTHZID, r->authzid), GSASL_OK);
	binding_set(c, GSASL_CB_TLS_EXPORTER, r->exporter);
	binding_set(c, GSASL_CB_TLS_UNIQUE, r->unique);
	return c;
}

static struct scram *server_new(const struct row *r)
{
	return scram_new(lib, &(struct scram_conf){
		.keys = &keys, .plus = r->plus,
		.exporter = (const uint8_t *)r->our_exporter,
		.exporter_len = r->our_exporter ? strlen(r->our_exporter) : 0,
		.unique = (const uint8_t *)r->our_unique,
		.unique_len = r->our_unique ? strlen(r->our_unique) : 0 });
}

/* The client hears in, what it says goes to the server. */
static enum scram_result turn(Gsasl_session *c, struct scram *s, struct buf *in, struct buf *said)
{
	char *out;
	size_t n;
	enum scram_result r;

	assert_int_equal(gsasl_step(c, buf_str(in), in->len, &out, &n), GSASL_NEEDS_MORE);
	buf_reset(said);
	buf_add(said, out, n);
	buf_reset(in);
	r = scram_step(s, (const uint8_t *)out, n, in);
	gsasl_free(out);
	return r;
}

static void row_ends_so(void **state)
{
	const struct row *r = *state;
	struct buf heard = BUF_INIT, said = BUF_INIT;
	char login[SASL_LOGIN_MAX + 1], *out;
	Gsasl_session *c = client_new(r);
	struct scram *s = server_new(r);
	enum scram_result first = turn(c, s, &heard, &said);
	size_t n;

	assert_int_equal(scram_login((const uint8_t *)said.data, said.len, login), r->login_err);
	if (r->login_err == ERR_OK) {
		assert_string_equal(login, r->login);
		assert_int_equal(first, r->first);
	}
	if (r->login_err == ERR_OK && first == SCRAM_MORE) {
		assert_int_equal(turn(c, s, &heard, &said), r->final);
		if (r->final == SCRAM_PROVED) { /* and the server has proved itself */
			assert_int_equal(gsasl_step(c, buf_str(&heard), heard.len, &out, &n),
			                 GSASL_OK);
			assert_int_equal(n, 0);
			gsasl_free(out);
		} else {
			assert_int_equal(heard.len, 0);
		}
	}
	scram_free(&s);
	scram_free(&s);
	gsasl_finish(c);
	buf_free(&heard);
	buf_free(&said);
}

/* ---- first messages */

static const struct first_row {
	const char *name, *text;
	size_t n;
	enum err err;
	const char *login;
} first_rows[] = {
#define T(s) s, sizeof(s) - 1
	{ "a plain login", T("n,,n=user,r=x"), ERR_OK, "user" },
	{ "a client that could bind", T("y,,n=user,r=x"), ERR_OK, "user" },
	{ "a client that binds", T("p=tls-exporter,,n=user,r=x"), ERR_OK, "user" },
	{ "=2C and =3D", T("n,,n=a=2Cb=3Dc,r=x"), ERR_OK, "a,b=c" },
	{ "=2C at the end", T("n,,n=a=2C,r=x"), ERR_OK, "a," },
	{ "=3D of =3D2C is not read twice", T("n,,n==3D2C,r=x"), ERR_OK, "=2C" },
	{ "an authzid with an escape", T("n,a=a=2Cb,n=a=2Cb,r=x"), ERR_OK, "a,b" },
	{ "an authzid of somebody else", T("n,a=root,n=user,r=x"), ERR_PERM, NULL },
	{ "an authzid that only begins like it", T("n,a=use,n=user,r=x"), ERR_PERM, NULL },
	{ "another escape", T("n,,n=a=41,r=x"), ERR_SYNTAX, NULL },
	{ "an escape in lower case", T("n,,n=a=2cb,r=x"), ERR_SYNTAX, NULL },
	{ "half an escape", T("n,,n=a=2,r=x"), ERR_SYNTAX, NULL },
	{ "an equals sign alone", T("n,,n==,r=x"), ERR_SYNTAX, NULL },
	{ "a broken escape in the authzid", T("n,a=us=er,n=user,r=x"), ERR_SYNTAX, NULL },
	{ "an authzid without its name", T("n,user,n=user,r=x"), ERR_SYNTAX, NULL },
	{ "an empty authzid", T("n,a=,n=user,r=x"), ERR_SYNTAX, NULL },
	{ "an empty login", T("n,,n=,r=x"), ERR_SYNTAX, NULL },
	{ "a NUL in the login", T("n,,n=us\0er,r=x"), ERR_SYNTAX, NULL },
	{ "no nonce", T("n,,n=user"), ERR_SYNTAX, NULL },
	{ "an extension in front", T("n,,m=x,n=user,r=x"), ERR_SYNTAX, NULL },
	{ "no gs2-header", T("n=user,r=x"), ERR_SYNTAX, NULL },
	{ "one comma", T("n,"), ERR_SYNTAX, NULL },
	{ "two commas", T("n,,"), ERR_SYNTAX, NULL },
	{ "nothing", T(""), ERR_SYNTAX, NULL },
};

static void first_row(void **state)
{
	const struct first_row *r = *state;
	char login[SASL_LOGIN_MAX + 1];

	assert_int_equal(scram_login((const uint8_t *)r->text, r->n, login), r->err);
	if (r->err == ERR_OK)
		assert_string_equal(login, r->login);
}

static void the_longest_login_fits_and_one_more_does_not(void **state)
{
	char login[SASL_LOGIN_MAX + 1];

	for (size_t n = SASL_LOGIN_MAX; n <= SASL_LOGIN_MAX + 1; n++) {
		struct buf text = BUF_INIT;

		buf_adds(&text, "n,,n=");
		for (size_t i = 0; i < n; i++)
			buf_adds(&text, "=2C");
		buf_adds(&text, ",r=x");
		assert_int_equal(scram_login((const uint8_t *)text.data, text.len, login),
		                 n == SASL_LOGIN_MAX ? ERR_OK : ERR_SYNTAX);
		buf_free(&text);
	}
	assert_int_equal(strlen(login), SASL_LOGIN_MAX);
}

/* ---- what a client may not do */

/* A client by hand, since libgsasl's does not say "y": the right proof, with the flag. */
static enum scram_result by_hand(const char *flag, const char *exporter)
{
	const struct row r = { .our_exporter = exporter };
	struct buf first = BUF_INIT, heard = BUF_INIT, text = BUF_INIT, final = BUF_INIT;
	struct scram *s = server_new(&r);
	uint8_t proof[SASL_KEY_LEN];
	enum scram_result result;

	buf_addf(&first, "%s,,n=user,r=abc", flag);
	result = scram_step(s, (uint8_t *)first.data, first.len, &heard);
	if (result == SCRAM_MORE) {
		int nonce = (int)(strchr(buf_str(&heard), ',') - heard.data);

		buf_addf(&final, "c=%s,%.*s", flag[0] == 'y' ? "eSws" : "biws", nonce, heard.data);
		buf_addf(&text, "n=user,r=abc,%s,%s", buf_str(&heard), buf_str(&final));
		hmac(keys.stored_key, buf_str(&text), proof);
		for (size_t i = 0; i < SASL_KEY_LEN; i++)
			proof[i] ^= client_key[i];
		buf_adds(&final, ",p=");
		sasl_base64_add(&final, proof, sizeof(proof));
		result = scram_step(s, (uint8_t *)final.data, final.len, &heard);
	}
	scram_free(&s);
	buf_free(&first);
	buf_free(&heard);
	buf_free(&text);
	buf_free(&final);
	return result;
}

/* Somebody on the way has taken the offer of PLUS away (RFC 5802, 6). */
static void who_could_bind_but_saw_no_offer_of_it_is_refused_where_there_is_one(void **state)
{
	assert_int_equal(by_hand("n", NULL), SCRAM_PROVED);
	assert_int_equal(by_hand("y", NULL), SCRAM_PROVED);
	assert_int_equal(by_hand("n", EXPORTER), SCRAM_PROVED);
	assert_int_equal(by_hand("y", EXPORTER), SCRAM_NO);
}

/* Keys that policy made up for a login that it does not know: nobody has their password. */
static void made_up_keys_look_the_same_and_never_fit(void **state)
{
	struct sasl_keys known = keys;
	struct buf heard = BUF_INIT, said = BUF_INIT;
	Gsasl_session *c = client_new(&rows[0]);
	struct scram *s;

	memset(keys.stored_key, 7, SASL_KEY_LEN);
	memset(keys.server_key, 8, SASL_KEY_LEN);
	s = server_new(&rows[0]);
	assert_int_equal(turn(c, s, &heard, &said), SCRAM_MORE);
	assert_non_null(strstr(buf_str(&heard), ",s=MDEyMzQ1Njc4OQ==,i=4096"));
	assert_int_equal(turn(c, s, &heard, &said), SCRAM_NO);
	keys = known;
	scram_free(&s);
	gsasl_finish(c);
	buf_free(&heard);
	buf_free(&said);
}

/* The client's last message once more, as it was recorded. */
static void a_recorded_proof_does_not_fit_a_second_exchange(void **state)
{
	struct buf heard = BUF_INIT, first = BUF_INIT, final = BUF_INIT;
	Gsasl_session *c = client_new(&rows[0]);
	struct scram *s = server_new(&rows[0]);

	assert_int_equal(turn(c, s, &heard, &first), SCRAM_MORE);
	assert_int_equal(turn(c, s, &heard, &final), SCRAM_PROVED);
	scram_free(&s);
	s = server_new(&rows[0]);
	buf_reset(&heard);
	assert_int_equal(scram_step(s, (uint8_t *)first.data, first.len, &heard), SCRAM_MORE);
	buf_reset(&heard);
	assert_int_equal(scram_step(s, (uint8_t *)final.data, final.len, &heard), SCRAM_NO);
	assert_int_equal(heard.len, 0);
	scram_free(&s);
	gsasl_finish(c);
	buf_free(&heard);
	buf_free(&first);
	buf_free(&final);
}

static void what_is_no_scram_is_refused_at_each_step(void **state)
{
	static const char *const no[] = { "", "hello", "c=biws,r=x,p=", "n,,n=user,r=x", "\001" };

	for (size_t i = 0; i < ARRAY_LEN(no); i++) {
		struct buf heard = BUF_INIT, said = BUF_INIT;
		Gsasl_session *c = client_new(&rows[0]);
		struct scram *s = server_new(&rows[0]);

		assert_int_equal(turn(c, s, &heard, &said), SCRAM_MORE);
		buf_reset(&heard);
		assert_int_equal(scram_step(s, (const uint8_t *)no[i], strlen(no[i]), &heard),
		                 SCRAM_NO);
		assert_int_equal(heard.len, 0);
		scram_free(&s);
		gsasl_finish(c);
		buf_free(&heard);
		buf_free(&said);
	}
}

int main(void)
{
	static const struct CMUnitTest cases[] = {
		cmocka_unit_test(the_longest_login_fits_and_one_more_does_not),
		cmocka_unit_test(
			who_could_bind_but_saw_no_offer_of_it_is_refused_where_there_is_one),
		cmocka_unit_test(made_up_keys_look_the_same_and_never_fit),
		cmocka_unit_test(a_recorded_proof_does_not_fit_a_second_exchange),
		cmocka_unit_test(what_is_no_scram_is_refused_at_each_step),
	};
	struct CMUnitTest tests[ARRAY_LEN(rows) + ARRAY_LEN(first_rows) + ARRAY_LEN(cases)];
	size_t n = 0;

	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		tests[n++] = (struct CMUnitTest){ rows[i].name, row_ends_so, NULL, NULL,
		                                  (void *)&rows[i] };
	for (size_t i = 0; i < ARRAY_LEN(first_rows); i++)
		tests[n++] = (struct CMUnitTest){ first_rows[i].name, first_row, NULL, NULL,
		                                  (void *)&first_rows[i] };
	memcpy(tests + n, cases, sizeof(cases));
	return cmocka_run_group_tests_name("scram", tests, group_up, group_down);
}
