/* ingest/sasl.h - AUTH PLAIN and LOGIN, checked against SCRAM-SHA-256 keys; base64
 *
 * Pure.  Only sasl_verify() is slow (some milliseconds, by the credential's
 * iterations): it belongs on a pool thread.  Nothing here logs or keeps a
 * secret; callers wipe a struct sasl_login with sasl_wipe().
 */
#ifndef INGEST_SASL_H
#define INGEST_SASL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "lib/buf.h"
#include "lib/err.h"

#define SASL_LOGIN_MAX    255
#define SASL_PASSWORD_MAX 1023
#define SASL_SALT_MAX     64
#define SASL_SCRAM_MAX    2048 /* one message of a SCRAM exchange */
#define SASL_KEY_LEN      32
#define SASL_ITERATIONS_MAX 1000000 /* bounds the time of one check */

struct sasl_login {
	char   login[SASL_LOGIN_MAX + 1];
	char   password[SASL_PASSWORD_MAX + 1]; /* may not hold NUL */
	size_t password_len;
};

struct sasl_keys {
	uint8_t  salt[SASL_SALT_MAX];
	size_t   salt_len;
	uint32_t iterations;
	uint8_t  stored_key[SASL_KEY_LEN];
	uint8_t  server_key[SASL_KEY_LEN]; /* SCRAM only */
};

/* Base64 of RFC 4648, 4, padded, nothing else in it ("=" is empty).  out has
 * room for max bytes.  ERR_SYNTAX, ERR_TOOBIG. */
enum err sasl_base64(const char *p, size_t n, uint8_t *out, size_t max, size_t *len) MUST_CHECK;

void sasl_base64_add(struct buf *out, const void *p, size_t n);

/* The response of PLAIN (RFC 4616): [authzid] NUL authcid NUL passwd, in base64.
 * ERR_SYNTAX: not that; ERR_PERM: asks to act as somebody else. */
enum err sasl_plain(const char *p, size_t n, struct sasl_login *out) MUST_CHECK;

/* One response of LOGIN. */
enum err sasl_login_user(const char *p, size_t n, struct sasl_login *out) MUST_CHECK;
enum err sasl_login_pass(const char *p, size_t n, struct sasl_login *out) MUST_CHECK;

/* Does the password make the stored key (RFC 5802, 3)?  BLOCKS.  Takes the same
 * time whatever differs. */
bool sasl_verify(const struct sasl_keys *k, const char *password, size_t len);

void sasl_wipe(struct sasl_login *l);

#endif
