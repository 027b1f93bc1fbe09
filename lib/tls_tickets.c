/* lib/tls_tickets.c - a ring of two ticket keys
 *
 * Knows no OpenSSL object but the random bytes and the wiping; lib/tls.c does the
 * sealing.  What fails here costs a client a resumption and nothing else.
 */
#include "lib/tls_tickets.h"

#include <assert.h>
#include <openssl/crypto.h>
#include <openssl/rand.h>
#include <string.h>
#include "lib/mem.h"

struct tickets {
	unsigned refs;
	struct ticket_key now, before;
};

struct tickets *tickets_new(void)
{
	struct tickets *t = xcalloc(1, sizeof(*t));

	t->refs = 1;
	return t;
}

struct tickets *tickets_ref(struct tickets *t)
{
	t->refs++;
	return t;
}

void tickets_unref(struct tickets **t)
{
	if (*t == NULL)
		return;
	assert((*t)->refs > 0);
	if (--(*t)->refs == 0) {
		OPENSSL_cleanse(*t, sizeof(**t));
		xfree(*t);
	}
	*t = NULL;
}

static bool may_open(const struct ticket_key *k, uint64_t now)
{
	return k->made != 0 && now < k->made + KEY_USE_MS + TICKET_LIFE_MS;
}

static bool may_seal(const struct ticket_key *k, uint64_t now)
{
	return k->made != 0 && now < k->made + KEY_USE_MS;
}

static bool key_make(struct ticket_key *k, uint64_t now)
{
	k->made = now == 0 ? 1 : now;
	return RAND_bytes(k->name, sizeof(k->name)) == 1 &&
	       RAND_priv_bytes(k->cipher, sizeof(k->cipher)) == 1 &&
	       RAND_priv_bytes(k->mac, sizeof(k->mac)) == 1;
}

enum err tickets_seal(struct tickets *t, uint64_t now, const struct ticket_key **out)
{
	struct ticket_key fresh;

	if (!may_seal(&t->now, now)) {
		if (!key_make(&fresh, now))
			return ERR_IO;
		t->before = t->now;
		t->now = fresh;
		OPENSSL_cleanse(&fresh, sizeof(fresh));
	}
	*out = &t->now;
	return ERR_OK;
}

const struct ticket_key *tickets_open(const struct tickets *t,
                                      const uint8_t name[TICKET_NAME_BYTES], uint64_t now,
                                      bool *renew)
{
	const struct ticket_key *keys[] = { &t->now, &t->before };

	for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
		if (!may_open(keys[i], now) || memcmp(keys[i]->name, name, TICKET_NAME_BYTES) != 0)
			continue;
		*renew = !may_seal(keys[i], now);
		return keys[i];
	}
	return NULL;
}
