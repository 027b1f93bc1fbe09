/* tests/fuzz/fuzz_auth.c - what clients say in AUTH: base64, PLAIN, LOGIN, SCRAM
 *
 * The first byte picks what the rest is.  An exchange of SCRAM runs against fixed keys; what the
 * fuzzer cannot know beforehand it names by single octets of its final message (fill()).  Whether
 * a proof was the right one is worked out here, from RFC 5802 alone.
 */
#include <assert.h>
#include <stdint.h>
#include <string.h>
#include <gsasl.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/sha.h>
#include "ingest/sasl.h"
#include "ingest/scram.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define EXPORTER "exporter-octets-of-this-channel!"
#define UNIQUE   "unique-bytes"

enum { PLUS = 1, HAS_EXPORTER = 2, HAS_UNIQUE = 4 };

static struct sasl_keys keys, others; /* of "secret" and of "another" */
static uint8_t client_key[2][SASL_KEY_LEN];
static struct scram_lib *lib;
static Gsasl *gsasl;

static void hmac(const void *key, const void *p, size_t n, uint8_t out[SASL_KEY_LEN])
{
	assert(HMAC(EVP_sha256(), key, SASL_KEY_LEN, p, n, out, NULL) != NULL);
}

static void keys_make(struct sasl_keys *k, const char *password, uint8_t client[SASL_KEY_LEN])
{
	uint8_t salted[SASL_KEY_LEN];

	*k = (struct sasl_keys){ .salt = "salt", .salt_len = 4, .iterations = 1 };
	assert(PKCS5_PBKDF2_HMAC(password, (int)strlen(password), k->salt, 4, 1, EVP_sha256(),
	                         SASL_KEY_LEN, salted) == 1);
	hmac(salted, "Client Key", 10, client);
	hmac(salted, "Server Key", 10, k->server_key);
	SHA256(client, SASL_KEY_LEN, k->stored_key);
}

static void once(void)
{
	if (lib != NULL)
		return;
	keys_make(&keys, "secret", client_key[0]);
	keys_make(&others, "another", client_key[1]);
	lib = scram_lib_new();
	assert(gsasl_init(&gsasl) == GSASL_OK);
}

/* ---- base64, PLAIN and LOGIN */

static void check_base64(const char *p, size_t n)
{
	uint8_t raw[256], again[256];
	size_t len = 0, again_len = 0;
	struct buf text = BUF_INIT;
	enum err err = sasl_base64(p, n, raw, sizeof(raw), &len);

	assert(err == ERR_OK || err == ERR_SYNTAX || err == ERR_TOOBIG);
	if (err == ERR_OK && !(n == 1 && *p == '=')) {
		assert(len <= n / 4 * 3 && len + 2 >= n / 4 * 3);
		sasl_base64_add(&text, raw, len);
		assert(text.len == n && sasl_base64(text.data, text.len, again, sizeof(again),
		                                    &again_len) == ERR_OK);
		assert(again_len == len && memcmp(raw, again, len) == 0);
		/* one way to write it, but for the bits that pad the last octet */
		assert(n < 4 || memcmp(text.data, p, n - 4) == 0);
	}
	buf_reset(&text);
	sasl_base64_add(&text, p, n);
	err = sasl_base64(text.data, text.len, raw, sizeof(raw), &len);
	assert(err == (n <= sizeof(raw) ? ERR_OK : ERR_TOOBIG));
	assert(err != ERR_OK || (len == n && memcmp(raw, p, n) == 0));
	buf_free(&text);
}

static void check_login(const struct sasl_login *l)
{
	assert(l->login[0] != '\0' && strlen(l->login) <= SASL_LOGIN_MAX);
}

static void check_password(const struct sasl_login *l)
{
	assert(l->password_len > 0 && strlen(l->password) == l->password_len);
}

/* p raw: what PLAIN makes of it must be its parts. */
static void check_plain(const char *p, size_t n)
{
	struct sasl_login l = { 0 };
	struct buf text = BUF_INIT;
	size_t authz = strnlen(p, n), name, want;
	enum err err;

	sasl_base64_add(&text, p, n);
	err = sasl_plain(text.data, text.len, &l);
	assert(err == ERR_OK || err == ERR_SYNTAX || err == ERR_PERM);
	if (err == ERR_OK) {
		check_login(&l);
		check_password(&l);
		name = strlen(l.login);
		want = authz + 1 + name + 1 + l.password_len;
		assert(want == n && memcmp(p + authz + 1, l.login, name + 1) == 0);
		assert(memcmp(p + authz + 1 + name + 1, l.password, l.password_len) == 0);
		assert(authz == 0 || (authz == name && memcmp(p, l.login, name) == 0));
	}
	buf_free(&text);
}

static void check_lines(const char *p, size_t n)
{
	struct sasl_login l = { 0 };

	if (sasl_plain(p, n, &l) == ERR_OK) {
		check_login(&l);
		check_password(&l);
	}
	if (sasl_login_user(p, n, &l) == ERR_OK)
		check_login(&l);
	if (sasl_login_pass(p, n, &l) == ERR_OK)
		check_password(&l);
}

/* ---- SCRAM */

struct talk {
	unsigned door;                /* PLUS, HAS_... */
	const char *first; size_t first_n;
	struct buf server;            /* the server's first message */
	struct buf final;             /* the client's, filled in */
};

static const char *field(const char *p, size_t n, const char *name, size_t *len)
{
	const char *at = memmem(p, n, name, strlen(name)), *comma;

	if (at == NULL)
		return NULL;
	at += strlen(name);
	comma = memchr(at, ',', (size_t)(p + n - at));
	*len = (size_t)((comma ? comma : p + n) - at);
	return at;
}

/* The first message without its gs2-header: what the proof is about; and that header's length. */
static const char *bare(const struct talk *t, size_t *n)
{
	const char *comma = memchr(t->first, ',', t->first_n);
	const char *end = t->first + t->first_n;

	comma = comma ? memchr(comma + 1, ',', (size_t)(end - comma - 1)) : NULL;
	assert(comma != NULL);
	*n = (size_t)(end - comma - 1);
	return comma + 1;
}

static void signature(const struct talk *t, const char *final, size_t n,
                      const struct sasl_keys *k, uint8_t out[SASL_KEY_LEN])
{
	struct buf text = BUF_INIT;
	size_t bare_n;
	const char *b = bare(t, &bare_n);

	buf_add(&text, b, bare_n);
	buf_addc(&text, ',');
	buf_add(&text, t->server.data, t->server.len);
	buf_addc(&text, ',');
	buf_add(&text, final, n);
	hmac(k->stored_key, text.data, text.len, out);
	buf_free(&text);
}

static void proof_add(struct talk *t, const struct sasl_keys *k, const uint8_t *client)
{
	uint8_t proof[SASL_KEY_LEN];
	const char *p = memmem(buf_str(&t->final), t->final.len, ",p=", 3);

	signature(t, t->final.data, p ? (size_t)(p - t->final.data) : t->final.len, k, proof);
	for (size_t i = 0; i < SASL_KEY_LEN; i++)
		proof[i] ^= client[i];
	sasl_base64_add(&t->final, proof, sizeof(proof));
}

/* The binding that a right client sends: base64(gs2-header, channel). */
static void binding_make(const struct talk *t, bool unique, struct buf *out)
{
	struct buf raw = BUF_INIT;
	size_t bare_n;
	const char *b = bare(t, &bare_n);

	buf_add(&raw, t->first, (size_t)(b - t->first));
	if (*t->first == 'p')
		buf_adds(&raw, unique ? UNIQUE : EXPORTER);
	sasl_base64_add(out, raw.data, raw.len);
	buf_free(&raw);
}

static bool names_unique(const struct talk *t)
{
	return t->first_n >= 13 && memcmp(t->first, "p=tls-unique,", 13) == 0;
}

static void fill(struct talk *t, const uint8_t *p, size_t n)
{
	size_t len = 0;
	const char *nonce = field(buf_str(&t->server), t->server.len, "r=", &len);

	for (size_t i = 0; i < n; i++) {
		switch (p[i]) {
		case 1:
			buf_add(&t->final, nonce, len);
			break;
		case 2:
			proof_add(t, &keys, client_key[0]);
			break;
		case 3:
			proof_add(t, &others, client_key[1]);
			break;
		case 4:
			binding_make(t, names_unique(t), &t->final);
			break;
		default:
			buf_addc(&t->final, (char)p[i]);
		}
	}
}

/* The server is satisfied: was the proof right, for this exchange and on this channel? */
static void check_proved(const struct talk *t)
{
	const char *f = t->final.data, *p = memmem(f, t->final.len, ",p=", 3), *b, *nonce;
	uint8_t proof[SASL_KEY_LEN], stored[SASL_KEY_LEN], made[SASL_KEY_LEN];
	struct buf binding = BUF_INIT;
	size_t n = 0, nonce_n = 0;

	assert(p != NULL);
	assert(sasl_base64(p + 3, t->final.len - (size_t)(p + 3 - f), proof, sizeof(proof),
	                   &n) == ERR_OK && n == SASL_KEY_LEN);
	signature(t, f, (size_t)(p - f), &keys, made);
	for (size_t i = 0; i < SASL_KEY_LEN; i++)
		made[i] ^= proof[i];
	SHA256(made, sizeof(made), stored);
	assert(memcmp(stored, keys.stored_key, SASL_KEY_LEN) == 0);

	nonce = field(t->server.data, t->server.len, "r=", &nonce_n);
	assert((b = field(f, t->final.len, ",r=", &n)) != NULL);
	assert(n == nonce_n && memcmp(b, nonce, n) == 0);

	assert(memcmp(f, "c=", 2) == 0 && (b = field(f, t->final.len, "c=", &n)) != NULL);
	binding_make(t, names_unique(t), &binding);
	assert(binding.len == n && memcmp(b, binding.data, n) == 0);
	buf_free(&binding);
	assert((*t->first == 'p') == ((t->door & PLUS) != 0));
	assert(*t->first != 'y' || !(t->door & (HAS_EXPORTER | HAS_UNIQUE)));
	assert(*t->first != 'p' || (t->door & (names_unique(t) ? HAS_UNIQUE : HAS_EXPORTER)));
}

/* What libgsasl takes for the login is what we asked policy about.  That it takes more (it leaves
 * an "=" alone that begins no escape) matters not: we ask nobody then. */
static void check_name(const struct talk *t, const char *login)
{
	Gsasl_session *s = NULL;
	char *out = NULL;
	size_t n = 0;
	bool p = t->first_n > 0 && *t->first == 'p';

	assert(gsasl_server_start(gsasl, p ? "SCRAM-SHA-256-PLUS" : "SCRAM-SHA-256",
	                          &s) == GSASL_OK);
	assert(gsasl_property_set(s, GSASL_SCRAM_ITER, "1") == GSASL_OK);
	assert(gsasl_property_set(s, GSASL_SCRAM_SALT, "c2FsdA==") == GSASL_OK);
	assert(gsasl_property_set(s, GSASL_CB_TLS_EXPORTER, "eA==") == GSASL_OK);
	assert(gsasl_property_set(s, GSASL_CB_TLS_UNIQUE, "eA==") == GSASL_OK);
	if (gsasl_step(s, t->first, t->first_n, &out, &n) == GSASL_NEEDS_MORE) {
		const char *id = gsasl_property_fast(s, GSASL_AUTHID);
		const char *zid = gsasl_property_fast(s, GSASL_AUTHZID);

		assert(strcmp(login, id) == 0 && (zid == NULL || strcmp(zid, id) == 0));
	}
	gsasl_free(out);
	gsasl_finish(s);
}

static void exchange(unsigned door, const uint8_t *p, size_t n)
{
	size_t first_n = n > 0 && p[0] < n ? p[0] : 0;
	struct talk t = { .door = door, .first = (const char *)p + 1, .first_n = first_n };
	struct buf last = BUF_INIT;
	char login[SASL_LOGIN_MAX + 1];
	struct scram *s;
	enum err err;

	if (first_n == 0)
		return;
	err = scram_login(p + 1, first_n, login);
	if (err != ERR_OK)
		return;
	check_name(&t, login);
	s = scram_new(lib, &(struct scram_conf){
		.keys = &keys, .plus = (door & PLUS) != 0,
		.exporter = (const uint8_t *)EXPORTER,
		.exporter_len = door & HAS_EXPORTER ? strlen(EXPORTER) : 0,
		.unique = (const uint8_t *)UNIQUE,
		.unique_len = door & HAS_UNIQUE ? strlen(UNIQUE) : 0 });
	if (scram_step(s, p + 1, first_n, &t.server) == SCRAM_MORE) {
		fill(&t, p + 1 + first_n, n - 1 - first_n);
		if (scram_step(s, (const uint8_t *)buf_str(&t.final), t.final.len,
		               &last) == SCRAM_PROVED)
			check_proved(&t);
	}
	scram_free(&s);
	buf_free(&t.server);
	buf_free(&t.final);
	buf_free(&last);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *p = (const char *)data + 1;

	once();
	if (size < 1)
		return 0;
	size--;
	switch (data[0] % 16) {
	case 8:
		check_base64(p, size);
		break;
	case 9:
		check_plain(p, size);
		break;
	case 10:
		check_lines(p, size);
		break;
	default:
		exchange(data[0] % 8, data + 1, size);
	}
	return 0;
}
