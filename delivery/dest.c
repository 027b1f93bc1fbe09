/* delivery/dest.c - see dest.h
 *
 * Taking turns is one list: the account whose job was taken goes to its end.
 */
#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include "delivery/dest.h"
#include "lib/log.h"

#define STRICT "tls:"

void dest_key(const struct conf_map *routes, const char *name, char out[320],
              const char **route)
{
	bool strict = *name == PART_DEST_STRICT;
	const char *domain = name + strict;
	size_t i = strict ? strlen(STRICT) : 0;

	memcpy(out, STRICT, i);
	*route = route_find(routes, domain);
	if (*route != NULL) {
		snprintf(out + i, 320 - i, "route:%s", *route);
		return;
	}
	for (; *domain != '\0' && i < 319; i++)
		out[i] = (char)tolower((unsigned char)*domain++);
	out[i] = '\0';
}

const char *dest_domain(const struct dest *d)
{
	return d->key + (d->strict ? strlen(STRICT) : 0);
}

struct dest *dest_new(const char *key)
{
	size_t len = strlen(key);
	struct dest *d = xcalloc(1, sizeof(*d) + len + 1);

	memcpy(d->key, key, len);
	TAILQ_INIT(&d->turns);
	TAILQ_INIT(&d->idle);
	return d;
}

void dest_free(struct dest **dp)
{
	struct dest *d = *dp;

	if (d == NULL)
		return;
	if (d->n_refs != 0 || d->n_sessions != 0)
		die_bug("a destination is freed that is in use");
	xfree(d->address);
	buf_free(&d->why_text);
	xfree(d);
	*dp = NULL;
}

static struct ready *ready_get(struct dest *d, const char *account)
{
	size_t len = strlen(account);
	struct ready *r;

	HASH_FIND(hh, d->by_account, account, len, r);
	if (r != NULL)
		return r;
	r = xcalloc(1, sizeof(*r) + len + 1);
	memcpy(r->account, account, len);
	TAILQ_INIT(&r->jobs);
	HASH_ADD_KEYPTR(hh, d->by_account, r->account, len, r);
	TAILQ_INSERT_TAIL(&d->turns, r, turn);
	return r;
}

static void ready_remove(struct dest *d, struct ready *r, struct job *j)
{
	TAILQ_REMOVE(&r->jobs, j, ready);
	d->n_ready--;
	TAILQ_REMOVE(&d->turns, r, turn);
	if (!TAILQ_EMPTY(&r->jobs)) {
		TAILQ_INSERT_TAIL(&d->turns, r, turn);
		return;
	}
	HASH_DEL(d->by_account, r);
	xfree(r);
}

void dest_push(struct dest *d, struct job *j)
{
	struct ready *r = ready_get(d, j->part->account);

	job_goto(j, JOB_READY);
	TAILQ_INSERT_TAIL(&r->jobs, j, ready);
	d->n_ready++;
	d->n_jobs++;
}

struct job *dest_peek(const struct dest *d)
{
	const struct ready *r = TAILQ_FIRST(&d->turns);

	return r != NULL ? TAILQ_FIRST(&r->jobs) : NULL;
}

struct job *dest_pop(struct dest *d)
{
	struct job *j = dest_peek(d);

	if (j == NULL)
		return NULL;
	ready_remove(d, TAILQ_FIRST(&d->turns), j);
	job_goto(j, JOB_WORKING);
	return j;
}

void dest_unready(struct dest *d, struct job *j)
{
	ready_remove(d, ready_get(d, j->part->account), j);
	d->n_jobs--;
	job_goto(j, JOB_NEW);
}

static void copy_text(char *to, size_t size, const char *from)
{
	snprintf(to, size, "%s", from != NULL ? from : "");
}

void dest_blame(struct dest *d, const struct outcome *why)
{
	d->why = *why;
	buf_reset(&d->why_text);
	buf_add(&d->why_text, why->text, why->text_len);
	copy_text(d->why_enhanced, sizeof(d->why_enhanced), why->enhanced);
	copy_text(d->why_host, sizeof(d->why_host), why->host);
	copy_text(d->why_ip, sizeof(d->why_ip), why->ip);
	d->why.enhanced = d->why_enhanced;
	d->why.text = buf_str(&d->why_text);
	d->why.host = d->why_host;
	d->why.ip = d->why_ip;
}
