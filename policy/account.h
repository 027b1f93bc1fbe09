/* policy/account.h - an account: its state, what it may change to, its figures
 *
 * Pure.  Which state may follow which is a table; the cache of accounts and
 * their records are accounts.h and store.h.
 */
#ifndef POLICY_ACCOUNT_H
#define POLICY_ACCOUNT_H

#include <stdbool.h>
#include <stdint.h>
#include <uthash.h>
#include "lib/err.h"
#include "policy/quota.h"
#include "policy/rate.h"
#include "policy/terms.h"
#include "proto/holdfast.pb-c.h"

#define ACCOUNT_NAME_MAX 64

/* Ends of recipients, by event kind from ACCEPTED to CANCELLED. */
enum { N_ENDS = 7 };
/* What stands on an account's lists, so that a verdict asks the store only
 * where there is something to find. */
enum listed { LISTED_BOUNCE, LISTED_SOFT, LISTED_UNSUBSCRIBE, LISTED_DOMAIN, N_LISTED };

struct figures {
	uint64_t ends[N_ENDS];
	struct used used[N_WINDOWS];
	uint64_t listed[N_LISTED];
};

/* One account in memory.  Never freed while the process runs. */
struct account {
	char name[ACCOUNT_NAME_MAX + 1];
	bool exists;      /* false: only figures (our own reports, a name that is gone) */
	Holdfast__AccountState state;
	Holdfast__HoldReason hold;
	char *reason;     /* of the last change of state, or NULL */
	uint64_t created_ms, changed_ms;
	uint64_t quota[N_WINDOWS]; /* 0: none */
	unsigned soft_limit;
	bool bypass_unsubscribe;
	Holdfast__Terms terms; /* terms.h */
	uint64_t rate_minute;  /* messages; 0: any number */
	struct rate rate;
	struct figures figures;
	uint64_t reserved; /* open reservations */
	bool dirty;        /* figures changed in the batch at hand (apply.c) */
	UT_hash_handle hh;
};

bool account_name_good(const char *name, size_t len);
const char *account_state_name(Holdfast__AccountState state);

/* May an account go from one state to another, and why is its mail held then?
 * ERR_BADSTATE: no such transition.  from NONE: a new account. */
enum err account_transition(Holdfast__AccountState from, Holdfast__AccountState to,
                            Holdfast__HoldReason *hold) MUST_CHECK;

bool account_metered(const struct account *a);

/* What may this account do at all now: OK, HOLD or CANNOT_SEND (by state or quota). */
void account_verdict(const struct account *a, uint64_t now_ms, uint64_t quota_defer_ms,
                     Holdfast__Verdict *out);
/* The same without its quota: for recipients that have their place in it. */
void account_state_verdict(const struct account *a, Holdfast__Verdict *out);

#endif
