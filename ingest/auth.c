/* ingest/auth.c - AUTH: ask policy, check on the pool, answer the session
 *
 * A job is the loop's until it is queued, the pool's until on_checked(), and freed there.
 * An unknown login is checked like a known one, against keys that policy makes up.
 */
#include "ingest/auth.h"

#include <assert.h>
#include <string.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>
#include "ingest/session.h"
#include "lib/clock.h"
#include "lib/mem.h"

#define CACHE_SIZE 1024 /* slots; a digest has one place */
#define CACHE_MS   60000

struct job {
	uv_work_t work;
	struct stage *stage;
	uint64_t id;         /* in auth->jobs while policy is asked */
	uint64_t session, q;
	struct sasl_login login;
	struct sasl_keys keys;
	char account[INGEST_ACCOUNT_MAX + 1];
	uint8_t digest[SASL_KEY_LEN];
	bool known, same;
};

struct auth {
	struct ingest *in;
	struct idmap *jobs;
	unsigned n_open;     /* asked or on the pool */
	uint8_t key[SASL_KEY_LEN];
	struct { uint8_t digest[SASL_KEY_LEN]; uint64_t until_ms; } cache[CACHE_SIZE];
};

struct auth *auth_new(struct ingest *in)
{
	struct auth *a = xcalloc(1, sizeof(*a));

	if (RAND_bytes(a->key, sizeof(a->key)) != 1)
		log_fatal(71, "no-random", LOG_PAIRS());
	a->in = in;
	a->jobs = idmap_new();
	return a;
}

static void job_free(struct job *j)
{
	sasl_wipe(&j->login);
	OPENSSL_cleanse(&j->keys, sizeof(j->keys));
	xfree(j);
}

void auth_free(struct auth **ap)
{
	struct auth *a = *ap;

	if (a == NULL)
		return;
	assert(idmap_count(a->jobs) == 0);
	idmap_free(&a->jobs);
	OPENSSL_cleanse(a->key, sizeof(a->key));
	xfree(a);
	*ap = NULL;
}

static void digest(const struct auth *a, struct job *j)
{
	uint8_t text[SASL_LOGIN_MAX + 1 + SASL_KEY_LEN + SASL_PASSWORD_MAX];
	size_t n = strlen(j->login.login) + 1;

	memcpy(text, j->login.login, n);
	memcpy(text + n, j->keys.stored_key, SASL_KEY_LEN);
	n += SASL_KEY_LEN;
	memcpy(text + n, j->login.password, j->login.password_len);
	n += j->login.password_len;
	HMAC(EVP_sha256(), a->key, sizeof(a->key), text, n, j->digest, NULL);
	OPENSSL_cleanse(text, sizeof(text));
}

static unsigned cache_slot(const uint8_t *d)
{
	return ((unsigned)d[0] << 8 | d[1]) % CACHE_SIZE;
}

/* Answer the session; reply NULL: by ok. */
static void job_over(struct ingest *in, struct job *j, bool ok, const char *reply)
{
	uint64_t session = j->session, q = j->q;
	char account[INGEST_ACCOUNT_MAX + 1];

	memcpy(account, j->account, sizeof(account));
	if (!ok) {
		metric_add(in->stage->metrics, M_AUTH_FAILURES, reply == NULL);
		log_info("auth-failed", LOGS("login", j->login.login),
		         LOGS("why", reply ? "no answer" : "credentials"));
	}
	in->auth->n_open--;
	job_free(j);
	session_authed(in, session, q, ok, account, reply);
}

static void check(uv_work_t *work)
{
	struct job *j = work->data;

	j->same = sasl_verify(&j->keys, j->login.password, j->login.password_len);
}

static void on_checked(uv_work_t *work, int status)
{
	struct job *j = work->data;
	struct ingest *in = ingest_of(j->stage);
	bool ok = status == 0 && j->same && j->known;

	if (in == NULL) {
		job_free(j);
		return;
	}
	if (ok) {
		unsigned i = cache_slot(j->digest);

		memcpy(in->auth->cache[i].digest, j->digest, SASL_KEY_LEN);
		in->auth->cache[i].until_ms = clock_mono_ms() + CACHE_MS;
	}
	job_over(in, j, ok, NULL);
}

static bool keys_take(struct job *j, const Holdfast__Principal *p)
{
	if (p->salt.len > SASL_SALT_MAX || p->stored_key.len != SASL_KEY_LEN ||
	    p->account.len > INGEST_ACCOUNT_MAX)
		return false;
	if (p->salt.len > 0)
		memcpy(j->keys.salt, p->salt.data, p->salt.len);
	j->keys.salt_len = p->salt.len;
	j->keys.iterations = p->iterations;
	memcpy(j->keys.stored_key, p->stored_key.data, SASL_KEY_LEN);
	if (p->account.len > 0)
		memcpy(j->account, p->account.data, p->account.len);
	j->known = p->known && p->account.len > 0;
	return true;
}

static const char no_answer[] = "454 4.7.0 Authentication is not possible now, try again later\r\n";

static void on_principal(enum err err, const Holdfast__Frame *frame, struct blob *body,
                         void *owner, uint64_t id)
{
	struct ingest *in = ingest_of(owner);
	struct job *j = in ? idmap_remove(in->auth->jobs, id) : NULL;
	unsigned slot;

	if (j == NULL)
		return;
	if (err != ERR_OK || frame->body_case != HOLDFAST__FRAME__BODY_PRINCIPAL ||
	    !keys_take(j, frame->principal)) {
		metric_add(in->stage->metrics, M_POLICY_FAILURES, 1);
		job_over(in, j, false, no_answer);
		return;
	}
	digest(in->auth, j);
	slot = cache_slot(j->digest);
	if (j->known && in->auth->cache[slot].until_ms > clock_mono_ms() &&
	    CRYPTO_memcmp(in->auth->cache[slot].digest, j->digest, SASL_KEY_LEN) == 0) {
		job_over(in, j, true, NULL);
		return;
	}
	j->work.data = j;
	if (uv_queue_work(in->stage->worker->loop, &j->work, check, on_checked) != 0)
		job_over(in, j, false, no_answer);
}

void auth_begin(struct auth *a, uint64_t session, uint64_t q, const struct sasl_login *login)
{
	struct stage *st = a->in->stage;
	Holdfast__Frame frame = HOLDFAST__FRAME__INIT;
	Holdfast__LoginQuery query = HOLDFAST__LOGIN_QUERY__INIT;
	struct bus_to to = { HOLDFAST__ROLE__ROLE_POLICY, 0 };
	struct job *j;

	if (a->n_open >= a->in->conf.auth_waiting) {
		session_authed(a->in, session, q, false, "", no_answer);
		return;
	}
	j = xcalloc(1, sizeof(*j));
	j->stage = st;
	j->session = session;
	j->q = q;
	j->login = *login;
	a->n_open++;
	j->id = idmap_add(a->jobs, j);
	to.instance = bus_shard(st->bus, to.stage, login->login, strlen(login->login));
	query.login = pb_str(login->login);
	frame.body_case = HOLDFAST__FRAME__BODY_LOGIN_QUERY;
	frame.login_query = &query;
	if (bus_ask(st->bus, to, &frame, NULL, (uint32_t)a->in->conf.policy_wait, on_principal,
	            st, j->id) != ERR_OK) {
		idmap_remove(a->jobs, j->id);
		job_over(a->in, j, false, no_answer);
	}
}
