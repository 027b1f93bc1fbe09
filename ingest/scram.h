/* ingest/scram.h - one SCRAM-SHA-256 exchange at the server's end (RFC 5802, 7677), by libgsasl
 *
 * The login is read from the client's first message, its keys are asked of policy, and then the
 * exchange begins.  Pure but for libgsasl's nonce; each step is some hashes, no more.
 */
#ifndef INGEST_SCRAM_H
#define INGEST_SCRAM_H

#include "ingest/sasl.h"

struct scram;
struct scram_lib; /* libgsasl, once a process */

struct scram_conf {
	const struct sasl_keys *keys;
	bool plus;
	/* The channel that the client must have bound to: with PLUS at least one; one that says
	 * it could bind and saw no offer of it is refused where there is one (RFC 5802, 6). */
	const uint8_t *exporter; size_t exporter_len; /* tls-exporter (RFC 9266) */
	const uint8_t *unique; size_t unique_len;     /* tls-unique (RFC 5929) */
};

enum scram_result {
	SCRAM_MORE,  /* send out, and hand in what comes */
	SCRAM_PROVED, /* the same, and the client has proved the password */
	SCRAM_NO,    /* wrong password, wrong channel, or not the protocol */
};

struct scram_lib *scram_lib_new(void);
void scram_lib_free(struct scram_lib **l);

/* The login that a first message names.  ERR_SYNTAX: not that; ERR_PERM: asks to act as
 * somebody else. */
enum err scram_login(const uint8_t *p, size_t n, char out[SASL_LOGIN_MAX + 1]) MUST_CHECK;

struct scram *scram_new(struct scram_lib *l, const struct scram_conf *c);
void scram_free(struct scram **s); /* NULL is fine */

/* Hand in the client's next message; what is to be sent is appended to out. */
enum scram_result scram_step(struct scram *s, const uint8_t *p, size_t n, struct buf *out);

#endif
