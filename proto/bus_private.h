/* proto/bus_private.h - what the files of the bus share; nobody else includes it
 *
 * bus.c        opening, closing, the loop's handles, counters, who is where
 * bus_frame.c  one multipart message in or out: limits, arena, zero copy
 * bus_ask.c    the asking side: links, waiting and open questions, deadlines
 * bus_answer.c the answering side: peers, roles, handlers, credit
 *
 * How the loop knows of work: a ZeroMQ descriptor signals edges, and every send
 * or receive may swallow one.  So a socket on which anything was done since a
 * receive last found it empty is `maybe`; before the loop sleeps each such socket is
 * asked for the truth (ZMQ_EVENTS), and the loop does not sleep while there is work.
 */
#ifndef PROTO_BUS_PRIVATE_H
#define PROTO_BUS_PRIVATE_H

#include <sys/queue.h>
#include <uv.h>
#include <zmq.h>
#include "lib/idmap.h"
#include "lib/mem.h"
#include "lib/metrics.h"
#include "proto/bus.h"

#define uthash_malloc(n)  xmalloc(n)
#define uthash_free(p, n) xfree(p)
#include <uthash.h>

#define BUS_STAGES      5      /* enum Role up to ROLE_DELIVERY, by number */
#define BUS_BODY_CASES  128    /* field numbers of the oneof are below this */
#define BUS_RID_MAX     64
#define BUS_BUDGET      64     /* messages a socket may bring in one turn */
#define BUS_TICK_MS     50     /* grain of deadlines */
#define BUS_WHEEL       512    /* ticks in one turn of the wheel */
#define BUS_POOL        4096   /* answered questions kept for the next */
#define BUS_PEERS       4096
#define BUS_PEER_MS     30000  /* silence after which a peer is forgotten */
#define BUS_MISSED      3      /* Hellos without Welcome after which a link is down */
#define BUS_ZERO_COPY   (16 * 1024)
#define BUS_SMALL_ASK   192    /* packed questions up to this need no memory of their own */

/* Rows of bus_metric_defs in bus.c. */
enum {
	BUS_FRAMES_IN, BUS_FRAMES_OUT, BUS_DROPPED, BUS_REFUSED, BUS_ASKS, BUS_RESENT,
	BUS_TIMEOUTS, BUS_LATE, BUS_GONE, BUS_FULL, BUS_OPEN, BUS_WAITING, BUS_LINKS_UP,
	BUS_PEERS_KNOWN, BUS_ANSWER_TIME
};

/* Labels of BUS_DROPPED. */
enum bus_drop { DROP_MALFORMED, DROP_OVERSIZE, DROP_UNKNOWN };

struct bus_link;

struct bus_sock {
	struct bus *bus;
	void *zmq;               /* NULL: not open */
	struct bus_link *link;   /* NULL: the ROUTER */
	uv_poll_t poll;
	bool maybe;              /* see above */
};

/* One multipart message that came. */
struct bus_in {
	uint8_t rid[BUS_RID_MAX];
	size_t  rid_len;         /* 0 on a DEALER */
	Holdfast__Frame *frame;  /* in the arena */
	struct blob *body;       /* or NULL */
};

/* Where a question is: waiting in its link's wait list (no link, no credit), or
 * sent and in the link's open list.  In both it is on the wheel and in bus->asks. */
struct ask {
	uint64_t call;
	struct bus_link *link;
	bool sent;
	uint64_t due;            /* tick */
	uint64_t asked_ms;
	bus_answer_fn *done;
	void *owner;
	uint64_t id;
	struct blob *body;
	uint8_t *packed;         /* small, or memory of its own */
	size_t packed_len;
	uint8_t small[BUS_SMALL_ASK];
	TAILQ_ENTRY(ask) in_list;
	TAILQ_ENTRY(ask) in_wheel;
};

TAILQ_HEAD(ask_list, ask);

enum link_state {
	LINK_DOWN, /* no Welcome, or none for a while: questions wait */
	LINK_UP,
};

/* To one instance of a stage that this process asks. */
struct bus_link {
	struct bus_sock sock;
	Holdfast__Role stage;
	const char *name;
	enum link_state state;
	bool connected;          /* the socket would take a message */
	bool hello_due;
	bool blocked;            /* a send found no room; flush when it has */
	unsigned missed;
	uint64_t hello_ms;       /* when the next Hello goes */
	uint64_t hello_sent_ms;
	uint64_t epoch;
	uint32_t credit_messages;
	uint64_t credit_bytes;
	uint32_t open_bodies;
	uint64_t open_bytes;
	struct ask_list open;
	struct ask_list wait[2]; /* without and with a body: one never waits for the other */
	size_t n_open, n_wait;
};

struct bus_peer {
	uint8_t  rid[BUS_RID_MAX];
	size_t   rid_len;
	Holdfast__Role role;
	char     instance[33];
	uint64_t epoch;
	uint64_t heard_ms;
	uint32_t open_bodies;    /* given to handlers and not answered */
	uint64_t open_bytes;
	UT_hash_handle hh;
};

struct bus_stage {
	unsigned n;
	const char **names;      /* borrowed from the configuration */
	struct bus_link *links;  /* NULL where this process does not ask the stage */
};

struct bus_arena {
	unsigned char *p;
	size_t used, cap;
};

struct bus {
	uv_loop_t *loop;
	struct bus_conf conf;
	char instance[33];
	uint64_t epoch;
	bool closing;
	bool granting;

	void *ctx;
	struct bus_sock router;
	struct bus_stage stage[BUS_STAGES];
	struct bus_sock **socks; /* all that are open */
	unsigned n_socks;

	uv_prepare_t prepare;
	uv_check_t check;
	uv_idle_t idle;
	uv_timer_t timer;
	unsigned handles;        /* not yet closed */

	struct idmap *asks;
	struct ask_list wheel[BUS_WHEEL];
	uint64_t tick;           /* the last one that was swept */
	struct ask_list pool;
	size_t n_pool;

	struct bus_peer *peers;
	const struct bus_handler *handler[BUS_BODY_CASES];
	uint64_t sweep_ms;
	uint64_t told_ms;        /* last log line about a protocol that does not fit */

	struct bus_arena arena;
	ProtobufCAllocator alloc;
	struct metric_set *metrics;
};

/* bus.c */
void bus_count(struct bus *bus, unsigned row);
void bus_count_label(struct bus *bus, unsigned row, unsigned label);
int  bus_sock_events(const struct bus_sock *s);

/* bus_frame.c */
void frame_limits(struct bus *bus);          /* sizes the arena */
void frame_limits_free(struct bus *bus);
/* ERR_OK: in is filled, release it.  ERR_AGAIN: nothing is there.  ERR_PROTO:
 * something came, was counted and dropped. */
enum err frame_recv(struct bus_sock *s, struct bus_in *in) MUST_CHECK;
void frame_in_free(struct bus_in *in);
/* Packed bytes to a DEALER.  ERR_AGAIN: nothing was sent. */
enum err frame_send(struct bus_sock *s, const void *packed, size_t len,
                    struct blob *body) MUST_CHECK;
/* A frame to a peer of the ROUTER.  ERR_LINK: it is gone; ERR_AGAIN: it does not
 * read; ERR_TOOBIG.  All are counted here. */
enum err frame_answer(struct bus *bus, const uint8_t *rid, size_t rid_len,
                      const Holdfast__Frame *frame, struct blob *body);

/* bus_ask.c */
void ask_receive(struct bus_link *link, struct bus_in *in);
void ask_events(struct bus_link *link, int events); /* after bus_sock_events() */
void ask_flush(struct bus_link *link);              /* Hello and what waits, as far as it goes */
void ask_tick(struct bus *bus, uint64_t now);
void ask_close_all(struct bus *bus);
void ask_free_pool(struct bus *bus);

/* bus_answer.c */
void answer_receive(struct bus *bus, struct bus_in *in);
void answer_tick(struct bus *bus, uint64_t now);
void answer_free(struct bus *bus);

#endif
