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
	/* Postfix could not verify it now, or is told to answer so while it tries. */
	{ 1, 1, "unverified address", { BLOCK, "text-unverified" } },
	{ 2, 1, "greylist", { BLOCK, "text-greylisted" } },
	/* Outlook's old answer for accounts that do not exist. */
	{ 5, 0, "mailbox unavailable", { HARD, "text-no-such-mailbox" } },
};

/* Codes that servers are set to give for anything: one that goes with an unmistakable text
 * about the mailbox is not believed. */
static const struct {
	int subject, detail;
} vague[] = { { 3, 0 }, { 4, 1 }, { 4, 4 }, { 5, 0 }, { 5, 1 }, { 7, 0 }, { 7, 1 } };

/* ---- by text: pieces between * must follow each other */

struct text_rule {
	const char *text;
	struct verdict is;
};

/* About us: our address, our name, our content, their rules. */
static const struct text_rule about_us[] = {
	/* One sentence that names all it could be, given for unknown accounts (cPanel). */
	{ "account or domain may not exist", { HARD, "text-no-such-mailbox" } },
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
	{ "rejected by header", { BLOCK, "text-content" } },
	{ "prohibit", { BLOCK, "text-policy" } },
	{ "not authorized", { BLOCK, "text-policy" } },
	{ "unsolicited", { BLOCK, "text-spam" } },
	{ "bulk mail", { BLOCK, "text-spam" } },
	{ "unverified address", { BLOCK, "text-unverified" } },
	{ "timed out", { BLOCK, "text-later" } },
};

/* The mailbox is there and does not take it. */
static const struct text_rule about_mailbox[] = {
	{ "quota", { SOFT, "text-mailbox-full" } },
	{ "mailbox*full", { SOFT, "text-mailbox-full" } },
	{ "inbox*full", { SOFT, "text-mailbox-full" } },
	{ "mailbox*limit", { SOFT, "text-mailbox-full" } },
	{ "mailbox*size", { SOFT, "text-mailbox-full" } },
	{ "mailfolder is full", { SOFT, "text-mailbox-full" } },
	{ "out of space", { SOFT, "text-mailbox-full" } },
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
	{ "account is locked", { SOFT, "text-mailbox-disabled" } },
	{ "mailbox is locked", { SOFT, "text-mailbox-disabled" } },
	{ "account locked", { SOFT, "text-mailbox-disabled" } },
	{ "frozen", { SOFT, "text-mailbox-disabled" } },
	{ "account*expired", { SOFT, "text-mailbox-disabled" } },
	{ "mailbox*expired", { SOFT, "text-mailbox-disabled" } },
};

/* There is no such mailbox: these can mean nothing else. */
static const struct text_rule no_mailbox[] = {
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
	{ "recipient unrecognized", { HARD, "text-no-such-mailbox" } },
	{ "recipient not recognized", { HARD, "text-no-such-mailbox" } },
	{ "undeliverable address", { HARD, "text-no-such-mailbox" } },
	{ "address is undeliverable", { HARD, "text-no-such-mailbox" } },
	{ "not our customer", { HARD, "text-no-such-mailbox" } },
	{ "not listed in*directory", { HARD, "text-no-such-mailbox" } },
	{ "no user by", { HARD, "text-no-such-mailbox" } },
	{ "there is no user", { HARD, "text-no-such-mailbox" } },
	{ "mailbox*no longer", { HARD, "text-no-such-mailbox" } },
	{ "address*no longer", { HARD, "text-no-such-mailbox" } },
	{ "user*no longer", { HARD, "text-no-such-mailbox" } },
	{ "account*no longer", { HARD, "text-no-such-mailbox" } },
	{ "nosuchuser", { HARD, "text-no-such-mailbox" } },
	{ "recipientnotfound", { HARD, "text-no-such-mailbox" } },
	{ "recipnotfound", { HARD, "text-no-such-mailbox" } },
	{ "account that you tried to reach does not exist", { HARD, "text-no-such-mailbox" } },
	{ "does not have a*account", { HARD, "text-no-such-mailbox" } },
	{ "this user doesn't have a", { HARD, "text-no-such-mailbox" } },
	{ "no account by that name", { HARD, "text-no-such-mailbox" } },
	{ "owner has changed", { HARD, "text-owner-changed" } },
};

/* Refusals that mean it where nothing better is said.  What Postfix puts before any cause
 * at all is not among them. */
static const struct text_rule mailbox_refused[] = {
	{ "mailbox name not allowed", { HARD, "text-mailbox-refused" } },
	{ "mailbox unavailable", { HARD, "text-mailbox-refused" } },
	{ "recipient is not allowed", { HARD, "text-mailbox-refused" } },
	{ "recipient*denied", { HARD, "text-mailbox-refused" } },
	{ "cannot deliver mail for", { HARD, "text-mailbox-refused" } },
	{ "permanent failure for one or more recipients", { HARD, "text-mailbox-refused" } },
	{ "recipient address rejected", { BLOCK, "text-unclear" } },
	{ "recipient rejected", { HARD, "text-mailbox-refused" } },
	{ "address rejected", { HARD, "text-mailbox-refused" } },
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

/* Lower case, lines joined: patterns may lie across a line's end.  Addresses become blanks:
 * what words a name is made of means nothing ("spam@example.org: no such user"). */
static void fold(const struct outcome *o, char out[TEXT_MAX])
{
	static const char ends[] = " <>()[]\"',;:";
	size_t n = o->text_len < TEXT_MAX - 1 ? o->text_len : TEXT_MAX - 1;

	for (size_t i = 0; i < n; i++) {
		unsigned char c = (unsigned char)o->text[i];

		out[i] = c < 32 ? ' ' : (char)tolower(c);
	}
	out[n] = '\0';
	for (char *word = out; *word != '\0';) {
		size_t len = strcspn(word, ends);

		if (memchr(word, '@', len) != NULL)
			memset(word, ' ', len);
		word += len + (word[len] != '\0');
	}
}

static bool read_status(const char *enhanced, int *subject, int *detail)
{
	return enhanced != NULL && sscanf(enhanced, "%*1[245].%3d.%3d", subject, detail) == 2;
}

/* "(#5.1.1)", "#5.1.0 Address rejected": a status that stands where none belongs, but not the
 * piece of an IP address or of a version. */
static bool find_status(const char *text, int *subject, int *detail)
{
	for (const char *p = text; (p = strpbrk(p, "45")) != NULL; p++) {
		int n = 0;

		if (p > text && strchr(" (#[", p[-1]) == NULL)
			continue;
		if (sscanf(p, "%*1[45].%3d.%3d%n", subject, detail, &n) == 2 &&
		    strchr(" )]:;,", p[n]) != NULL)
			return true;
	}
	return false;
}

static bool match(const struct text_rule *rules, size_t n, const char *text, struct verdict *out)
{
	for (size_t i = 0; i < n; i++) {
		if (!has_pieces(text, rules[i].text))
			continue;
		*out = rules[i].is;
		return true;
	}
	return false;
}

static bool is_vague(int subject, int detail)
{
	for (size_t i = 0; i < ARRAY_LEN(vague); i++)
		if (vague[i].subject == subject && vague[i].detail == detail)
			return true;
	return false;
}

/* The text says what the mailbox is, and nothing about us. */
static bool is_unmistakable(const char *text, struct verdict *out)
{
	struct verdict us;

	if (match(about_us, ARRAY_LEN(about_us), text, &us))
		return false;
	return match(about_mailbox, ARRAY_LEN(about_mailbox), text, out) ||
	       match(no_mailbox, ARRAY_LEN(no_mailbox), text, out);
}

static bool judge_status(int subject, int detail, const char *text, struct verdict *out)
{
	for (size_t i = 0; i < ARRAY_LEN(by_status_and_text); i++) {
		if (by_status_and_text[i].subject != subject ||
		    by_status_and_text[i].detail != detail ||
		    !has_pieces(text, by_status_and_text[i].text))
			continue;
		*out = by_status_and_text[i].is;
		return true;
	}
	if (is_vague(subject, detail) && is_unmistakable(text, out))
		return true;
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
	return match(about_us, ARRAY_LEN(about_us), text, out) ||
	       match(about_mailbox, ARRAY_LEN(about_mailbox), text, out) ||
	       match(no_mailbox, ARRAY_LEN(no_mailbox), text, out) ||
	       match(mailbox_refused, ARRAY_LEN(mailbox_refused), text, out);
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
	int subject, detail;

	fold(o, text);
	if ((read_status(o->enhanced, &subject, &detail) || find_status(text, &subject, &detail)) &&
	    judge_status(subject, detail, text, &v))
		return v;
	if (judge_text(text, &v))
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
