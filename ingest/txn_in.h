/* ingest/txn_in.h - the inside of a transaction
 *
 * Shared by txn.c (life, message), txn_ask.c (dialogue with policy), txn_notify.c (refusals that
 * were accepted at RCPT) and txn_give.c (custody).
 */
#ifndef INGEST_TXN_IN_H
#define INGEST_TXN_IN_H

#include "ingest/handoff.h"
#include "ingest/notify.h"
#include "ingest/terms.h"
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
	const char *exception; /* refused, and accepted all the same: the notification's name */
	Holdfast__VerdictClass refused;
	unsigned notify;       /* as in Recipient */
	char *orcpt;           /* or NULL */
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
	struct peer peer;
	char *helo;
	char tls[16], cipher[64]; /* "": none */
	bool esmtp, authed;
	char *from;
	uint64_t size_said, received_ms;
	bool eight_bit, utf8, require_tls;
	bool utf8_address;     /* an address needs SMTPUTF8 */
	Holdfast__DsnRet ret;
	char *envid;           /* or NULL */
	struct terms terms;
	const char *exception; /* MAIL was refused, and accepted all the same */
	Holdfast__VerdictClass refused;
	uint64_t parent;       /* a notification: the transaction that waits for it */
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
	bool   in_doubt;       /* a part of this round may be in custody: no answer came */
	bool   again;          /* one more round: the spool has no room */
	uint64_t began_us;
};

void txn_goto(struct txn *t, const struct step *to); /* the only writer of step */
void txn_run(struct txn *t);  /* t may be gone afterwards */
void txn_end(struct txn *t, bool ok, const char *reply); /* answers the open question, frees t */
/* The message is not taken: count it, give its shares back, txn_end(). */
void txn_refuse(struct txn *t, enum ingest_no no, const char *reply);
struct txn *txn_find(struct ingest *in, uint64_t id); /* NULL when gone */
struct txn *txn_new(struct ingest *in, const struct peer *peer); /* without a step */
struct rcpt *txn_rcpt_take(struct txn *t, const struct smtp_path *to, const char *key,
                           size_t key_len); /* new when it was not named before */

/* Ask the bus on behalf of t; done is given the stage and the ask's id. */
enum err txn_ask(struct txn *t, struct bus_to to, Holdfast__Frame *frame, struct ask *about,
                 bus_answer_fn *done);
/* In done: take the ask off its transaction into *out; false when all is closed. */
bool txn_answered(void *owner, uint64_t id, struct ask *out);

extern const struct step STEP_IDENTIFY, STEP_MAIL, STEP_TALK; /* txn_ask.c */
extern const struct step STEP_NOTIFY;                         /* txn_notify.c */
extern const struct step STEP_GIVE, STEP_ACCEPT;              /* txn_give.c */
extern const struct step STEP_GIVE_UP;                        /* txn.c */

/* txn_ask.c: ask for the verdict on r, the question q of the engine */
void txn_ask_rcpt(struct txn *t, struct rcpt *r, uint64_t q);
/* txn_notify.c */
bool txn_accepts_refused(const struct txn *t, const Holdfast__Verdict *v);
bool txn_must_notify(const struct txn *t);
void txn_notified(struct ingest *in, uint64_t id, bool ok);
void txn_give_free(struct txn *t);

#endif
