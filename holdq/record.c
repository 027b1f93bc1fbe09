/* holdq/record.c - one held mail in memory and as a record; see store.h
 *
 * A record: version, state, time, the packed envelope, and for each sub-part the
 * delivery instance and the positions of its recipients.  What is read
 * is checked against every bound before it is believed.
 */
#include "holdq/store.h"

#include <assert.h>
#include <string.h>
#include "lib/mem.h"

#define RECORD_VERSION 1
#define SUBS_MAX 1024

static const char *const state_names[] = { "gone", "held", "releasing", "report" };

const char *held_state_name(enum held_state s)
{
	assert((size_t)s < ARRAY_LEN(state_names));
	return state_names[s];
}

static void pack_envelope(const Holdfast__Envelope *env, struct buf *out)
{
	size_t len = holdfast__envelope__get_packed_size(env);

	holdfast__envelope__pack(env, (uint8_t *)buf_room(out, len));
	buf_grew(out, len);
}

struct held *held_new(const Holdfast__Envelope *env, enum held_state state, uint64_t held_ms)
{
	struct held *h = xcalloc(1, sizeof(*h));
	struct buf b = BUF_INIT;

	pack_envelope(env, &b);
	h->env = holdfast__envelope__unpack(NULL, b.len, (const uint8_t *)buf_str(&b));
	buf_free(&b);
	assert(h->env != NULL && h->env->message_id.len == UUID_LEN);
	h->env->version = 1;
	h->key = held_key_of(h->env->message_id.data, h->env->part);
	h->state = state;
	h->held_ms = held_ms;
	return h;
}

void held_free(struct held **h)
{
	if (*h == NULL)
		return;
	for (size_t i = 0; i < (*h)->n_sub; i++)
		xfree((*h)->sub[i].at);
	xfree((*h)->sub);
	if ((*h)->env != NULL)
		holdfast__envelope__free_unpacked((*h)->env, NULL);
	xfree(*h);
	*h = NULL;
}

struct held_sub *held_sub_add(struct held *h, const char *instance)
{
	struct held_sub *s;

	assert(strlen(instance) <= HELD_LANE_MAX);
	h->sub = xrealloc(h->sub, (h->n_sub + 1) * sizeof(*h->sub));
	s = &h->sub[h->n_sub++];
	memset(s, 0, sizeof(*s));
	memcpy(s->instance, instance, strlen(instance) + 1);
	return s;
}

void held_encode(const struct held *h, struct buf *out)
{
	buf_addc(out, RECORD_VERSION);
	buf_addc(out, (char)h->state);
	buf_add_u64(out, h->held_ms);
	buf_add_u32(out, (unsigned)holdfast__envelope__get_packed_size(h->env));
	pack_envelope(h->env, out);
	buf_add_u16(out, (unsigned)h->n_sub);
	for (size_t i = 0; i < h->n_sub; i++) {
		const struct held_sub *s = &h->sub[i];

		buf_addc(out, (char)strlen(s->instance));
		buf_adds(out, s->instance);
		buf_add_u32(out, s->n);
		for (uint32_t r = 0; r < s->n; r++)
			buf_add_u32(out, s->at[r]);
	}
}

/* What is left to read; ok turns false at the first read over the end. */
struct reader { const uint8_t *p; size_t len; bool ok; };

static const uint8_t *take(struct reader *r, size_t n)
{
	const uint8_t *p = r->p;

	if (!r->ok || n > r->len) {
		r->ok = false;
		return NULL;
	}
	r->p += n;
	r->len -= n;
	return p;
}

static uint64_t take_be(struct reader *r, unsigned n)
{
	const uint8_t *p = take(r, n);
	uint64_t v = 0;

	for (unsigned i = 0; p != NULL && i < n; i++)
		v = v << 8 | p[i];
	return v;
}

static bool take_sub(struct reader *r, struct held *h)
{
	char name[HELD_LANE_MAX + 1] = "";
	size_t len = take_be(r, 1);
	const uint8_t *p = len <= HELD_LANE_MAX ? take(r, len) : NULL;
	struct held_sub *s;
	uint32_t n;

	if (p == NULL)
		return false;
	memcpy(name, p, len);
	n = (uint32_t)take_be(r, 4);
	if (!r->ok || n == 0 || n > h->env->n_rcpt)
		return false;
	s = held_sub_add(h, name);
	s->at = xcalloc(n, sizeof(*s->at));
	s->n = n;
	for (uint32_t i = 0; i < n; i++) {
		s->at[i] = (uint32_t)take_be(r, 4);
		if (!r->ok || s->at[i] >= h->env->n_rcpt)
			return false;
	}
	return true;
}

static bool take_record(struct reader *r, struct held *h)
{
	const uint8_t *env;
	size_t len, n_sub;

	if (take_be(r, 1) != RECORD_VERSION)
		return false;
	h->state = (enum held_state)take_be(r, 1);
	h->held_ms = take_be(r, 8);
	len = take_be(r, 4);
	env = take(r, len);
	if (env == NULL || h->state < HELD_WAITING || h->state > HELD_REPORT)
		return false;
	h->env = holdfast__envelope__unpack(NULL, len, env);
	if (h->env == NULL || h->env->message_id.len != UUID_LEN || h->env->n_rcpt == 0)
		return false;
	n_sub = take_be(r, 2);
	if (!r->ok || n_sub > SUBS_MAX)
		return false;
	for (size_t i = 0; i < n_sub; i++)
		if (!take_sub(r, h))
			return false;
	return r->len == 0;
}

enum err held_decode(const struct held_key *k, const void *p, size_t len, struct held **out)
{
	struct held *h = xcalloc(1, sizeof(*h));
	struct reader r = { p, len, true };

	h->key = *k;
	if (!take_record(&r, h)) {
		held_free(&h);
		return ERR_CORRUPT;
	}
	*out = h;
	return ERR_OK;
}
