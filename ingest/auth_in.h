/* ingest/auth_in.h - the inside of AUTH
 *
 * Shared by auth.c (PLAIN and LOGIN, the questions to policy) and auth_scram.c.
 */
#ifndef INGEST_AUTH_IN_H
#define INGEST_AUTH_IN_H

#include "ingest/auth.h"
#include "ingest/auth_guard.h"
#include "ingest/scram.h"

#define AUTH_CACHE 1024 /* slots; a digest has one place */

TAILQ_HEAD(job_list, job);
TAILQ_HEAD(exchange_list, exchange);

struct auth {
	struct ingest *in;
	struct idmap *jobs, *exchanges;
	struct job_list asking;          /* jobs that policy is asked about */
	struct exchange_list all_exchanges;
	struct scram_lib *scram;
	struct auth_guard *guard;
	unsigned n_open;     /* asked or on the pool */
	uint8_t key[SASL_KEY_LEN];
	struct { uint8_t digest[SASL_KEY_LEN]; uint64_t until_ms; } cache[AUTH_CACHE];
};

/* Who tries, kept over questions. */
struct auth_who {
	uint64_t session, q;
	uint8_t ip[16];
	size_t  ip_len;
	char    ip_text[64];
	char    login[SASL_LOGIN_MAX + 1];
	char    account[INGEST_ACCOUNT_MAX + 1];
	bool    known;
	struct sasl_keys keys;
};

void auth_scram_free_all(struct auth *a); /* at close */

extern const char auth_no_answer[];

void auth_who_fill(struct auth_who *w, const struct auth_client *c, uint64_t q,
                   const char *login);
/* May w be asked about at all?  False: it is answered. */
bool auth_admit(struct auth *a, const struct auth_who *w);
/* Ask policy for the keys of login. */
enum err auth_ask(struct auth *a, const char *login, bus_answer_fn *done, uint64_t id);
/* Take account and keys of policy's answer; false: it is none that can be used. */
bool auth_keys_take(struct auth_who *w, enum err err, const Holdfast__Frame *frame);
/* The end of an exchange: count, log, answer.  reply NULL: by ok. */
void auth_over(struct auth *a, const struct auth_who *w, bool ok, const char *reply);

#endif
