/* ingest/auth.c - AUTH: ask policy, check on the pool, answer the session
 *
 * A job is the loop's until it is queued, the pool's until on_checked(), and freed there.
 * An unknown login is checked like a known one, against keys that policy makes up.
 */
#include "ingest/auth_in.h"

#include <string.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>
#include "ingest/session.h"
#include "lib/clock.h"
#include "lib/mem.h"

#define CACHE_MS 60000

struct job {
	TAILQ_ENTRY(job) asking;
	uv_work_t work;
	struct stage *stage;
	uint64_t id;         /* in auth->jobs while policy is asked */
	struct auth_who who;
	struct sasl_login login;
	uint8_t digest[SASL_KEY_LEN];
	bool same;
};

const char auth_no_answer[] =
	"454 4.7.0 Authentication is not possible now, try again later\r\n";

struct auth *auth_new(struct ingest *in)
{
	struct auth *a = xcalloc(1, sizeof(*a));

	if (RAND_bytes(a->key, sizeof(a->key)) != 1)
		log_fatal(71, "no-random", LOG_PAIRS());
	a->in = in;
	a->jobs = idmap_new();
	a->exchanges = idmap_new();
	TAILQ_INIT(&a->asking);
	TAILQ_INIT(&a->all_exchanges);
	a->scram = scram_lib_new();
	a->guard = auth_guard_new(in->conf.auth_fail_window);
	return a;
}

static void job_free(struct job *j)
{
	sasl_wipe(&j->login);
	OPENSSL_cleanse(&j->who.keys, sizeof(j->who.keys));
	xfree(j);
}

/* Policy has answered, or never will. */
static void job_asked(struct auth *a, struct job *j)
{
	idmap_remove(a->jobs, j->id);
	TAILQ_REMOVE(&a->asking, j, asking);
}

void auth_free(struct auth **ap)
{
	struct auth *a = *ap;
	struct job *j;

	if (a == NULL)
		return;
	while ((j = TAILQ_FIRST(&a->asking)) != NULL) {
		job_asked(a, j);
		job_free(j);
	}
	auth_scram_free_all(a);
	idmap_free(&a->jobs);
	idmap_free(&a->exchanges);
	scram_lib_free(&a->scram);
	auth_guard_free(&a->guard);
	OPENSSL_cleanse(a->key, sizeof(a->key));
	xfree(a);
	*ap = NULL;
}

/* ---- what both ways share */

void auth_who_fill(struct auth_who *w, const struct auth_client *c, uint64_t q,
                   const char *login)
{
	w->session = c->session;
	w->q = q;
	memcpy(w->ip, c->ip, c->ip_len);
	w->ip_len = c->ip_len;
	memcpy(w->ip_text, c->ip_text, strnlen(c->ip_text, sizeof(w->ip_text) - 1));
	memcpy(w->login, login, strnlen(login, SASL_LOGIN_MAX));
}

/* Too many failures: then w is answered, without a word on what it said. */
static bool blocked(struct auth *a, const struct auth_who *w)
{
	const struct ingest_conf *c = &a->in->conf;
	const struct auth_limits limits = {
		.ip = (unsigned)c->auth_fail_ip, .network = (unsigned)c->auth_fail_network,
		.login = (unsigned)c->auth_fail_login,
	};

	if (auth_guard_allows(a->guard, &limits, w->ip, w->ip_len, w->login, clock_mono_ms()))
		return false;
	metric_add(a->in->stage->metrics, M_AUTH_BLOCKED, 1);
	log_info("auth-blocked", LOGS("login", w->login), LOGS("ip", w->ip_text));
	session_authed(a->in, w->session, w->q, false, "",
	               "421 4.7.0 Too many failed logins, try again later\r\n");
	return true;
}

bool auth_admit(struct auth *a, const struct auth_who *w)
{
	if (blocked(a, w))
		return false;
	if (a->n_open < a->in->conf.auth_waiting)
		return true;
	session_authed(a->in, w->session, w->q, false, "", auth_no_answer);
	return false;
}

enum err auth_ask(struct auth *a, const char *login, bus_answer_fn *done, uint64_t id)
{
	struct stage *st = a->in->stage;
	Holdfast__Frame frame = HOLDFAST__FRAME__INIT;
	Holdfast__LoginQuery query = HOLDFAST__LOGIN_QUERY__INIT;
	struct bus_to to = { HOLDFAST__ROLE__ROLE_POLICY, 0 };

	to.instance = bus_shard(st->bus, to.stage, login, strlen(login));
	query.login = pb_str(login);
	frame.body_case = HOLDFAST__FRAME__BODY_LOGIN_QUERY;
	frame.login_query = &query;
	return bus_ask(st->bus, to, &frame, NULL, (uint32_t)a->in->conf.policy_wait, done, st, id);
}

static bool principal_take(struct auth_who *w, const Holdfast__Principal *p)
{
	if (p->salt.len > SASL_SALT_MAX || p->stored_key.len != SASL_KEY_LEN ||
	    p->server_key.len != SASL_KEY_LEN || p->account.len > INGEST_ACCOUNT_MAX)
		return false;
	if (p->salt.len > 0)
		memcpy(w->keys.salt, p->salt.data, p->salt.len);
	w->keys.salt_len = p->salt.len;
	w->keys.iterations = p->iterations;
	memcpy(w->keys.stored_key, p->stored_key.data, SASL_KEY_LEN);
	memcpy(w->keys.server_key, p->server_key.data, SASL_KEY_LEN);
	if (p->account.len > 0)
		memcpy(w->account, p->account.data, p->account.len);
	w->known = p->known && p->account.len > 0;
	return true;
}

bool auth_keys_take(struct auth_who *w, enum err err, const Holdfast__Frame *frame)
{
	return err == ERR_OK && frame->body_case == HOLDFAST__FRAME__BODY_PRINCIPAL &&
	       principal_take(w, frame->principal);
}

void auth_over(struct auth *a, const struct auth_who *w, bool ok, const char *reply)
{
	uint64_t now = clock_mono_ms();

	/* Others may have failed since it was admitted: many guesses at once are no more than
	 * one after the other. */
	if (reply == NULL && blocked(a, w))
		return;
	if (ok) {
		auth_guard_proved(a->guard, w->ip, w->ip_len, w->login, now);
	} else {
		bool credentials = reply == NULL;

		if (credentials)
			auth_guard_failed(a->guard, w->ip, w->ip_len, w->login, now);
		else
			metric_add(a->in->stage->metrics, M_POLICY_FAILURES, 1);
		metric_add(a->in->stage->metrics, M_AUTH_FAILURES, credentials);
		log_info("auth-failed", LOGS("login", w->login), LOGS("ip", w->ip_text),
		         LOGS("why", credentials ? "credentials" : "no answer"));
	}
	session_authed(a->in, w->session, w->q, ok, w->account, reply);
}

/* ---- PLAIN and LOGIN */

static void digest(const struct auth *a, struct job *j)
{
	uint8_t text[SASL_LOGIN_MAX + 1 + SASL_KEY_LEN + SASL_PASSWORD_MAX];
	size_t n = strlen(j->login.login) + 1;

	memcpy(text, j->login.login, n);
	memcpy(text + n, j->who.keys.stored_key, SASL_KEY_LEN);
	n += SASL_KEY_LEN;
	memcpy(text + n, j->login.password, j->login.password_len);
	n += j->login.password_len;
	HMAC(EVP_sha256(), a->key, sizeof(a->key), text, n, j->digest, NULL);
	OPENSSL_cleanse(text, sizeof(text));
}

static unsigned cache_slot(const uint8_t *d)
{
	return ((unsigned)d[0] << 8 | d[1]) % AUTH_CACHE;
}

static void job_over(struct auth *a, struct job *j, bool ok, const char *reply)
{
	struct auth_who who = j->who;

	a->n_open--;
	job_free(j);
	auth_over(a, &who, ok, reply);
}

static void check(uv_work_t *work)
{
	struct job *j = work->data;

	j->same = sasl_verify(&j->who.keys, j->login.password, j->login.password_len);
}

static void on_checked(uv_work_t *work, int status)
{
	struct job *j = work->data;
	struct ingest *in = ingest_of(j->stage);
	bool ok = status == 0 && j->same && j->who.known;

	if (in == NULL) {
		job_free(j);
		return;
	}
	if (ok) {
		unsigned i = cache_slot(j->digest);

		memcpy(in->auth->cache[i].digest, j->digest, SASL_KEY_LEN);
		in->auth->cache[i].until_ms = clock_mono_ms() + CACHE_MS;
	}
	job_over(in->auth, j, ok, NULL);
}

static bool cached(const struct auth *a, const struct job *j)
{
	unsigned i = cache_slot(j->digest);

	return j->who.known && a->cache[i].until_ms > clock_mono_ms() &&
	       CRYPTO_memcmp(a->cache[i].digest, j->digest, SASL_KEY_LEN) == 0;
}

static void on_principal(enum err err, const Holdfast__Frame *frame, struct blob *body,
                         void *owner, uint64_t id)
{
	struct ingest *in = ingest_of(owner);
	struct job *j = in ? idmap_get(in->auth->jobs, id) : NULL;

	if (j == NULL)
		return;
	job_asked(in->auth, j);
	if (!auth_keys_take(&j->who, err, frame)) {
		job_over(in->auth, j, false, auth_no_answer);
		return;
	}
	digest(in->auth, j);
	if (cached(in->auth, j)) {
		job_over(in->auth, j, true, NULL);
		return;
	}
	j->work.data = j;
	if (uv_queue_work(in->stage->worker->loop, &j->work, check, on_checked) != 0)
		job_over(in->auth, j, false, auth_no_answer);
}

void auth_begin(struct auth *a, const struct auth_client *c, uint64_t q,
                const struct sasl_login *login)
{
	struct job *j = xcalloc(1, sizeof(*j));

	auth_who_fill(&j->who, c, q, login->login);
	if (!auth_admit(a, &j->who)) {
		job_free(j);
		return;
	}
	j->stage = a->in->stage;
	j->login = *login;
	a->n_open++;
	j->id = idmap_add(a->jobs, j);
	TAILQ_INSERT_TAIL(&a->asking, j, asking);
	if (auth_ask(a, login->login, on_principal, j->id) != ERR_OK) {
		job_asked(a, j);
		job_over(a, j, false, auth_no_answer);
	}
}
