/* ingest/terms.c - the terms of an account
 *
 * Owns its copies.  A domain that cannot be read is nobody's.
 */
#include "ingest/terms.h"

#include <string.h>
#include "lib/buf.h"
#include "lib/mem.h"
#include "proto/smtp_addr.h"

static char *text_of(ProtobufCBinaryData b)
{
	return xstrndup(b.len > 0 ? (const char *)b.data : "", b.len);
}

void terms_take(struct terms *t, const Holdfast__Terms *from)
{
	*t = (struct terms){ 0 };
	if (from == NULL)
		return;
	t->check_from = from->check_from;
	t->accept_refused = from->accept_refused;
	t->notify = from->notify;
	t->manager = text_of(from->manager);
	t->from_domain = xcalloc(from->n_from_domain + 1, sizeof(char *));
	for (size_t i = 0; i < from->n_from_domain; i++)
		t->from_domain[i] = text_of(from->from_domain[i]);
	t->n_from_domain = from->n_from_domain;
}

void terms_free(struct terms *t)
{
	for (size_t i = 0; i < t->n_from_domain; i++)
		xfree(t->from_domain[i]);
	xfree(t->from_domain);
	xfree(t->manager);
	*t = (struct terms){ 0 };
}

static bool covers(const char *entry, const char *domain)
{
	size_t n = strlen(domain), len = strlen(entry);

	if (entry[0] != '.')
		return strcmp(entry, domain) == 0;
	return strcmp(entry + 1, domain) == 0 ||
	       (n > len && strcmp(domain + n - len, entry) == 0);
}

static bool registered(const struct terms *t, const char *domain)
{
	for (size_t i = 0; i < t->n_from_domain; i++)
		if (covers(t->from_domain[i], domain))
			return true;
	return false;
}

bool terms_allow_domain(const struct terms *t, const char *domain)
{
	return !t->check_from || registered(t, domain);
}

bool terms_name_sender(const struct terms *t, const char *address)
{
	struct buf key = BUF_INIT;
	bool ok = smtp_addr_key(address, strlen(address), &key) == ERR_OK &&
	          registered(t, smtp_key_domain(buf_str(&key)));

	buf_free(&key);
	return ok;
}

bool terms_allow_sender(const struct terms *t, const char *address)
{
	return !t->check_from || address[0] == '\0' || terms_name_sender(t, address);
}
