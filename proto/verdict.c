/* proto/verdict.c - the five answers, as tables
 *
 * The texts are an interface: nothing here is reworded, not even a full stop.  A class or
 * cause that a newer policy may send and this table lacks is answered as E4.
 */
#include "proto/verdict.h"
#include <assert.h>
#include <stdbool.h>
#include <string.h>
#include <time.h>
#include "lib/err.h"
#include "lib/uuid.h"
#include "proto/smtp_reply.h"

#define CLASS(name) HOLDFAST__VERDICT_CLASS__VERDICT_##name
#define CANNOT(name) HOLDFAST__CANNOT_SEND__CANNOT_##name
#define REASON(name) HOLDFAST__HOLD_REASON__HOLD_##name

static const char *const texts[] = {
	[CLASS(OK)] = NULL,
	[CLASS(BOUNCE)] = "Email address is on account's Bounce list.",
	[CLASS(UNSUBSCRIBE)] = "Email address is on account's Unsubscribe list.",
	[CLASS(BLOCK)] = "Email address is on system-wide domain block list.",
	[CLASS(CANNOT_SEND)] = "This account cannot currently send emails.",
	[CLASS(HOLD)] = "This email message has been placed in a holding area until your account "
	                "can be manually reviewed by our support staff. After review, the email "
	                "message will be released and delivered.",
};

const char *const verdict_names[] = {
	[CLASS(OK)] = "ok",
	[CLASS(BOUNCE)] = "bounce",
	[CLASS(UNSUBSCRIBE)] = "unsubscribe",
	[CLASS(BLOCK)] = "block",
	[CLASS(CANNOT_SEND)] = "cannot-send",
	[CLASS(HOLD)] = "hold",
	NULL,
};

static const char *const exceptions[] = {
	[CLASS(OK)] = NULL,
	[CLASS(BOUNCE)] = "BouncedEmailAddressException",
	[CLASS(UNSUBSCRIBE)] = "UnsubscribedEmailAddressException",
	[CLASS(BLOCK)] = "BlockedEmailAddressException",
	[CLASS(CANNOT_SEND)] = "CannotSendException",
	[CLASS(HOLD)] = "MessageHeldException",
};

static const char *const reasons[] = {
	[REASON(NONE)] = "none",
	[REASON(NEW_ACCOUNT)] = "new-account",
	[REASON(ACTIVATION)] = "activation",
	[REASON(REACTIVATION)] = "reactivation",
	[REASON(QUOTA)] = "quota",
	[REASON(STAFF)] = "staff",
};

struct answer {
	int code;
	const char *enhanced;
	const char *cure;
	const char *when; /* NULL, or what goes before the time of reset_ms */
	const char *text; /* NULL, or what is said instead of the class's text */
};

static const struct answer bounced_hard = {
	550, "5.1.1", "Correct the address; if it is good, remove it from the list.", NULL, NULL
};
static const struct answer bounced_soft = {
	550, "5.2.1", "Earlier messages came back; if the address is good, remove it from"
	              " the list.", NULL, NULL
};
static const struct answer unsubscribed = {
	550, "5.7.1", "Ask the recipient; then remove the entry from the list.", NULL, NULL
};
static const struct answer blocked = {
	550, "5.7.1", "Only this address is blocked, the domain is not. Its owner can have it"
	              " lifted; an address that is good again needs a removal request.", NULL, NULL
};

static const struct answer cannot[] = {
	[CANNOT(NONE)] = { 550, "5.7.13", "Ask support.", NULL, NULL },
	[CANNOT(PENDING)] = { 550, "5.7.13", "Open the activation link, or ask support.", NULL,
	                      NULL },
	[CANNOT(DISABLED)] = { 550, "5.7.13", "The account is disabled; ask support.", NULL, NULL },
	[CANNOT(QUOTA_SOON)] = { 451, "4.7.1", "The quota is used up; try again after its reset.",
	                         " It resets at ", NULL },
	[CANNOT(QUOTA)] = { 550, "5.7.1",
	                    "The quota is used up; wait for its reset, or get more.", NULL, NULL },
	[CANNOT(UNKNOWN)] = { 550, "5.7.13", "The account does not exist any more; ask support.",
	                      NULL, NULL },
	[CANNOT(RATE)] = { 451, "4.7.1", "The account's messages a minute are used up.",
	                   " It may try again after ",
	                   "Too many messages from this account now, try again later." },
};

const char *verdict_text(Holdfast__VerdictClass class)
{
	return (unsigned)class < ARRAY_LEN(texts) ? texts[class] : NULL;
}

const char *verdict_name(Holdfast__VerdictClass class)
{
	bool known = (unsigned)class < ARRAY_LEN(verdict_names) - 1;

	return known ? verdict_names[class] : "unknown";
}

const char *verdict_exception(const Holdfast__Verdict *v)
{
	bool known = (unsigned)v->class_ < ARRAY_LEN(exceptions);

	return exceptions[known ? v->class_ : CLASS(CANNOT_SEND)];
}

const char *hold_reason_name(Holdfast__HoldReason reason)
{
	return (unsigned)reason < ARRAY_LEN(reasons) ? reasons[reason] : "unknown";
}

static const struct answer *find_answer(const Holdfast__Verdict *v)
{
	if (v->class_ == CLASS(BOUNCE))
		return v->soft ? &bounced_soft : &bounced_hard;
	if (v->class_ == CLASS(UNSUBSCRIBE))
		return &unsubscribed;
	if (v->class_ == CLASS(BLOCK))
		return &blocked;
	return &cannot[(unsigned)v->cannot < ARRAY_LEN(cannot) ? v->cannot : CANNOT(NONE)];
}

/* "<before>2026-11-24 09:00:00 UTC.", never earlier than ms. */
static void add_utc(struct buf *out, const char *before, uint64_t ms)
{
	time_t t = (time_t)(ms / 1000 + (ms % 1000 != 0));
	char text[40];
	struct tm tm;

	if (gmtime_r(&t, &tm) == NULL)
		return;
	if (strftime(text, sizeof(text), "%Y-%m-%d %H:%M:%S UTC", &tm) > 0)
		buf_addf(out, "%s%s.", before, text);
}

void verdict_reply(struct buf *out, const Holdfast__Verdict *v)
{
	const struct answer *a = find_answer(v);
	const char *text = a->text != NULL ? a->text : verdict_text(v->class_);
	struct buf lines = BUF_INIT;

	assert(v->class_ != CLASS(OK) && v->class_ != CLASS(HOLD));
	buf_addf(&lines, "%s\n%s", text != NULL ? text : texts[CLASS(CANNOT_SEND)], a->cure);
	if (a->when != NULL)
		add_utc(&lines, a->when, v->reset_ms);
	if (v->verdict_id.len == UUID_LEN) {
		char id[UUID_CHARS + 1];
		struct uuid u;

		memcpy(u.b, v->verdict_id.data, UUID_LEN);
		uuid_text(&u, id);
		buf_addf(&lines, " verdict %s", id);
	}
	smtp_reply_add(out, a->code, a->enhanced, buf_str(&lines));
	buf_free(&lines);
}

void verdict_held_reply(struct buf *out, const char *id)
{
	buf_addf(out, "250 2.0.0 %s Queued as %s\r\n", texts[CLASS(HOLD)], id);
}
