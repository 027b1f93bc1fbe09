/* policy/credential.c - logins and their SCRAM-SHA-256 keys
 *
 * An unknown login gets salt and keys made from a secret of this store, the same
 * each time, so that neither time nor text tells whether a login exists.
 */
#include "policy/policy.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <string.h>
#include <sys/random.h>

enum { LOGIN_MAX = 255, ITERATIONS = 4096, SALT_LEN = 16, KEY_LEN = 32 };

enum err credential_open(struct policy *p)
{
	struct kv_batch *batch;
	struct buf v = BUF_INIT;
	enum err err = kv_get(p->kv, CF_SYS, "secret", 6, &v);

	if (err == ERR_OK && v.len == sizeof(p->secret)) {
		memcpy(p->secret, v.data, sizeof(p->secret));
	} else if (err == ERR_NOENT) {
		if (getrandom(p->secret, sizeof(p->secret), 0) != sizeof(p->secret))
			return ERR_IO;
		batch = kv_batch_new();
		kv_put(batch, CF_SYS, "secret", 6, p->secret, sizeof(p->secret));
		kv_write(p->kv, &batch, NULL, NULL, 0);
		err = ERR_OK;
	} else if (err == ERR_OK) {
		err = ERR_CORRUPT;
	}
	buf_free(&v);
	return err;
}

static void made_up(const struct policy *p, ProtobufCBinaryData login, uint8_t purpose,
                    uint8_t out[KEY_LEN])
{
	struct buf m = BUF_INIT;
	unsigned len = KEY_LEN;

	buf_addc(&m, (char)purpose);
	buf_add(&m, login.data, login.len);
	HMAC(EVP_sha256(), p->secret, sizeof(p->secret), (const uint8_t *)m.data, m.len, out,
	     &len);
	buf_free(&m);
}

static void add_made_up(const struct policy *p, ProtobufCBinaryData login, struct buf *out)
{
	Holdfast__Principal m = HOLDFAST__PRINCIPAL__INIT;
	uint8_t salt[KEY_LEN], stored[KEY_LEN], server[KEY_LEN];
	size_t len;

	made_up(p, login, 0, salt);
	made_up(p, login, 1, stored);
	made_up(p, login, 2, server);
	m.salt = pb_bytes(salt, SALT_LEN);
	m.iterations = ITERATIONS;
	m.stored_key = pb_bytes(stored, KEY_LEN);
	m.server_key = pb_bytes(server, KEY_LEN);
	len = holdfast__principal__get_packed_size(&m);
	holdfast__principal__pack(&m, (uint8_t *)buf_room(out, len));
	buf_grew(out, len);
}

bool credential_find(struct policy *p, ProtobufCBinaryData login, struct buf *out)
{
	if (login.len > 0 && login.len <= LOGIN_MAX &&
	    kv_get(p->kv, CF_CREDENTIAL, login.data, login.len, out) == ERR_OK)
		return true;
	add_made_up(p, login, out);
	return false;
}

static bool principal_good(const Holdfast__Principal *m)
{
	return m != NULL && m->salt.len >= 8 && m->salt.len <= 64 && m->iterations >= 4096 &&
	       m->iterations <= 1000000 && m->stored_key.len == KEY_LEN &&
	       m->server_key.len == KEY_LEN &&
	       account_name_good((const char *)m->account.data, m->account.len);
}

Holdfast__Done__Result credential_put(struct policy *p, const Holdfast__CredentialPut *put,
                                      struct kv_batch *batch, const char **text)
{
	struct buf old = BUF_INIT;
	bool known;

	if (put->login.len == 0 || put->login.len > LOGIN_MAX) {
		*text = "a login is 1 to 255 bytes";
		return HOLDFAST__DONE__RESULT__INVALID;
	}
	if (put->remove) {
		known = kv_get(p->kv, CF_CREDENTIAL, put->login.data, put->login.len, &old) ==
		        ERR_OK;
		buf_free(&old);
		kv_del(batch, CF_CREDENTIAL, put->login.data, put->login.len);
		return known ? HOLDFAST__DONE__RESULT__OK : HOLDFAST__DONE__RESULT__NO_SUCH;
	}
	if (!principal_good(put->principal)) {
		*text = "keys or account name are not sound";
		return HOLDFAST__DONE__RESULT__INVALID;
	}
	store_put_message(batch, CF_CREDENTIAL, put->login.data, put->login.len,
	                  &put->principal->base);
	return HOLDFAST__DONE__RESULT__OK;
}
