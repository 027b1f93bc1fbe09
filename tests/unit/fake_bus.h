/* tests/unit/fake_bus.h - the bus as a stage sees it, without sockets
 *
 * Stands in for proto/bus*.c in the program that includes it (once): questions and answers are
 * kept for the test to look at and to answer.  One policy instance, two of delivery:
 * domains that begin with 'z' belong to the second.
 */
#ifndef TESTS_UNIT_FAKE_BUS_H
#define TESTS_UNIT_FAKE_BUS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include "lib/mem.h"
#include "proto/bus.h"

#define FAKE_MAX 512

struct fake_ask {
	struct bus_to to;
	Holdfast__Frame *frame; /* NULL: answered */
	struct blob *body;
	bus_answer_fn *done;
	void *owner;
	uint64_t id;
};

struct fake_answer {
	uint64_t call;
	Holdfast__Frame *frame; /* NULL: refused */
	Holdfast__Refused__Why why;
	struct blob *body;
};

static struct fake {
	struct fake_ask ask[FAKE_MAX];
	struct fake_answer answer[FAKE_MAX];
	size_t n_ask, n_answer;
	bool full, link_down;
	bool self; /* this process is every policy instance that is asked for */
} fake;

static inline Holdfast__Frame *fake_copy(const Holdfast__Frame *f)
{
	size_t len = holdfast__frame__get_packed_size(f);
	uint8_t *p = xmalloc(len + 1);
	Holdfast__Frame *copy;

	assert_true(len <= 64 * 1024);
	holdfast__frame__pack(f, p);
	copy = holdfast__frame__unpack(NULL, len, p);
	assert_non_null(copy);
	xfree(p);
	return copy;
}

enum err bus_ask(struct bus *bus, struct bus_to to, Holdfast__Frame *frame, struct blob *body,
                 uint32_t wait_ms, bus_answer_fn *done, void *owner, uint64_t id)
{
	struct fake_ask *a = &fake.ask[fake.n_ask];

	assert_true(wait_ms > 0 && fake.n_ask < FAKE_MAX);
	if (fake.full)
		return ERR_FULL;
	*a = (struct fake_ask){ to, fake_copy(frame), body == NULL ? NULL : blob_ref(body), done,
	                        owner, id };
	fake.n_ask++;
	return ERR_OK;
}

void bus_answer(struct bus *bus, const struct bus_from *from, Holdfast__Frame *frame,
                struct blob *body)
{
	assert_true(fake.n_answer < FAKE_MAX);
	fake.answer[fake.n_answer++] = (struct fake_answer){
		from->call, fake_copy(frame), 0, body == NULL ? NULL : blob_ref(body) };
}

void bus_refuse(struct bus *bus, const struct bus_from *from, Holdfast__Refused__Why why,
                const char *text)
{
	assert_true(fake.n_answer < FAKE_MAX);
	fake.answer[fake.n_answer++] = (struct fake_answer){ from->call, NULL, why, NULL };
}

void bus_done(struct bus *bus, const struct bus_from *from, Holdfast__Done__Result result,
              const char *text)
{
	Holdfast__Done done = HOLDFAST__DONE__INIT;
	Holdfast__Frame frame = HOLDFAST__FRAME__INIT;

	done.result = result;
	done.text.len = strlen(text);
	done.text.data = (uint8_t *)text;
	frame.body_case = HOLDFAST__FRAME__BODY_DONE;
	frame.done = &done;
	bus_answer(bus, from, &frame, NULL);
}

unsigned bus_instances(const struct bus *bus, Holdfast__Role stage)
{
	return stage == HOLDFAST__ROLE__ROLE_DELIVERY ? 2 : 1;
}

const char *bus_instance_name(const struct bus *bus, Holdfast__Role stage, unsigned i)
{
	static const char *const names[] = { "delivery-1", "delivery-2" };

	return stage == HOLDFAST__ROLE__ROLE_DELIVERY ? names[i] : "policy-1";
}

unsigned bus_shard(const struct bus *bus, Holdfast__Role stage, const void *key, size_t len)
{
	return stage == HOLDFAST__ROLE__ROLE_DELIVERY && len > 0 && *(const char *)key == 'z';
}

bool bus_is_self(const struct bus *bus, Holdfast__Role stage, unsigned i)
{
	return fake.self;
}

bool bus_link_up(const struct bus *bus, Holdfast__Role stage, unsigned i)
{
	return !fake.link_down;
}

size_t bus_frame_limit(const struct bus *bus)
{
	return 64 * 1024;
}

void bus_grant(struct bus *bus, bool open)
{
}

size_t bus_open_asks(const struct bus *bus)
{
	return 0;
}

ProtobufCBinaryData pb_str(const char *s)
{
	return (ProtobufCBinaryData){ strlen(s), (uint8_t *)s };
}

ProtobufCBinaryData pb_bytes(const void *p, size_t len)
{
	return (ProtobufCBinaryData){ len, (uint8_t *)p };
}

bool pb_is(ProtobufCBinaryData d, const char *s)
{
	return d.len == strlen(s) && memcmp(d.data, s, d.len) == 0;
}

char *pb_strdup(ProtobufCBinaryData d)
{
	char *s = xstrndup(d.len > 0 ? (const char *)d.data : "", d.len);

	for (size_t i = 0; i < d.len; i++)
		if (d.data[i] == '\0')
			s[i] = '?';
	return s;
}

/* The oldest open question of that kind; NULL: none. */
static inline struct fake_ask *fake_open(Holdfast__Frame__BodyCase kind)
{
	for (size_t i = 0; i < fake.n_ask; i++)
		if (fake.ask[i].frame != NULL && fake.ask[i].frame->body_case == kind)
			return &fake.ask[i];
	return NULL;
}

/* Answer it (reply NULL: with err); its slot stays used, its frame goes. */
static inline void fake_reply(struct fake_ask *a, enum err err, const Holdfast__Frame *reply)
{
	struct fake_ask taken = *a;

	a->frame = NULL;
	a->body = NULL;
	taken.done(err, reply, NULL, taken.owner, taken.id);
	holdfast__frame__free_unpacked(taken.frame, NULL);
	blob_unref(&taken.body);
}

/* What bus_close() does: every open question ends. */
static inline void fake_close(void)
{
	for (size_t i = 0; i < fake.n_ask; i++)
		if (fake.ask[i].frame != NULL)
			fake_reply(&fake.ask[i], ERR_CLOSED, NULL);
	for (size_t i = 0; i < fake.n_answer; i++) {
		if (fake.answer[i].frame != NULL)
			holdfast__frame__free_unpacked(fake.answer[i].frame, NULL);
		blob_unref(&fake.answer[i].body);
	}
	memset(&fake, 0, sizeof(fake));
}

#endif
