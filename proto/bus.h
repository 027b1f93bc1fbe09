/* proto/bus.h - questions and answers between stages, over ZeroMQ on the loop
 *
 * Owns every ZeroMQ socket of the process (bus*.c is the only code that calls zmq_):
 * one ROUTER that answers, and one DEALER to each instance of the stages that
 * this one asks.  A peer's fault (bytes that do not parse, too large, unknown,
 * not allowed) is counted and answered with Refused or dropped; it never
 * stops the worker.
 *
 * A question: bus_ask() with a deadline; its callback runs exactly once, on the
 * loop, never from inside bus_ask().  Until the link is up, and while the
 * receiver's credit for bodies is used up, a question waits here, bounded by
 * bus_waiting_asks.  When the receiver restarts (new epoch) every open
 * question of the link is sent again: every question in holdfast.proto may repeat.
 */
#ifndef PROTO_BUS_H
#define PROTO_BUS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "lib/blob.h"
#include "lib/err.h"
#include "lib/worker.h"
#include "proto/holdfast.pb-c.h"

#define BUS_PROTOCOL 1

struct bus;

/* Who asked: plain data that a handler may copy and keep until it answers. */
struct bus_from {
	uint8_t  rid[64];
	uint8_t  rid_len;
	uint8_t  role;       /* Holdfast__Role, from its Hello */
	char     instance[33];
	uint64_t call;
	uint64_t epoch;      /* of the asker */
	uint64_t body_bytes; /* credit that the answer gives back */
};

/* A question came.  frame lives until the function returns; body (NULL where none
 * came) is borrowed: blob_ref() it to keep it.  The handler answers with
 * bus_answer() now or later, once. */
typedef void bus_handler_fn(void *state, const struct bus_from *from,
                            const Holdfast__Frame *frame, struct blob *body);

#define BUS_ROLE(r) (1u << (r))
#define BUS_ANY (~0u)

struct bus_handler {
	Holdfast__Frame__BodyCase body_case; /* 0 ends a table */
	unsigned        roles;               /* who may ask: BUS_ROLE(...) | ... */
	bool            takes_body;          /* false: a question with a body is malformed */
	bus_handler_fn *run;
};

/* The answer, exactly once.  ERR_OK: frame is the answer (borrowed, as is body).
 * ERR_TIMEOUT: the deadline passed (the other side may have acted).
 * ERR_REFUSED/ERR_PERM/ERR_PROTO/ERR_AGAIN/ERR_IO: a Refused came (ROLE: PERM,
 * MALFORMED and UNKNOWN: PROTO, BUSY: AGAIN, FAILED: IO); frame is then that
 * Refused, or NULL.  ERR_CLOSED: the bus is closing. */
typedef void bus_answer_fn(enum err err, const Holdfast__Frame *frame, struct blob *body,
                           void *owner, uint64_t id);

/* A peer said Hello with an epoch that is new to us (it started or restarted). */
typedef void bus_peer_fn(void *state, Holdfast__Role role, const char *instance,
                         uint64_t epoch);

struct bus_conf {
	const struct common_conf *common;
	Holdfast__Role role;
	const char *instance;          /* own name; routing ids are made from it and the epoch */
	const char *bind;              /* own endpoint, NULL for a tool */
	unsigned asks;                 /* BUS_ROLE() of the stages to connect to */
	const struct bus_handler *handlers; /* may be NULL */
	bus_peer_fn *peer;             /* may be NULL */
	void *state;                   /* handed to handlers and peer */
	struct metrics *metrics;       /* may be NULL (tools) */
};

/* Bind, connect (which needs nobody to be there), start.  ERR_IO: cannot bind
 * (logged).  ipc endpoints: the directory is made with mode 0700 where absent. */
enum err bus_open(uv_loop_t *loop, const struct bus_conf *conf, struct bus **out) MUST_CHECK;

/* Complete all open questions with ERR_CLOSED, close.  Handles die in the next turns. */
void bus_close(struct bus **bus);

/* Instances of a stage, in the configuration's order. */
unsigned    bus_instances(const struct bus *bus, Holdfast__Role stage);
const char *bus_instance_name(const struct bus *bus, Holdfast__Role stage, unsigned i);
/* The instance that owns key: rendezvous hashing over the names (proto/shard.h). */
unsigned    bus_shard(const struct bus *bus, Holdfast__Role stage, const void *key, size_t len);
/* True when that instance is this process. */
bool        bus_is_self(const struct bus *bus, Holdfast__Role stage, unsigned i);
bool        bus_link_up(const struct bus *bus, Holdfast__Role stage, unsigned i);

struct bus_to { Holdfast__Role stage; unsigned instance; };

/* Ask.  frame is packed before return (its call is set by the bus); body is
 * referenced.  ERR_FULL: too many questions wait: nothing was asked, done does not run. */
enum err bus_ask(struct bus *bus, struct bus_to to, Holdfast__Frame *frame, struct blob *body,
                 uint32_t wait_ms, bus_answer_fn *done, void *owner, uint64_t id) MUST_CHECK;

/* Answer; an asker that is gone is counted, nothing else.  body may be NULL. */
void bus_answer(struct bus *bus, const struct bus_from *from, Holdfast__Frame *frame,
                struct blob *body);
void bus_refuse(struct bus *bus, const struct bus_from *from, Holdfast__Refused__Why why,
                const char *text);
/* Shorthand for the Done answer. */
void bus_done(struct bus *bus, const struct bus_from *from, Holdfast__Done__Result result,
              const char *text);

/* Change what is granted to every asker: 0, 0 while the store is stalled or full;
 * the configured numbers again with bus_grant(bus, true). */
void bus_grant(struct bus *bus, bool open);

/* Questions that are open (asked, not answered): a drain waits for 0. */
size_t bus_open_asks(const struct bus *bus);

/* The most that a packed frame may have: bus_frame_bytes of the configuration. */
size_t bus_frame_limit(const struct bus *bus);

/* ProtobufCBinaryData from a C string / bytes, and comparison; the bytes are borrowed. */
ProtobufCBinaryData pb_str(const char *s);
ProtobufCBinaryData pb_bytes(const void *p, size_t len);
bool  pb_is(ProtobufCBinaryData d, const char *s);
char *pb_strdup(ProtobufCBinaryData d); /* xmalloc'd, NULs become '?' */

#endif
