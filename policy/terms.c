/* policy/terms.c - see policy/terms.h
 *
 * Domains and their bytes are one block, the manager's address is another.
 */
#include "policy/terms.h"

#include <string.h>
#include "lib/mem.h"
#include "proto/smtp_addr.h"

/* The keys lie one behind the other in bytes, which may move until all are there. */
static void point_keys(struct terms_domains *d)
{
	uint8_t *at = (uint8_t *)d->bytes.data;

	for (size_t i = 0; i < d->n; i++) {
		d->key[i].data = at;
		at += d->key[i].len;
	}
}

static bool has_key(struct terms_domains *d, const struct buf *key)
{
	point_keys(d);
	for (size_t i = 0; i < d->n; i++) {
		if (d->key[i].len == key->len && memcmp(d->key[i].data, key->data, key->len) == 0)
			return true;
	}
	return false;
}

enum err terms_domains(const ProtobufCBinaryData *domain, size_t n, struct terms_domains *out)
{
	struct buf key = BUF_INIT;
	enum err err = n > TERMS_DOMAINS_MAX ? ERR_TOOBIG : ERR_OK;

	for (size_t i = 0; i < n && err == ERR_OK; i++) {
		buf_reset(&key);
		err = smtp_domain_key((const char *)domain[i].data, domain[i].len, &key);
		if (err != ERR_OK || has_key(out, &key))
			continue;
		buf_add(&out->bytes, key.data, key.len);
		out->key[out->n++].len = key.len;
	}
	point_keys(out);
	buf_free(&key);
	return err;
}

bool terms_manager_good(ProtobufCBinaryData manager)
{
	struct smtp_path path;

	if (manager.len == 0)
		return true;
	return smtp_addr_parse((const char *)manager.data, manager.len, &path) == ERR_OK &&
	       path.at < path.len && path.len == manager.len;
}

/* A copy of n pieces in one block, which begins with the pieces themselves; NULL for none. */
static ProtobufCBinaryData *copy_all(const ProtobufCBinaryData *from, size_t n)
{
	size_t bytes = n * sizeof(*from);
	ProtobufCBinaryData *to;
	uint8_t *at;

	if (n == 0)
		return NULL;
	for (size_t i = 0; i < n; i++)
		bytes += from[i].len;
	to = xmalloc(bytes);
	at = (uint8_t *)(to + n);
	for (size_t i = 0; i < n; i++) {
		to[i] = (ProtobufCBinaryData){ from[i].len, at };
		if (from[i].len > 0)
			memcpy(at, from[i].data, from[i].len);
		at += from[i].len;
	}
	return to;
}

void terms_set(Holdfast__Terms *t, const Holdfast__Account *m)
{
	Holdfast__Terms fresh = HOLDFAST__TERMS__INIT;

	fresh.check_from = m->check_from;
	fresh.accept_refused = m->accept_refused;
	fresh.notify = m->notify;
	fresh.n_from_domain = m->n_from_domain;
	fresh.from_domain = copy_all(m->from_domain, m->n_from_domain);
	fresh.manager.len = m->manager.len;
	if (m->manager.len > 0) {
		fresh.manager.data = xmalloc(m->manager.len);
		memcpy(fresh.manager.data, m->manager.data, m->manager.len);
	}
	terms_free(t);
	*t = fresh;
}

void terms_message(const Holdfast__Terms *t, Holdfast__Account *m)
{
	m->check_from = t->check_from;
	m->n_from_domain = t->n_from_domain;
	m->from_domain = t->from_domain;
	m->accept_refused = t->accept_refused;
	m->notify = t->notify;
	m->manager = t->manager;
}

void terms_free(Holdfast__Terms *t)
{
	xfree(t->from_domain);
	xfree(t->manager.data);
	holdfast__terms__init(t);
}
