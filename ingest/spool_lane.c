/* ingest/spool_lane.c - hands spooled parts over, lane by lane
 *
 * A part leaves the store when its Custody came, and the message's bytes with the last
 * of its parts.  Any failure sends the lane back to its oldest part after
 * spool_retry.  A record that cannot be read is taken out of its lane and stays
 * where it is, named in the log.  So does a part that its receiver finds malformed, or does not
 * understand: the lane goes on behind it, and comes to it again when a link comes up.
 */
#include "ingest/spool_in.h"

#include <string.h>
#include "lib/clock.h"
#include "lib/mem.h"

static void lane_rewind(struct lane *l)
{
	l->cursor_len = store_lane_prefix(&l->dest, l->cursor);
	l->drained = false;
}

static void lane_back_off(struct spool *sp, struct lane *l)
{
	lane_rewind(l);
	l->not_before_ms = sp->now_ms + sp->in->conf.spool_retry;
}

void flight_free(struct spool *sp, struct flight *f)
{
	TAILQ_REMOVE(&sp->flights, f, all);
	idmap_remove(sp->ids, f->id);
	sp->flight_bytes -= f->bytes;
	f->lane->n_flight--;
	xfree(f);
}

static bool in_flight(struct spool *sp, const struct store_id *id)
{
	struct flight *f;

	TAILQ_FOREACH(f, &sp->flights, all)
		if (f->part.part == id->part &&
		    memcmp(&f->part.message, &id->message, sizeof(id->message)) == 0)
			return true;
	return false;
}

/* Has the message parts in the store that are not being deleted? */
static bool others_left(struct spool *sp, const struct flight *me)
{
	uint8_t from[STORE_PART_KEY], to[STORE_PART_KEY];
	struct kv_iter *it;
	struct store_id id;
	bool left = false;

	store_part_key(&(struct store_id){ me->part.message, 0 }, from);
	store_part_key(&(struct store_id){ me->part.message, UINT32_MAX }, to);
	it = kv_iter_new(sp->in->stage->kv, CF_PART, from, sizeof(from), to, sizeof(to));
	while (!left && kv_iter_next(it)) {
		size_t len;
		const void *k = kv_iter_key(it, &len);
		struct flight *f;

		if (store_part_key_parse(k, len, &id) != ERR_OK)
			continue;
		left = true;
		TAILQ_FOREACH(f, &sp->flights, all)
			if (f->removed && f->part.part == id.part &&
			    memcmp(&f->part.message, &id.message, sizeof(id.message)) == 0)
				left = false;
	}
	return kv_iter_free(&it) != ERR_OK || left;
}

static void on_removed(enum err err, void *owner, uint64_t id)
{
	struct ingest *in = ingest_of(owner);
	struct spool *sp = in ? in->spool : NULL;
	struct flight *f = sp ? idmap_get(sp->ids, id) : NULL;

	if (f == NULL || err != ERR_OK)
		return; /* the store has failed: the stage ends */
	sp->stats.parts--;
	sp->stats.recipients -= f->recipients;
	if (f->body_removed)
		sp->stats.bytes -= f->bytes;
	flight_free(sp, f);
	spool_run(sp, clock_mono_ms());
}

static void part_remove(struct spool *sp, struct flight *f)
{
	struct kv_batch *b = kv_batch_new();
	uint8_t key[STORE_LANE_KEY];

	f->removed = true;
	f->body_removed = !others_left(sp, f);
	store_part_key(&f->part, key);
	kv_del(b, CF_PART, key, STORE_PART_KEY);
	kv_del(b, CF_LANE, key, store_lane_key(&f->lane->dest, &f->part, key));
	if (f->body_removed)
		kv_del(b, CF_BODY, f->part.message.b, UUID_LEN);
	kv_write(sp->in->stage->kv, &b, on_removed, sp->in->stage, f->id);
}

static void on_custody(enum err err, const Holdfast__Frame *frame, struct blob *body, void *owner,
                       uint64_t id)
{
	struct ingest *in = ingest_of(owner);
	struct spool *sp = in ? in->spool : NULL;
	struct flight *f = sp ? idmap_get(sp->ids, id) : NULL;

	if (f == NULL)
		return;
	sp->now_ms = clock_mono_ms();
	if (err == ERR_OK && frame->body_case == HOLDFAST__FRAME__BODY_CUSTODY) {
		log_info("spool-handed-over", LOGID(&f->part.message), LOGU("part", f->part.part),
		         LOGS("to", f->lane->dest.name));
		part_remove(sp, f);
		return;
	}
	if (err == ERR_PROTO) {
		log_error("spool-refused", LOGID(&f->part.message), LOGU("part", f->part.part),
		          LOGS("by", f->lane->dest.name));
		metric_add(in->stage->metrics, M_QUARANTINED, 1);
		flight_free(sp, f);
		spool_run(sp, sp->now_ms);
		return;
	}
	lane_back_off(sp, f->lane);
	flight_free(sp, f);
}

/* The instance of a lane by its name; one that left the configuration is replaced
 * by the owner of the same mail today. */
static unsigned lane_instance(struct ingest *in, const struct lane *l,
                              const Holdfast__Envelope *env)
{
	struct bus *bus = in->stage->bus;
	unsigned n = bus_instances(bus, l->dest.stage);
	ProtobufCBinaryData key = env->account;

	for (unsigned i = 0; i < n; i++)
		if (strcmp(bus_instance_name(bus, l->dest.stage, i), l->dest.name) == 0)
			return i;
	if (l->dest.stage == HOLDFAST__ROLE__ROLE_DELIVERY) {
		const uint8_t *at;

		key = env->rcpt[0]->address;
		at = memrchr(key.data, '@', key.len);
		if (at != NULL)
			key = pb_bytes(at + 1, key.len - (size_t)(at + 1 - key.data));
	}
	return bus_shard(bus, l->dest.stage, key.data, key.len);
}

/* Take a part that cannot be read out of its lane. */
static void quarantine(struct spool *sp, struct lane *l, const struct store_id *id)
{
	struct kv_batch *b = kv_batch_new();
	uint8_t key[STORE_LANE_KEY];

	log_error("spool-quarantined", LOGID(&id->message), LOGU("part", id->part));
	metric_add(sp->in->stage->metrics, M_QUARANTINED, 1);
	kv_del(b, CF_LANE, key, store_lane_key(&l->dest, id, key));
	kv_write_lazy(sp->in->stage->kv, &b);
}

static enum err flight_ask(struct spool *sp, struct lane *l, const struct store_id *id,
                           Holdfast__Envelope *env, struct blob *body)
{
	struct stage *st = sp->in->stage;
	struct bus_to to = { l->dest.stage, lane_instance(sp->in, l, env) };
	Holdfast__Frame frame = HOLDFAST__FRAME__INIT;
	Holdfast__Handoff h = HOLDFAST__HANDOFF__INIT;
	struct flight *f;
	enum err err;

	if (!bus_link_up(st->bus, to.stage, to.instance))
		return ERR_LINK;
	f = xcalloc(1, sizeof(*f));
	f->lane = l;
	f->part = *id;
	f->bytes = body->len;
	f->recipients = env->n_rcpt;
	f->id = idmap_add(sp->ids, f);
	TAILQ_INSERT_TAIL(&sp->flights, f, all);
	l->n_flight++;
	sp->flight_bytes += f->bytes;
	h.envelope = env;
	frame.body_case = HOLDFAST__FRAME__BODY_HANDOFF;
	frame.handoff = &h;
	err = bus_ask(st->bus, to, &frame, body, (uint32_t)(5 * sp->in->conf.handoff_wait),
	              on_custody, st, f->id);
	if (err != ERR_OK)
		flight_free(sp, f);
	return err;
}

/* Read a part and hand it over.  ERR_CORRUPT: it was quarantined, go on.  ERR_TOOBIG: the bus takes
 * no such message (any more), go on; it stays where it is. */
static enum err part_give(struct spool *sp, struct lane *l, const struct store_id *id)
{
	struct kv *kv = sp->in->stage->kv;
	struct buf rec = BUF_INIT, bytes = BUF_INIT;
	Holdfast__Envelope *env = NULL;
	struct store_dest dest;
	struct blob *body = NULL;
	uint8_t key[STORE_PART_KEY];
	enum err err;

	store_part_key(id, key);
	err = kv_get(kv, CF_PART, key, sizeof(key), &rec);
	if (err != ERR_OK)
		goto out; /* ERR_NOENT: its deletion overtook this walk */
	err = store_record_parse(rec.data, rec.len, &dest, &env);
	if (err == ERR_OK)
		err = kv_get(kv, CF_BODY, id->message.b, UUID_LEN, &bytes);
	if (err == ERR_NOENT)
		err = ERR_CORRUPT;
	if (err == ERR_CORRUPT)
		quarantine(sp, l, id);
	if (err != ERR_OK)
		goto out;
	body = blob_take(&bytes);
	err = flight_ask(sp, l, id, env, body);
	if (err == ERR_TOOBIG)
		log_error("spool-too-large", LOGID(&id->message), LOGU("bytes", body->len),
		          LOGS("why", "bus_body_size and bus_frame_size do not let it pass"));
out:
	blob_unref(&body);
	if (env != NULL)
		holdfast__envelope__free_unpacked(env, NULL);
	buf_free(&bytes);
	buf_free(&rec);
	return err;
}

/* The next part of the lane at or behind its cursor that is not on its way. */
static bool lane_next(struct spool *sp, struct lane *l, struct store_id *out)
{
	uint8_t prefix[STORE_LANE_KEY], end[STORE_LANE_KEY];
	size_t plen = store_lane_prefix(&l->dest, prefix);
	struct store_dest dest;
	struct kv_iter *it;
	bool found = false;

	store_after(prefix, plen, end);
	it = kv_iter_new(sp->in->stage->kv, CF_LANE, l->cursor, l->cursor_len, end, plen);
	while (!found && kv_iter_next(it)) {
		size_t len;
		const void *k = kv_iter_key(it, &len);

		found = store_lane_key_parse(k, len, &dest, out) == ERR_OK &&
		        !in_flight(sp, out);
		if (len < sizeof(l->cursor)) { /* the next walk begins behind this key */
			memcpy(l->cursor, k, len);
			l->cursor[len] = 0;
			l->cursor_len = len + 1;
		}
	}
	return kv_iter_free(&it) == ERR_OK && found;
}

static void lane_run(struct spool *sp, struct lane *l)
{
	uint64_t window = sp->in->conf.spool_window;
	struct store_id id;

	while (!l->drained && sp->now_ms >= l->not_before_ms && l->n_flight < window &&
	       (sp->flight_bytes == 0 || sp->flight_bytes < SPOOL_FLIGHT_BYTES)) {
		enum err err;

		if (!lane_next(sp, l, &id)) {
			l->drained = true;
			return;
		}
		err = part_give(sp, l, &id);
		if (err != ERR_OK && err != ERR_CORRUPT && err != ERR_NOENT && err != ERR_TOOBIG) {
			lane_back_off(sp, l);
			return;
		}
	}
}

void spool_run(struct spool *sp, uint64_t now_ms)
{
	struct lane *l;

	sp->now_ms = now_ms;
	if (sp->stats.parts == 0 || sp->in->draining)
		return;
	TAILQ_FOREACH(l, &sp->lanes, all)
		lane_run(sp, l);
}

void spool_wake(struct spool *sp)
{
	struct lane *l;

	TAILQ_FOREACH(l, &sp->lanes, all) {
		lane_rewind(l);
		l->not_before_ms = 0;
	}
}
