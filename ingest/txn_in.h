/* ingest/txn_in.h - the inside of a transaction
 *
 * Shared by txn.c (dialogue with policy) and txn_give.c (custody).
 */
#ifndef INGEST_TXN_IN_H
#define INGEST_TXN_IN_H

#include "ingest/handoff.h"
#include "ingest/txn.h"
#include "lib/mem.h"
#define uthash_malloc(n) xmalloc(n)
#define uthash_free(p, n) xfree(p)
#include <uthash.h>

enum next { NEXT_NOW, NEXT_WAIT, NEXT_DONE /* the transaction is freed */ };

struct step {
	const char *name;
	enum next (*run)(struct txn *t);
};

struct rcpt {
	UT_hash_handle hh;  /* by key */
	unsigned index;
	bool ok;
	const char *key;
	char addr[];        /* the address, then the key */
};

/* A question to the bus; its transaction lives until it is answered. */
struct ask {
	TAILQ_ENTRY(ask) all;
	uint64_t id;        /* in ingest->asks */
	struct txn *t;
	struct rcpt *rcpt;  /* RCPT: whose verdict */
	size_t part;        /* hand-off: which part */
	uint64_t q;         /* the engine's question */
};

struct txn {
	TAILQ_ENTRY(txn) all;
	struct ingest *in;
	uint64_t id, session;  /* session 0: gone */
	const struct step *step;
	const char *why;       /* given up: the reason */
	struct uuid mid;
	char idtext[UUID_CHARS + 1];
	char account[INGEST_ACCOUNT_MAX + 1];
	char ip[64], tls[16];
	uint8_t ip_raw[16];
	size_t  ip_len;
	char *from;
	uint64_t size_said, received_ms;
	bool eight_bit;
	uint64_t q;            /* the question of MAIL, then of the message */

	TAILQ_HEAD(, ask) asks;
	struct rcpt *rcpts;    /* hash, in the order of RCPT */
	unsigned n_asked, n_ok;
	bool metered;          /* the account has a quota */
	bool reserved;         /* RCPT was asked */
	Holdfast__HoldReason hold;
	bool held;
	uint8_t hold_verdict[UUID_LEN];
	size_t  hold_verdict_len;
	unsigned policy_next;  /* instance to ask for the address */

	/* custody (txn_give.c) */
	struct blob *body;
	struct handoff_rcpt *to;
	struct handoff_part *parts;
	Holdfast__Recipient *rs, **ptrs;
	bool  *safe;           /* by part */
	size_t n_parts, n_safe;
	bool   spooled;
	uint64_t began_us;
};

void txn_goto(struct txn *t, const struct step *to); /* the only writer of step */
void txn_run(struct txn *t);  /* t may be gone afterwards */
void txn_end(struct txn *t, bool ok, const char *reply); /* answers the open question, frees t */

/* Ask the bus on behalf of t; done is given the stage and the ask's id. */
enum err txn_ask(struct txn *t, struct bus_to to, Holdfast__Frame *frame, struct ask *about,
                 bus_answer_fn *done);
/* In done: take the ask off its transaction into *out; false when all is closed. */
bool txn_answered(void *owner, uint64_t id, struct ask *out);

extern const struct step STEP_GIVE;
extern const struct step STEP_GIVE_UP;
void txn_give_free(struct txn *t);

#endif
