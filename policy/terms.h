/* policy/terms.h - what an account has asked ingest to keep to: From domains, refusals
 *
 * Kept as the very Terms that a verdict carries, with memory of its own, so an answer only
 * points to it.  Pure but for memory.
 */
#ifndef POLICY_TERMS_H
#define POLICY_TERMS_H

#include <stdbool.h>
#include <stddef.h>
#include "lib/buf.h"
#include "lib/err.h"
#include "proto/holdfast.pb-c.h"

#define TERMS_DOMAINS_MAX 100

/* From domains as keys, in the order given, each once. */
struct terms_domains {
	struct buf bytes; /* BUF_INIT before; the caller frees it */
	ProtobufCBinaryData key[TERMS_DOMAINS_MAX];
	size_t n;
};

/* Make keys of domain[0..n).  ERR_SYNTAX: one is no domain; ERR_TOOBIG: they are too many. */
enum err terms_domains(const ProtobufCBinaryData *domain, size_t n,
                       struct terms_domains *out) MUST_CHECK;

/* Is this the address of a manager, or empty (none)? */
bool terms_manager_good(ProtobufCBinaryData manager);

/* Make *t a copy of what m says.  m may borrow from *t itself. */
void terms_set(Holdfast__Terms *t, const Holdfast__Account *m);
/* The other way; the bytes in m are borrowed from t. */
void terms_message(const Holdfast__Terms *t, Holdfast__Account *m);
void terms_free(Holdfast__Terms *t); /* what it owns; it says nothing then */

#endif
