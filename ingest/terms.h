/* ingest/terms.h - what an account has asked for, kept for the length of a message
 *
 * A copy of the Terms that came with the verdict on MAIL.  Pure.
 */
#ifndef INGEST_TERMS_H
#define INGEST_TERMS_H

#include <stdbool.h>
#include <stddef.h>
#include "proto/holdfast.pb-c.h"

struct terms {
	bool check_from, accept_refused;
	Holdfast__NotifyWho notify;
	char  *manager;      /* "": none */
	char **from_domain;  /* list keys; ".example.org" is example.org and all below it */
	size_t n_from_domain;
};

/* from NULL: an account without any.  *t is zeroed or was freed. */
void terms_take(struct terms *t, const Holdfast__Terms *from);
void terms_free(struct terms *t);

/* May the account say that it writes for this domain (a list key)? */
bool terms_allow_domain(const struct terms *t, const char *domain);
/* The same for the address of MAIL FROM, "" included. */
bool terms_allow_sender(const struct terms *t, const char *address);
/* Is the address, not "", of a domain that the account has registered, whether that is checked
 * or not? */
bool terms_name_sender(const struct terms *t, const char *address);

#endif
