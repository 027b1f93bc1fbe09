/* ingest/sasl.c - AUTH PLAIN and LOGIN: decoding, and the maths of SCRAM keys
 *
 * Owns no state.  What can go wrong is the peer's fault and comes back as an
 * error; a failure of OpenSSL counts as a wrong password.
 */
#include "ingest/sasl.h"

#include <string.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/sha.h>

static int base64_value(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	if (c == '+')
		return 62;
	return c == '/' ? 63 : -1;
}

enum err sasl_base64(const char *p, size_t n, uint8_t *out, size_t max, size_t *len)
{
	size_t pad = 0, at = 0;
	uint32_t acc = 0;

	if (n == 1 && p[0] == '=')
		n = 0;
	if (n % 4 != 0)
		return ERR_SYNTAX;
	while (pad < 2 && pad < n && p[n - 1 - pad] == '=')
		pad++;
	if (n / 4 * 3 - pad > max)
		return ERR_TOOBIG;
	for (size_t i = 0; i < n; i++) {
		int v = i >= n - pad ? 0 : base64_value(p[i]);

		if (v < 0)
			return ERR_SYNTAX;
		acc = acc << 6 | (uint32_t)v;
		if (i % 4 != 3)
			continue;
		for (int shift = 16; shift >= 0 && at < n / 4 * 3 - pad; shift -= 8)
			out[at++] = (uint8_t)(acc >> shift);
		acc = 0;
	}
	*len = at;
	return ERR_OK;
}

void sasl_base64_add(struct buf *out, const void *p, size_t n)
{
	char *to = buf_room(out, (n + 2) / 3 * 4 + 1);

	buf_grew(out, (size_t)EVP_EncodeBlock((unsigned char *)to, p, (int)n));
}

/* Copy text of 1 to max bytes without NUL (min 0: may be empty). */
static enum err take_text(const uint8_t *p, size_t n, char *out, size_t max)
{
	if (n == 0 || n > max || memchr(p, 0, n) != NULL)
		return ERR_SYNTAX;
	memcpy(out, p, n);
	out[n] = '\0';
	return ERR_OK;
}

static enum err take_password(const uint8_t *p, size_t n, struct sasl_login *out)
{
	enum err err = take_text(p, n, out->password, SASL_PASSWORD_MAX);

	if (err == ERR_OK)
		out->password_len = n;
	return err;
}

static enum err plain_split(const uint8_t *raw, size_t len, struct sasl_login *out)
{
	const uint8_t *end = raw + len;
	const uint8_t *user = memchr(raw, 0, len);
	const uint8_t *pass = user ? memchr(user + 1, 0, (size_t)(end - user - 1)) : NULL;
	size_t authz, n;

	if (pass == NULL)
		return ERR_SYNTAX;
	authz = (size_t)(user - raw);
	user++;
	n = (size_t)(pass - user);
	pass++;
	if (take_text(user, n, out->login, SASL_LOGIN_MAX) != ERR_OK)
		return ERR_SYNTAX;
	if (authz != 0 && (authz != n || memcmp(raw, user, n) != 0))
		return ERR_PERM;
	return take_password(pass, (size_t)(end - pass), out);
}

enum err sasl_plain(const char *p, size_t n, struct sasl_login *out)
{
	uint8_t raw[2 * SASL_LOGIN_MAX + SASL_PASSWORD_MAX + 2];
	size_t len;
	enum err err = sasl_base64(p, n, raw, sizeof(raw), &len);

	if (err == ERR_OK)
		err = plain_split(raw, len, out);
	OPENSSL_cleanse(raw, sizeof(raw));
	return err == ERR_TOOBIG ? ERR_SYNTAX : err;
}

enum err sasl_login_user(const char *p, size_t n, struct sasl_login *out)
{
	uint8_t raw[SASL_LOGIN_MAX];
	size_t len;

	if (sasl_base64(p, n, raw, sizeof(raw), &len) != ERR_OK)
		return ERR_SYNTAX;
	return take_text(raw, len, out->login, SASL_LOGIN_MAX);
}

enum err sasl_login_pass(const char *p, size_t n, struct sasl_login *out)
{
	uint8_t raw[SASL_PASSWORD_MAX];
	size_t len;
	enum err err = sasl_base64(p, n, raw, sizeof(raw), &len);

	if (err == ERR_OK)
		err = take_password(raw, len, out);
	OPENSSL_cleanse(raw, sizeof(raw));
	return err == ERR_OK ? ERR_OK : ERR_SYNTAX;
}

bool sasl_verify(const struct sasl_keys *k, const char *password, size_t len)
{
	uint8_t salted[SASL_KEY_LEN], client[SASL_KEY_LEN], stored[SASL_KEY_LEN];
	static const char name[] = "Client Key";
	bool same = false;

	if (k->iterations == 0 || k->iterations > SASL_ITERATIONS_MAX)
		return false;
	if (PKCS5_PBKDF2_HMAC(password, (int)len, k->salt, (int)k->salt_len, (int)k->iterations,
	                      EVP_sha256(), sizeof(salted), salted) == 1 &&
	    HMAC(EVP_sha256(), salted, sizeof(salted), (const uint8_t *)name, sizeof(name) - 1,
	         client, NULL) != NULL &&
	    SHA256(client, sizeof(client), stored) != NULL)
		same = CRYPTO_memcmp(stored, k->stored_key, SASL_KEY_LEN) == 0;
	OPENSSL_cleanse(salted, sizeof(salted));
	OPENSSL_cleanse(client, sizeof(client));
	return same;
}

void sasl_wipe(struct sasl_login *l)
{
	OPENSSL_cleanse(l, sizeof(*l));
}
