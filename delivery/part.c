/* delivery/part.c - see part.h
 *
 * Text of an envelope is checked here once, before it can reach a command line of SMTP.
 */
#include <stdio.h>
#include <string.h>
#include "lib/log.h"
#include "delivery/client.h"
#include "delivery/dest.h"
#include "delivery/part.h"
#include "proto/smtp_addr.h"

const char *const ending_names[] = {
	[END_NONE] = "none", [END_DELIVERED] = "delivered", [END_BOUNCED] = "bounced",
	[END_EXPIRED] = "expired", [END_SUPPRESSED] = "suppressed",
	[END_DEFERRED] = "deferred", [END_POSTPONED] = "postponed", NULL
};

void part_key(uint8_t out[PART_KEY], const uint8_t id[16], uint32_t part)
{
	memcpy(out, id, 16);
	out[16] = (uint8_t)(part >> 24);
	out[17] = (uint8_t)(part >> 16);
	out[18] = (uint8_t)(part >> 8);
	out[19] = (uint8_t)part;
}

uint32_t part_number(const struct part *p)
{
	return (uint32_t)p->key[16] << 24 | (uint32_t)p->key[17] << 16 |
	       (uint32_t)p->key[18] << 8 | p->key[19];
}

static bool text_ok(ProtobufCBinaryData d, size_t max)
{
	if (d.len > max)
		return false;
	for (size_t i = 0; i < d.len; i++)
		if (d.data[i] < 0x20 || d.data[i] == 0x7f)
			return false;
	return true;
}

/* An address goes out in a command line: it may not end the <> or hold a control byte. */
static bool address_ok(ProtobufCBinaryData d)
{
	return text_ok(d, SMTP_ADDR_MAX);
}

/* What goes out as a parameter of MAIL or RCPT: no space, no control byte, none above max. */
static bool param_ok(ProtobufCBinaryData d, uint8_t max)
{
	if (d.len > PART_PARAM_MAX)
		return false;
	for (size_t i = 0; i < d.len; i++)
		if (d.data[i] <= 0x20 || d.data[i] == 0x7f || d.data[i] > max)
			return false;
	return true;
}

static bool rcpt_ok(const Holdfast__Recipient *r)
{
	bool never = (r->notify & CLIENT_NEVER) != 0;

	return r->address.len > 0 && address_ok(r->address) && param_ok(r->orcpt, 0xff) &&
	       r->notify < 2 * CLIENT_DELAY && (!never || r->notify == CLIENT_NEVER);
}

const char *envelope_check(const Holdfast__Envelope *env, size_t body_len)
{
	if (env == NULL || env->message_id.len != 16)
		return "no message id";
	if (env->n_rcpt == 0 || env->n_rcpt > PART_RCPT_MAX)
		return "number of recipients";
	if (env->size != body_len || body_len == 0)
		return "size of the body";
	if (!text_ok(env->account, 64) || !address_ok(env->mail_from))
		return "account or sender";
	if (!param_ok(env->envid, 0x7e))
		return "envelope id";
	for (size_t i = 0; i < env->n_rcpt; i++)
		if (!rcpt_ok(env->rcpt[i]))
			return "recipient";
	return NULL;
}

static size_t text_size(const Holdfast__Envelope *env)
{
	size_t len = env->account.len + 1 + env->mail_from.len + 1 + env->envid.len + 1;

	for (size_t i = 0; i < env->n_rcpt; i++)
		len += env->rcpt[i]->address.len + 1 + env->rcpt[i]->orcpt.len + 1;
	return len;
}

static const char *text_put(char **at, ProtobufCBinaryData d)
{
	char *p = *at;

	if (d.len > 0)
		memcpy(p, d.data, d.len);
	p[d.len] = '\0';
	*at = p + d.len + 1;
	return p;
}

static void rcpt_init(struct rcpt *r, const Holdfast__Recipient *from, char **text)
{
	const char *at;

	r->addr_len = (uint16_t)from->address.len;
	r->addr = text_put(text, from->address);
	r->orcpt = text_put(text, from->orcpt);
	r->index = from->index;
	r->notify = (uint8_t)from->notify;
	at = strrchr(r->addr, '@');
	r->domain = at != NULL ? (uint16_t)(at + 1 - r->addr) : r->addr_len;
}

struct part *part_new(const Holdfast__Envelope *env)
{
	size_t head = sizeof(struct part) + env->n_rcpt * sizeof(struct rcpt);
	struct part *p = xmalloc(head + text_size(env));
	char *text = (char *)p + head;

	memset(p, 0, head);
	part_key(p->key, env->message_id.data, env->part);
	LIST_INIT(&p->jobs);
	p->received_ms = env->received_ms;
	p->size = env->size;
	p->eight_bit = env->eight_bit;
	p->counted = env->counted;
	p->account = text_put(&text, env->account);
	p->mail_from = text_put(&text, env->mail_from);
	p->envid = text_put(&text, env->envid);
	p->utf8 = env->utf8;
	p->require_tls = env->require_tls;
	p->ret = env->ret;
	p->n_rcpt = p->n_waiting = (uint32_t)env->n_rcpt;
	for (size_t i = 0; i < env->n_rcpt; i++)
		rcpt_init(&p->rcpt[i], env->rcpt[i], &text);
	return p;
}

void part_free(struct part **pp)
{
	struct part *p = *pp;

	if (p == NULL)
		return;
	if (p->n_jobs != 0)
		die_bug("a part is freed that has jobs");
	for (uint32_t i = 0; i < p->n_rcpt; i++)
		xfree(p->rcpt[i].last);
	blob_unref(&p->body);
	xfree(p);
	*pp = NULL;
}

void part_goto(struct part *p, enum part_state to)
{
	static const uint8_t legal[] = {
		[PART_TAKING] = 1u << PART_ACTIVE,
		[PART_ACTIVE] = 1u << PART_LEAVING,
		[PART_LEAVING] = 0,
	};

	if (!(legal[p->state] & (1u << to)))
		die_bug("a part takes a step that is not legal");
	p->state = to;
}

bool part_is_report(const struct part *p)
{
	return p->account[0] == '\0' && p->mail_from[0] == '\0';
}

bool part_is_strict(const struct part *p)
{
	return p->require_tls && (p->mail_from[0] != '\0' || p->attempts == 0);
}

void part_dest(const struct part *p, const struct rcpt *r, char out[PART_DEST_MAX])
{
	static const char mark[] = { PART_DEST_STRICT, '\0' };

	snprintf(out, PART_DEST_MAX, "%s%s", part_is_strict(p) ? mark : "", r->addr + r->domain);
}

void part_first_dest(const struct part *p, char out[PART_DEST_MAX])
{
	const struct rcpt *r = p->rcpt;

	while (r->ended && r + 1 < p->rcpt + p->n_rcpt)
		r++;
	part_dest(p, r, out);
}

struct job *job_new(struct part *p, struct dest *d, const uint16_t *rcpt, unsigned n)
{
	struct job *j = xmalloc(sizeof(*j) + n * sizeof(j->rcpt[0]));

	memset(j, 0, sizeof(*j));
	j->part = p;
	j->dest = d;
	d->n_refs++;
	j->checked_ms = p->checked_ms;
	j->n = (uint16_t)n;
	memcpy(j->rcpt, rcpt, n * sizeof(j->rcpt[0]));
	LIST_INSERT_HEAD(&p->jobs, j, of_part);
	p->n_jobs++;
	return j;
}

void job_free(struct job **jp)
{
	struct job *j = *jp;

	LIST_REMOVE(j, of_part);
	j->part->n_jobs--;
	j->dest->n_refs--;
	xfree(j);
	*jp = NULL;
}

void job_goto(struct job *j, enum job_state to)
{
	static const uint8_t legal[] = {
		[JOB_NEW] = 1u << JOB_CHECKING | 1u << JOB_READY,
		[JOB_CHECKING] = 1u << JOB_READY | 1u << JOB_NEW,
		[JOB_READY] = 1u << JOB_WORKING | 1u << JOB_NEW,
		[JOB_WORKING] = 1u << JOB_NEW,
	};

	if (!(legal[j->state] & (1u << to)))
		die_bug("a job takes a step that is not legal");
	j->state = to;
}

void rcpt_remember(struct rcpt *r, const uint8_t *packed, size_t len)
{
	xfree(r->last);
	r->last = len > 0 ? xmemdup(packed, len) : NULL;
	r->last_len = (uint32_t)len;
}
