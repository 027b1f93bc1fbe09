/* policy/source.c - networks that may send for an account without AUTH
 *
 * All in memory, in a hash by (network, prefix); a look-up tries the prefixes that
 * occur, the longest first.  Every instance of policy has them all.
 */
#include "policy/policy.h"

#include <string.h>
#include "lib/mem.h"
#include "lib/net.h"

enum { KEY_LEN = 18, BITS_MAX = 128 };

struct source {
	uint8_t key[KEY_LEN]; /* length of the address, its masked bytes, prefix */
	char account[ACCOUNT_NAME_MAX + 1];
	UT_hash_handle hh;
};

struct sources {
	struct source *all;
	unsigned n;
	unsigned prefix[2][BITS_MAX + 1]; /* how many of each length: [0] IPv4, [1] IPv6 */
};

static void make_key(uint8_t key[KEY_LEN], const uint8_t *ip, size_t len, unsigned prefix)
{
	memset(key, 0, KEY_LEN);
	key[0] = (uint8_t)len;
	memcpy(key + 1, ip, len);
	net_mask(key + 1, len, prefix);
	key[KEY_LEN - 1] = (uint8_t)prefix;
}

static struct source *find_exact(const struct policy *p, const uint8_t key[KEY_LEN])
{
	struct source *s;

	HASH_FIND(hh, p->sources->all, key, KEY_LEN, s);
	return s;
}

static void add(struct policy *p, const uint8_t key[KEY_LEN], ProtobufCBinaryData account)
{
	struct source *s = find_exact(p, key);

	if (s == NULL) {
		s = xcalloc(1, sizeof(*s));
		memcpy(s->key, key, KEY_LEN);
		HASH_ADD(hh, p->sources->all, key, KEY_LEN, s);
		p->sources->n++;
		p->sources->prefix[key[0] == 16][key[KEY_LEN - 1]]++;
	}
	memset(s->account, 0, sizeof(s->account));
	memcpy(s->account, account.data, account.len);
}

static void drop(struct policy *p, struct source *s)
{
	HASH_DEL(p->sources->all, s);
	p->sources->n--;
	p->sources->prefix[s->key[0] == 16][s->key[KEY_LEN - 1]]--;
	xfree(s);
}

const char *sources_find(const struct policy *p, const uint8_t *ip, size_t len)
{
	const struct source *s;
	uint8_t key[KEY_LEN];

	if (len != 4 && len != 16)
		return NULL;
	for (int bits = (int)len * 8; bits >= 0; bits--) {
		if (p->sources->prefix[len == 16][bits] == 0)
			continue;
		make_key(key, ip, len, (unsigned)bits);
		s = find_exact(p, key);
		if (s != NULL)
			return s->account;
	}
	return NULL;
}

Holdfast__Done__Result sources_put(struct policy *p, const Holdfast__SourcePut *put,
                                   struct kv_batch *batch, const char **text)
{
	uint8_t key[KEY_LEN];
	struct source *s;

	*text = "no good network or account name";
	if ((put->ip.len != 4 && put->ip.len != 16) || put->prefix > put->ip.len * 8 ||
	    !account_name_good((const char *)put->account.data, put->account.len))
		return HOLDFAST__DONE__RESULT__INVALID;
	make_key(key, put->ip.data, put->ip.len, put->prefix);
	s = find_exact(p, key);
	*text = "";
	if (put->remove) {
		if (s == NULL || !pb_is(put->account, s->account))
			return HOLDFAST__DONE__RESULT__NO_SUCH;
		kv_del(batch, CF_SOURCE, key, KEY_LEN);
		drop(p, s);
		return HOLDFAST__DONE__RESULT__OK;
	}
	if (s != NULL && !pb_is(put->account, s->account)) {
		*text = "that network belongs to another account";
		return HOLDFAST__DONE__RESULT__EXISTS;
	}
	if (s == NULL && p->sources->n >= p->conf.sources_max) {
		*text = "sources_max is reached";
		return HOLDFAST__DONE__RESULT__INVALID;
	}
	kv_put(batch, CF_SOURCE, key, KEY_LEN, put->account.data, put->account.len);
	add(p, key, put->account);
	return HOLDFAST__DONE__RESULT__OK;
}

enum err sources_load(struct policy *p)
{
	struct kv_iter *it;

	p->sources = xcalloc(1, sizeof(*p->sources));
	it = kv_iter_new(p->kv, CF_SOURCE, "", 0, NULL, 0);
	while (kv_iter_next(it)) {
		size_t klen, vlen;
		const uint8_t *key = kv_iter_key(it, &klen);
		const void *value = kv_iter_value(it, &vlen);

		if (klen == KEY_LEN && vlen <= ACCOUNT_NAME_MAX && key[KEY_LEN - 1] <= BITS_MAX)
			add(p, key, pb_bytes(value, vlen));
	}
	return kv_iter_free(&it);
}

void sources_free(struct policy *p)
{
	struct source *s, *next;

	if (p->sources == NULL)
		return;
	HASH_ITER(hh, p->sources->all, s, next)
		drop(p, s);
	xfree(p->sources);
	p->sources = NULL;
}
