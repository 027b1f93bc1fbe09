/* ingest/store.c - builds and parses the spool's keys and records
 *
 * A record that does not parse is ERR_CORRUPT; the caller quarantines it.
 */
#include "ingest/store.h"

#include <assert.h>
#include <string.h>

void store_part_key(const struct store_id *id, uint8_t out[STORE_PART_KEY])
{
	memcpy(out, id->message.b, UUID_LEN);
	for (int i = 0; i < 4; i++)
		out[UUID_LEN + i] = (uint8_t)(id->part >> (24 - 8 * i));
}

enum err store_part_key_parse(const void *p, size_t n, struct store_id *out)
{
	const uint8_t *b = p;

	if (n != STORE_PART_KEY)
		return ERR_CORRUPT;
	memcpy(out->message.b, b, UUID_LEN);
	b += UUID_LEN;
	out->part = (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
	return ERR_OK;
}

size_t store_lane_prefix(const struct store_dest *d, uint8_t out[STORE_LANE_KEY])
{
	size_t len = strlen(d->name);

	assert(len <= STORE_NAME_MAX);
	out[0] = (uint8_t)d->stage;
	out[1] = (uint8_t)len;
	memcpy(out + 2, d->name, len);
	return 2 + len;
}

size_t store_lane_key(const struct store_dest *d, const struct store_id *id,
                      uint8_t out[STORE_LANE_KEY])
{
	size_t len = store_lane_prefix(d, out);

	store_part_key(id, out + len);
	return len + STORE_PART_KEY;
}

static enum err dest_parse(const uint8_t *b, size_t n, struct store_dest *d, size_t *used)
{
	if (n < 2 || b[1] > STORE_NAME_MAX || n < 2u + b[1] ||
	    (b[0] != HOLDFAST__ROLE__ROLE_HOLDQ && b[0] != HOLDFAST__ROLE__ROLE_DELIVERY))
		return ERR_CORRUPT;
	d->stage = (Holdfast__Role)b[0];
	memcpy(d->name, b + 2, b[1]);
	d->name[b[1]] = '\0';
	*used = 2u + b[1];
	return ERR_OK;
}

enum err store_lane_key_parse(const void *p, size_t n, struct store_dest *d, struct store_id *id)
{
	struct store_dest got;
	struct store_id part;
	size_t used;

	if (dest_parse(p, n, &got, &used) != ERR_OK ||
	    store_part_key_parse((const uint8_t *)p + used, n - used, &part) != ERR_OK)
		return ERR_CORRUPT;
	*d = got;
	*id = part;
	return ERR_OK;
}

void store_after(const uint8_t *p, size_t n, uint8_t *out)
{
	assert(n > 0 && p[0] != 0xff);
	memcpy(out, p, n);
	while (++out[--n] == 0)
		continue;
}

void store_record_add(struct buf *out, const struct store_dest *d, const Holdfast__Envelope *env)
{
	uint8_t key[STORE_LANE_KEY];
	size_t len = holdfast__envelope__get_packed_size(env);

	buf_addc(out, STORE_VERSION);
	buf_add(out, key, store_lane_prefix(d, key));
	holdfast__envelope__pack(env, (uint8_t *)buf_room(out, len));
	buf_grew(out, len);
}

enum err store_record_parse(const void *p, size_t n, struct store_dest *d, Holdfast__Envelope **env)
{
	const uint8_t *b = p;
	struct store_dest got;
	Holdfast__Envelope *e;
	size_t used;

	if (n < 1 || b[0] != STORE_VERSION || dest_parse(b + 1, n - 1, &got, &used) != ERR_OK)
		return ERR_CORRUPT;
	e = holdfast__envelope__unpack(NULL, n - 1 - used, b + 1 + used);
	if (e == NULL)
		return ERR_CORRUPT;
	if (e->message_id.len != UUID_LEN || e->n_rcpt == 0) {
		holdfast__envelope__free_unpacked(e, NULL);
		return ERR_CORRUPT;
	}
	*d = got;
	*env = e;
	return ERR_OK;
}
