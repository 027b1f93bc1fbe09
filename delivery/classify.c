/* delivery/classify.c - the rules by which a reply is judged
 *
 * Tables, read from the top: the first row that fits decides.  The texts are what the
 * world's servers say (Postfix, Exim, Exchange, Gmail, Yahoo, qmail, Barracuda,
 * Proofpoint and their like), matched without regard to case.
 */
#include "delivery/classify.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include "lib/err.h"

#define HARD  HOLDFAST__BOUNCE_CLASS__BOUNCE_HARD
#define SOFT  HOLDFAST__BOUNCE_CLASS__BOUNCE_SOFT
#define BLOCK HOLDFAST__BOUNCE_CLASS__BOUNCE_BLOCK

enum { TEXT_MAX = 1024, ANY = -1 };

struct verdict {
	Holdfast__BounceClass class;
	const char *rule;
};

/* ---- by enhanced code: subject, detail; ANY fits every detail */

static const struct {
	int subject, detail;
	struct verdict is;
} by_status[] = {
	{ 1, 1, { HARD, "status-no-such-mailbox" } },
	{ 1, 2, { HARD, "status-no-such-domain" } },
	{ 1, 3, { HARD, "status-bad-address" } },
	{ 1, 4, { BLOCK, "status-ambiguous" } },
	{ 1, 6, { HARD, "status-mailbox-moved" } },
	{ 1, 10, { HARD, "status-null-mx" } },
	{ 1, 7, { BLOCK, "status-sender" } },
	{ 1, 8, { BLOCK, "status-sender" } },
	{ 2, 1, { SOFT, "status-mailbox-disabled" } },
	{ 2, 2, { SOFT, "status-mailbox-full" } },
	{ 2, 3, { BLOCK, "status-too-large" } },
	{ 2, 4, { SOFT, "status-list-expansion" } },
	{ 3, ANY, { BLOCK, "status-system" } },
	{ 4, ANY, { BLOCK, "status-network" } },
	{ 5, ANY, { BLOCK, "status-protocol" } },
	{ 6, ANY, { BLOCK, "status-content" } },
	{ 7, 13, { SOFT, "status-account-disabled" } },
	{ 7, 17, { HARD, "status-owner-changed" } },
	{ 7, 18, { HARD, "status-owner-changed" } },
	{ 7, ANY, { BLOCK, "status-policy" } },
};

/* Codes that servers give with texts that say more: the text is asked first. */
static const struct {
	int subject, detail;
	const char *text;
	struct verdict is;
} by_status_and_text[] = {
	/* Exchange Online answers so for addresses that its directory does not know. */
	{ 4, 1, "recipient address rejected: access denied", { HARD, "exchange-no-recipient" } },
	{ 1, 1, "spam", { BLOCK, "text-spam" } },
	{ 1, 1, "blocked", { BLOCK, "text-blocked" } },
	{ 1, 1, "blacklist", { BLOCK, "text-blocked" } },
	{ 2, 1, "greylist", { BLOCK, "text-greylisted" } },
	{ 7, 1, "user unknown", { HARD, "text-no-such-mailbox" } },
	{ 7, 1, "no such user", { HARD, "text-no-such-mailbox" } },
	{ 7, 1, "recipient*does not exist", { HARD, "text-no-such-mailbox" } },
};

/* ---- by text: pieces between * must follow each other */

static const struct {
	const char *text;
	struct verdict is;
} by_text[] = {
	/* about us: our address, our name, our content, their rules */
	{ "greylist", { BLOCK, "text-greylisted" } },
	{ "graylist", { BLOCK, "text-greylisted" } },
	{ "spam", { BLOCK, "text-spam" } },
	{ "virus", { BLOCK, "text-spam" } },
	{ "phish", { BLOCK, "text-spam" } },
	{ "malware", { BLOCK, "text-spam" } },
	{ "blacklist", { BLOCK, "text-blocked" } },
	{ "black list", { BLOCK, "text-blocked" } },
	{ "blocklist", { BLOCK, "text-blocked" } },
	{ "block list", { BLOCK, "text-blocked" } },
	{ "blocked", { BLOCK, "text-blocked" } },
	{ "dnsbl", { BLOCK, "text-blocked" } },
	{ "rbl", { BLOCK, "text-blocked" } },
	{ "is listed", { BLOCK, "text-blocked" } },
	{ "reputation", { BLOCK, "text-blocked" } },
	{ "dmarc", { BLOCK, "text-authentication" } },
	{ "dkim", { BLOCK, "text-authentication" } },
	{ "spf", { BLOCK, "text-authentication" } },
	{ "authentication", { BLOCK, "text-authentication" } },
	{ "sender", { BLOCK, "text-sender" } },
	{ "reverse dns", { BLOCK, "text-sender" } },
	{ "ptr record", { BLOCK, "text-sender" } },
	{ "helo", { BLOCK, "text-sender" } },
	{ "your ip", { BLOCK, "text-sender" } },
	{ "policy", { BLOCK, "text-policy" } },
	{ "policies", { BLOCK, "text-policy" } },
	{ "content", { BLOCK, "text-content" } },
	{ "rate limit", { BLOCK, "text-rate" } },
	{ "too many", { BLOCK, "text-rate" } },
	{ "try again", { BLOCK, "text-later" } },
	{ "temporar", { BLOCK, "text-later" } },
	{ "relay", { BLOCK, "text-relay" } },
	{ "rcpthosts", { BLOCK, "text-relay" } },
	{ "unroutable", { BLOCK, "text-relay" } },
	{ "unrouteable", { BLOCK, "text-relay" } },
	{ "loop", { BLOCK, "text-loop" } },
	{ "dns check failed", { BLOCK, "text-sender" } },
	/* the mailbox is there and does not take it */
	{ "quota", { SOFT, "text-mailbox-full" } },
	{ "mailbox*full", { SOFT, "text-mailbox-full" } },
	{ "inbox*full", { SOFT, "text-mailbox-full" } },
	{ "mailbox*limit", { SOFT, "text-mailbox-full" } },
	{ "mailbox*size", { SOFT, "text-mailbox-full" } },
	{ "storage", { SOFT, "text-mailbox-full" } },
	{ "insufficient*space", { SOFT, "text-mailbox-full" } },
	{ "stuffed", { SOFT, "text-mailbox-full" } },
	{ "disabled", { SOFT, "text-mailbox-disabled" } },
	{ "suspended", { SOFT, "text-mailbox-disabled" } },
	{ "inactive", { SOFT, "text-mailbox-disabled" } },
	{ "not active", { SOFT, "text-mailbox-disabled" } },
	{ "not activated", { SOFT, "text-mailbox-disabled" } },
	{ "deactivated", { SOFT, "text-mailbox-disabled" } },
	{ "account closed", { SOFT, "text-mailbox-disabled" } },
	{ "locked", { SOFT, "text-mailbox-disabled" } },
	/* there is no such mailbox */
	{ "null mx", { HARD, "text-null-mx" } },
	{ "no such user", { HARD, "text-no-such-mailbox" } },
	{ "no such mailbox", { HARD, "text-no-such-mailbox" } },
	{ "no such recipient", { HARD, "text-no-such-mailbox" } },
	{ "no such address", { HARD, "text-no-such-mailbox" } },
	{ "no such account", { HARD, "text-no-such-mailbox" } },
	{ "no such person", { HARD, "text-no-such-mailbox" } },
	{ "no such id", { HARD, "text-no-such-mailbox" } },
	{ "no mailbox", { HARD, "text-no-such-mailbox" } },
	{ "no mail-box", { HARD, "text-no-such-mailbox" } },
	{ "unknown user", { HARD, "text-no-such-mailbox" } },
	{ "unknown recipient", { HARD, "text-no-such-mailbox" } },
	{ "unknown mailbox", { HARD, "text-no-such-mailbox" } },
	{ "unknown address", { HARD, "text-no-such-mailbox" } },
	{ "unknown local", { HARD, "text-no-such-mailbox" } },
	{ "user*unknown", { HARD, "text-no-such-mailbox" } },
	{ "recipient*unknown", { HARD, "text-no-such-mailbox" } },
	{ "address*unknown", { HARD, "text-no-such-mailbox" } },
	{ "mailbox*unknown", { HARD, "text-no-such-mailbox" } },
	{ "account*unknown", { HARD, "text-no-such-mailbox" } },
	{ "inconnu", { HARD, "text-no-such-mailbox" } },
	{ "desconocido", { HARD, "text-no-such-mailbox" } },
	{ "unbekannt", { HARD, "text-no-such-mailbox" } },
	{ "sconosciuto", { HARD, "text-no-such-mailbox" } },
	{ "mailbox*not found", { HARD, "text-no-such-mailbox" } },
	{ "user*not found", { HARD, "text-no-such-mailbox" } },
	{ "recipient*not found", { HARD, "text-no-such-mailbox" } },
	{ "address*not found", { HARD, "text-no-such-mailbox" } },
	{ "account*not found", { HARD, "text-no-such-mailbox" } },
	{ "domain not found", { HARD, "text-no-such-domain" } },
	{ "mailbox*not exist", { HARD, "text-no-such-mailbox" } },
	{ "user*not exist", { HARD, "text-no-such-mailbox" } },
	{ "recipient*not exist", { HARD, "text-no-such-mailbox" } },
	{ "address*not exist", { HARD, "text-no-such-mailbox" } },
	{ "account*not exist", { HARD, "text-no-such-mailbox" } },
	{ "user*doesn't exist", { HARD, "text-no-such-mailbox" } },
	{ "account*doesn't exist", { HARD, "text-no-such-mailbox" } },
	{ "user*doesn't have", { HARD, "text-no-such-mailbox" } },
	{ "invalid mailbox", { HARD, "text-no-such-mailbox" } },
	{ "invalid recipient", { HARD, "text-no-such-mailbox" } },
	{ "invalid address", { HARD, "text-no-such-mailbox" } },
	{ "invalid user", { HARD, "text-no-such-mailbox" } },
	{ "invalid account", { HARD, "text-no-such-mailbox" } },
	{ "address invalid", { HARD, "text-no-such-mailbox" } },
	{ "not a valid user", { HARD, "text-no-such-mailbox" } },
	{ "not a valid mailbox", { HARD, "text-no-such-mailbox" } },
	{ "not a valid recipient", { HARD, "text-no-such-mailbox" } },
	{ "mailbox name not allowed", { HARD, "text-no-such-mailbox" } },
	{ "mailbox unavailable", { HARD, "text-no-such-mailbox" } },
	{ "recipient unrecognized", { HARD, "text-no-such-mailbox" } },
	{ "recipient not recognized", { HARD, "text-no-such-mailbox" } },
	{ "recipient is not allowed", { HARD, "text-no-such-mailbox" } },
	{ "recipient*denied", { HARD, "text-no-such-mailbox" } },
	{ "undeliverable address", { HARD, "text-no-such-mailbox" } },
	{ "address is undeliverable", { HARD, "text-no-such-mailbox" } },
	{ "cannot deliver mail for", { HARD, "text-no-such-mailbox" } },
	{ "not our customer", { HARD, "text-no-such-mailbox" } },
	{ "permanent failure for one or more recipients", { HARD, "text-no-such-mailbox" } },
	{ "owner has changed", { HARD, "text-owner-changed" } },
};

/* ---- by basic code, where nothing else was said */

static const struct {
	int code;
	struct verdict is;
} by_code[] = {
	{ 452, { SOFT, "code-452" } },
	{ 552, { SOFT, "code-552" } },
	{ 556, { HARD, "code-556" } },
};

/* ---- matching */

static bool has_pieces(const char *text, const char *pattern)
{
	while (*pattern != '\0') {
		char piece[64];
		size_t n = strcspn(pattern, "*");

		snprintf(piece, sizeof(piece), "%.*s", (int)n, pattern);
		text = strstr(text, piece);
		if (text == NULL)
			return false;
		text += n;
		pattern += n + (pattern[n] == '*');
	}
	return true;
}

/* Lower case, lines joined: patterns may lie across a line's end. */
static void fold(const struct outcome *o, char out[TEXT_MAX])
{
	size_t n = o->text_len < TEXT_MAX - 1 ? o->text_len : TEXT_MAX - 1;

	for (size_t i = 0; i < n; i++) {
		unsigned char c = (unsigned char)o->text[i];

		out[i] = c < 32 ? ' ' : (char)tolower(c);
	}
	out[n] = '\0';
}

static bool status_parts(const char *enhanced, int *subject, int *detail)
{
	return enhanced != NULL && sscanf(enhanced, "%*1[245].%3d.%3d", subject, detail) == 2;
}

static bool judge_status(const struct outcome *o, const char *text, struct verdict *out)
{
	int subject, detail;

	if (!status_parts(o->enhanced, &subject, &detail))
		return false;
	for (size_t i = 0; i < ARRAY_LEN(by_status_and_text); i++) {
		if (by_status_and_text[i].subject != subject ||
		    by_status_and_text[i].detail != detail ||
		    !has_pieces(text, by_status_and_text[i].text))
			continue;
		*out = by_status_and_text[i].is;
		return true;
	}
	for (size_t i = 0; i < ARRAY_LEN(by_status); i++) {
		if (by_status[i].subject != subject ||
		    (by_status[i].detail != ANY && by_status[i].detail != detail))
			continue;
		*out = by_status[i].is;
		return true;
	}
	return false;
}

static bool judge_text(const char *text, struct verdict *out)
{
	for (size_t i = 0; i < ARRAY_LEN(by_text); i++) {
		if (!has_pieces(text, by_text[i].text))
			continue;
		*out = by_text[i].is;
		return true;
	}
	return false;
}

static struct verdict judge_code(const struct outcome *o)
{
	for (size_t i = 0; i < ARRAY_LEN(by_code); i++) {
		if (by_code[i].code == o->code)
			return by_code[i].is;
	}
	return (struct verdict){ BLOCK, "code-unclear" };
}

static struct verdict judge(const struct outcome *o)
{
	struct verdict v;
	char text[TEXT_MAX];

	fold(o, text);
	if (judge_status(o, text, &v) || judge_text(text, &v))
		return v;
	return judge_code(o);
}

/* What our own look-up found: the domain is not there, or takes no mail (RFC 7505). */
static struct verdict judge_dns(const struct outcome *o)
{
	if (o->enhanced != NULL && strcmp(o->enhanced, "5.1.10") == 0)
		return (struct verdict){ HARD, "dns-null-mx" };
	if (o->enhanced != NULL && strcmp(o->enhanced, "5.1.2") == 0)
		return (struct verdict){ HARD, "dns-no-such-domain" };
	return (struct verdict){ BLOCK, "dns" };
}

void classify_outcome(struct outcome *o)
{
	static const char *const stage_rules[] = {
		"stage-none", "dns", "stage-connect", "stage-greeting", "stage-ehlo", "stage-tls",
		"stage-mail", "stage-rcpt", "stage-data", "stage-end-of-data",
	};
	struct verdict v;

	switch (o->stage) {
	case HOLDFAST__SMTP_STAGE__STAGE_RCPT:
	case HOLDFAST__SMTP_STAGE__STAGE_END_OF_DATA:
		v = o->code == 0 ? (struct verdict){ BLOCK, stage_rules[o->stage] } : judge(o);
		break;
	case HOLDFAST__SMTP_STAGE__STAGE_DNS:
		v = judge_dns(o);
		break;
	default:
		v = (struct verdict){ BLOCK, (unsigned)o->stage < ARRAY_LEN(stage_rules)
		                                     ? stage_rules[o->stage] : "stage-none" };
	}
	o->class = v.class;
	o->rule = v.rule;
}
