/* delivery/part.h - a message part in memory, its recipients, and the jobs it is cut into
 *
 * A part is one allocation: ids, envelope and recipients with their text.  Its
 * body is a blob that is there, or is read from the store when a session
 * needs it.  A job is what one SMTP transaction carries: recipients of one part
 * that go to one destination.  Nothing here knows of sockets or of the store.
 *
 * Owner of parts: queue.c.  Owner of jobs: the part (all its jobs are gone before it is).
 */
#ifndef DELIVERY_PART_H
#define DELIVERY_PART_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>
#include "lib/blob.h"
#include "lib/mem.h"
#include "proto/holdfast.pb-c.h"

#define uthash_malloc(n) xmalloc(n)
#define uthash_free(p, n) xfree(p)
#include <uthash.h>

#define PART_KEY 20      /* message id, part: big-endian */
#define PART_RCPT_MAX 10000
#define PART_PARAM_MAX 600 /* bytes of ENVID= and ORCPT= */

/* How a recipient of an attempt ended, or did not; also the label of a counter. */
enum ending {
	END_NONE,        /* nothing happened yet */
	END_DELIVERED,
	END_BOUNCED,
	END_EXPIRED,
	END_SUPPRESSED,
	END_DEFERRED,    /* tried, to be tried again */
	END_POSTPONED,   /* not tried: the account may not send now, or nobody could say */
	END__COUNT
};
extern const char *const ending_names[];

/* What was learnt about one recipient.  Texts are borrowed by whoever is handed one. */
struct outcome {
	enum ending ending;
	Holdfast__SmtpStage stage;
	Holdfast__BounceClass class;
	int         code;
	const char *enhanced;
	const char *text;
	size_t      text_len;
	const char *host;
	const char *ip;
	const char *rule;
	bool        own_mx;
	bool        own_end;     /* our own decision for good, whatever the stage */
	bool        dsn_passed;  /* the server took over what the sender wants reported */
};

struct rcpt {
	const char *addr;    /* in the part's allocation, NUL-terminated */
	uint32_t    index;
	uint16_t    addr_len;
	uint16_t    domain;  /* offset of its domain in addr; addr_len when it has none */
	bool        ended;
	bool        delay_told;  /* the sender got the notice of delay that he asked for */
	bool        delay_due;   /* ... and it goes out with the batch that is being made */
	uint8_t     notify;      /* NOTIFY= (enum of client.h); 0: not said */
	const char *orcpt;       /* ORCPT= as given, in the part's allocation; "": not said */
	uint8_t    *last;    /* packed Evidence of the last failure, owned; NULL: none */
	uint32_t    last_len;
};

enum part_state {
	PART_TAKING,  /* its first batch is being written; nobody may act on it */
	PART_ACTIVE,  /* it has jobs: at work, asked about, or ready at a destination */
	PART_LEAVING  /* the batch that ends the attempt is being written */
};

struct dest;
struct part;

enum job_state {
	JOB_NEW,
	JOB_CHECKING, /* policy is asked; linked nowhere, found by id */
	JOB_READY,    /* in its destination's ready queue */
	JOB_WORKING   /* held by one session */
};

struct job {
	TAILQ_ENTRY(job)  ready;    /* JOB_READY: in a destination's queue of an account */
	LIST_ENTRY(job)   of_part;
	struct part *part;
	struct dest *dest;
	uint64_t     checked_ms;    /* wall: when policy last said yes to its recipients */
	enum job_state state;
	bool         asked;         /* policy said yes in this attempt */
	uint16_t     n;
	uint16_t     rcpt[];        /* indexes into part->rcpt */
};
TAILQ_HEAD(job_list, job);

struct part {
	UT_hash_handle hh;
	uint8_t     key[PART_KEY];
	enum part_state state;
	LIST_HEAD(, job) jobs;
	unsigned    n_jobs;
	struct blob *body;          /* NULL: in the store */
	size_t      held_bytes;     /* counted in queue.active_bytes */
	uint64_t    received_ms, taken_ms, due_ms, checked_ms;
	uint64_t    size;
	uint64_t    postpone_ms;    /* this attempt: how long to wait where nothing was tried */
	uint32_t    attempts;
	bool        eight_bit, counted;
	bool        tried;          /* this attempt: some recipient was really tried */
	bool        recorded;       /* a state record exists in the store */
	bool        utf8, require_tls;
	Holdfast__DsnRet ret;
	const char *account, *mail_from, *envid;
	uint32_t    n_rcpt, n_waiting;
	struct rcpt rcpt[];
};

/* A part from an envelope that envelope_ok() has passed.  PART_TAKING, no body. */
struct part *part_new(const Holdfast__Envelope *env);
void part_free(struct part **p); /* no job may be left */
/* Legal changes only; another is a bug. */
void part_goto(struct part *p, enum part_state to);

/* Are the fields there and within bounds?  NULL when they are, else what is wrong. */
const char *envelope_check(const Holdfast__Envelope *env, size_t body_len);

void part_key(uint8_t out[PART_KEY], const uint8_t id[16], uint32_t part);
uint32_t part_number(const struct part *p);

/* Is it a report of ours (RFC 3464)?  Its own header section is ASCII where its recipient's local
 * part is, whatever it encloses: it is better sent without SMTPUTF8 than not at all. */
bool part_is_report(const struct part *p);

/* Must p go to verified hosts only (REQUIRETLS)?  Our reports try that once; after that any way
 * is better than none (RFC 8689, 5). */
bool part_is_strict(const struct part *p);

/* The name by which the pool knows where r of p goes: its domain, with a mark before it where p is
 * strict.  It is what the due index holds. */
#define PART_DEST_MAX 272
#define PART_DEST_STRICT '\1' /* no domain begins with it: see envelope_check() */
void part_dest(const struct part *p, const struct rcpt *r, char out[PART_DEST_MAX]);
/* ... of the first recipient that waits. */
void part_first_dest(const struct part *p, char out[PART_DEST_MAX]);

/* A job for n recipients of p, linked to p and counted at d, JOB_NEW. */
struct job *job_new(struct part *p, struct dest *d, const uint16_t *rcpt, unsigned n);
void job_free(struct job **j);
void job_goto(struct job *j, enum job_state to);

/* Replace what is remembered of r's last failure; the bytes are copied. */
void rcpt_remember(struct rcpt *r, const uint8_t *packed, size_t len);

#endif
