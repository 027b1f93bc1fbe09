/* holdq/decide.h - what ask.c (questions of reviewers) and decide.c (one mail) share
 *
 * Private to these two.  An ask is split into items, one a mail; each is decided for itself.
 */
#ifndef HOLDQ_DECIDE_H
#define HOLDQ_DECIDE_H

#include "holdq/holdq.h"


/* Where an item is and what it waits for. */
enum item_state {
	ITEM_READY,    /* in d->ready: for its turn */
	ITEM_WAITING,  /* in d->waiting: another item is at work on the same mail */
	ITEM_RECHECK,  /* at work, in d->busy: for policy's answer */
	ITEM_WRITING,  /* at work, in d->busy: for the sync */
};

struct item {
	TAILQ_ENTRY(item) link;
	UT_hash_handle hh;      /* in busy, by key */
	enum item_state state;
	uint64_t id, ask_id;
	struct held_key key;
	size_t slot;            /* of its result in the ask */
	struct held *held;      /* while at work */
	struct held *report;    /* to the sender of a rejected mail, or NULL */
	uint8_t *rcpt_class;    /* policy's answers, by recipient */
	size_t checked;
	enum plan_result planned; /* what it ends with once it is durable */
	uint64_t n_suppressed;
};
TAILQ_HEAD(item_list, item);

struct ask {
	uint64_t id;
	struct bus_from from;
	Holdfast__Decision what;
	bool dry_run, more;
	struct held_key next;
	char *by, *reason;
	size_t n, open;
	struct result { struct held_key key; enum plan_result result; char text[80]; } *result;
	TAILQ_ENTRY(ask) link;
};
TAILQ_HEAD(ask_list, ask);

struct decide {
	struct holdq *hq;
	struct idmap *asks, *items;
	struct ask_list all;
	struct item_list ready, waiting;
	struct item *busy;
	size_t n_ready, n_waiting;
};

/* decide.c */
void decide_item(struct decide *d, struct ask *a, const struct held_key *k); /* into the line */

/* ask.c: all its items have ended: answer and free; or only free. */
void ask_end(struct decide *d, struct ask *a);
void ask_free(struct decide *d, struct ask *a);

#endif
