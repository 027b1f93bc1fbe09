/* policy/account.c - see policy/account.h
 *
 * The transitions are the table; all else reads it.
 */
#include "policy/account.h"

#include <string.h>

#define PENDING  HOLDFAST__ACCOUNT_STATE__ACCOUNT_PENDING
#define REVIEW   HOLDFAST__ACCOUNT_STATE__ACCOUNT_REVIEW
#define ACTIVE   HOLDFAST__ACCOUNT_STATE__ACCOUNT_ACTIVE
#define DISABLED HOLDFAST__ACCOUNT_STATE__ACCOUNT_DISABLED
#define NEW      HOLDFAST__ACCOUNT_STATE__ACCOUNT_NONE

/* All legal changes; whatever is not here is refused. */
static const struct {
	Holdfast__AccountState from, to;
	Holdfast__HoldReason hold; /* of mail while in `to` */
} transitions[] = {
	{ NEW,      PENDING,  HOLDFAST__HOLD_REASON__HOLD_NONE },
	{ NEW,      REVIEW,   HOLDFAST__HOLD_REASON__HOLD_NEW_ACCOUNT },
	{ NEW,      ACTIVE,   HOLDFAST__HOLD_REASON__HOLD_NONE },
	{ PENDING,  REVIEW,   HOLDFAST__HOLD_REASON__HOLD_ACTIVATION },
	{ PENDING,  ACTIVE,   HOLDFAST__HOLD_REASON__HOLD_NONE }, /* an operator vouches */
	{ PENDING,  DISABLED, HOLDFAST__HOLD_REASON__HOLD_NONE },
	{ REVIEW,   ACTIVE,   HOLDFAST__HOLD_REASON__HOLD_NONE },
	{ REVIEW,   DISABLED, HOLDFAST__HOLD_REASON__HOLD_NONE },
	{ ACTIVE,   DISABLED, HOLDFAST__HOLD_REASON__HOLD_NONE },
	{ ACTIVE,   REVIEW,   HOLDFAST__HOLD_REASON__HOLD_STAFF },
	{ DISABLED, REVIEW,   HOLDFAST__HOLD_REASON__HOLD_REACTIVATION },
};

bool account_name_good(const char *name, size_t len)
{
	static const char allowed[] = "abcdefghijklmnopqrstuvwxyz0123456789._-";

	if (len == 0 || len > ACCOUNT_NAME_MAX || strchr("._-", name[0]) != NULL)
		return false;
	for (size_t i = 0; i < len; i++) {
		if (name[i] == '\0' || strchr(allowed, name[i]) == NULL)
			return false;
	}
	return true;
}

const char *account_state_name(Holdfast__AccountState state)
{
	static const char *const names[] = { "none", "pending", "review", "active", "disabled" };

	return (unsigned)state < ARRAY_LEN(names) ? names[state] : "?";
}

enum err account_transition(Holdfast__AccountState from, Holdfast__AccountState to,
                            Holdfast__HoldReason *hold)
{
	for (size_t i = 0; i < ARRAY_LEN(transitions); i++) {
		if (transitions[i].from != from || transitions[i].to != to)
			continue;
		*hold = transitions[i].hold;
		return ERR_OK;
	}
	return ERR_BADSTATE;
}

bool account_metered(const struct account *a)
{
	for (int i = 0; i < N_WINDOWS; i++) {
		if (a->quota[i] != 0)
			return true;
	}
	return false;
}

static void cannot(Holdfast__Verdict *out, Holdfast__CannotSend why)
{
	out->class_ = HOLDFAST__VERDICT_CLASS__VERDICT_CANNOT_SEND;
	out->cannot = why;
}

static void quota_verdict(const struct account *a, uint64_t now_ms, uint64_t quota_defer_ms,
                          Holdfast__Verdict *out)
{
	uint64_t reset_ms;

	if (quota_room(a->quota, a->figures.used, a->reserved, now_ms, &reset_ms) > 0)
		return;
	if (reset_ms != QUOTA_NEVER && reset_ms - now_ms <= quota_defer_ms) {
		cannot(out, HOLDFAST__CANNOT_SEND__CANNOT_QUOTA_SOON);
		out->reset_ms = reset_ms;
	} else {
		cannot(out, HOLDFAST__CANNOT_SEND__CANNOT_QUOTA);
	}
}

void account_state_verdict(const struct account *a, Holdfast__Verdict *out)
{
	out->class_ = HOLDFAST__VERDICT_CLASS__VERDICT_OK;
	if (a == NULL || !a->exists) {
		cannot(out, HOLDFAST__CANNOT_SEND__CANNOT_UNKNOWN);
		return;
	}
	out->metered = account_metered(a);
	switch (a->state) {
	case REVIEW:
		out->class_ = HOLDFAST__VERDICT_CLASS__VERDICT_HOLD;
		out->hold = a->hold;
		break;
	case ACTIVE:
		break;
	case PENDING:
		cannot(out, HOLDFAST__CANNOT_SEND__CANNOT_PENDING);
		return;
	default:
		cannot(out, HOLDFAST__CANNOT_SEND__CANNOT_DISABLED);
		return;
	}
}

void account_verdict(const struct account *a, uint64_t now_ms, uint64_t quota_defer_ms,
                     Holdfast__Verdict *out)
{
	account_state_verdict(a, out);
	if (out->metered && out->class_ != HOLDFAST__VERDICT_CLASS__VERDICT_CANNOT_SEND)
		quota_verdict(a, now_ms, quota_defer_ms, out);
}
