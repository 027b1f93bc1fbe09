/* holdq/filter.c - which held mail is meant; see filter.h
 *
 * Bytes in, yes or no out: no store, no clock, no allocation.
 */
#include "holdq/filter.h"

#include <string.h>
#include <strings.h>

#define TEXT_MAX 256

static int lower(int c)
{
	return c >= 'A' && c <= 'Z' ? c + 'a' - 'A' : c;
}

static bool same(const uint8_t *a, const uint8_t *b, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (lower(a[i]) != lower(b[i]))
			return false;
	return true;
}

static bool same_text(ProtobufCBinaryData a, ProtobufCBinaryData b)
{
	return a.len == b.len && same(a.data, b.data, a.len);
}

static bool contains(ProtobufCBinaryData text, ProtobufCBinaryData part)
{
	for (size_t at = 0; at + part.len <= text.len; at++)
		if (same(text.data + at, part.data, part.len))
			return true;
	return false;
}

static bool in_domain(ProtobufCBinaryData address, ProtobufCBinaryData domain)
{
	const uint8_t *at;

	if (address.len <= domain.len)
		return false;
	at = address.data + address.len - domain.len;
	return at[-1] == '@' && same(at, domain.data, domain.len);
}

static bool any_in_domain(const Holdfast__Envelope *env, ProtobufCBinaryData domain)
{
	for (size_t i = 0; i < env->n_rcpt; i++)
		if (in_domain(env->rcpt[i]->address, domain))
			return true;
	return false;
}

enum err filter_check(const Holdfast__HeldFilter *f)
{
	const ProtobufCBinaryData *texts[] = { &f->account, &f->sender, &f->domain, &f->subject };

	for (size_t i = 0; i < ARRAY_LEN(texts); i++)
		if (texts[i]->len > TEXT_MAX)
			return ERR_RANGE;
	if (f->n_message_id > FILTER_IDS_MAX)
		return ERR_RANGE;
	for (size_t i = 0; i < f->n_message_id; i++)
		if (f->message_id[i].len != UUID_LEN)
			return ERR_RANGE;
	return ERR_OK;
}

bool filter_match(const Holdfast__HeldFilter *f, const struct held *h, uint64_t now_ms)
{
	const Holdfast__Envelope *e = h->env;

	if (h->state != HELD_WAITING && h->state != HELD_RELEASING)
		return false;
	if (f->account.len > 0 && !same_text(f->account, e->account))
		return false;
	if (f->sender.len > 0 && !same_text(f->sender, e->mail_from))
		return false;
	if (f->domain.len > 0 && !any_in_domain(e, f->domain))
		return false;
	if (f->subject.len > 0 && !contains(e->subject, f->subject))
		return false;
	if (f->older_than_ms > 0 &&
	    (now_ms < h->held_ms || now_ms - h->held_ms <= f->older_than_ms))
		return false;
	return true;
}
