/* ingest/auth_scram.c - SCRAM over the lines of AUTH: first message, keys, proof, last word
 *
 * An exchange lives from the first message until the engine says that AUTH is over.  While policy
 * is asked it is bounded like every other question; while the client is waited for it is the
 * session's.
 */
#include "ingest/auth_in.h"

#include <openssl/crypto.h>
#include "ingest/session.h"
#include "lib/mem.h"
#include "lib/stream.h"

struct exchange {
	TAILQ_ENTRY(exchange) all;
	uint64_t id;
	struct auth_who who;
	struct scram *scram;  /* NULL until the keys are there */
	bool plus, asking, proved;
	struct buf first;     /* the client's first message */
	uint8_t exporter[STREAM_BINDING_MAX], unique[STREAM_BINDING_MAX];
	size_t exporter_len, unique_len;
};

static void exchange_free(struct auth *a, struct exchange *x)
{
	if (x->id != 0) {
		idmap_remove(a->exchanges, x->id);
		TAILQ_REMOVE(&a->all_exchanges, x, all);
	}
	scram_free(&x->scram);
	buf_free(&x->first);
	OPENSSL_cleanse(&x->who.keys, sizeof(x->who.keys));
	xfree(x);
}

void auth_scram_over(struct auth *a, uint64_t *exchange)
{
	struct exchange *x = *exchange ? idmap_get(a->exchanges, *exchange) : NULL;

	*exchange = 0;
	if (x == NULL)
		return;
	if (x->asking)
		a->n_open--;
	exchange_free(a, x);
}

void auth_scram_free_all(struct auth *a)
{
	struct exchange *x;

	while ((x = TAILQ_FIRST(&a->all_exchanges)) != NULL)
		exchange_free(a, x);
}

/* Answer and let go; the session's auth_scram_over() finds nothing more. */
static void end(struct auth *a, struct exchange *x, bool ok, const char *reply)
{
	struct auth_who who = x->who;

	exchange_free(a, x);
	auth_over(a, &who, ok, reply);
}

/* Take the client's message one step further. */
static void step(struct auth *a, struct exchange *x, const void *p, size_t n)
{
	struct buf out = BUF_INIT;
	enum scram_result r = scram_step(x->scram, p, n, &out);

	if (r == SCRAM_NO) {
		end(a, x, false, NULL);
	} else {
		x->proved = r == SCRAM_PROVED;
		session_challenge(a->in, x->who.session, x->who.q, out.data, out.len);
	}
	buf_free(&out);
}

static void on_keys(enum err err, const Holdfast__Frame *frame, struct blob *body, void *owner,
                    uint64_t id)
{
	struct ingest *in = ingest_of(owner);
	struct exchange *x = in ? idmap_get(in->auth->exchanges, id) : NULL;

	if (x == NULL)
		return;
	x->asking = false;
	in->auth->n_open--;
	if (!auth_keys_take(&x->who, err, frame)) {
		end(in->auth, x, false, auth_no_answer);
		return;
	}
	x->scram = scram_new(in->auth->scram, &(struct scram_conf){
		.keys = &x->who.keys, .plus = x->plus, .exporter = x->exporter,
		.exporter_len = x->exporter_len, .unique = x->unique,
		.unique_len = x->unique_len });
	step(in->auth, x, x->first.data, x->first.len);
}

static void bindings_take(struct exchange *x, const struct stream *stream)
{
	if (!stream_is_secure(stream))
		return;
	if (stream_tls_binding(stream, true, x->exporter, sizeof(x->exporter),
	                       &x->exporter_len) != ERR_OK)
		x->exporter_len = 0;
	if (stream_tls_binding(stream, false, x->unique, sizeof(x->unique),
	                       &x->unique_len) != ERR_OK)
		x->unique_len = 0;
}

static void begin(struct auth *a, const struct auth_client *c, uint64_t q,
                  const struct smtp_scram *m, uint64_t *exchange)
{
	struct exchange *x = xcalloc(1, sizeof(*x));
	char login[SASL_LOGIN_MAX + 1];
	enum err err = scram_login(m->p, m->n, login);

	if (err != ERR_OK) {
		exchange_free(a, x);
		session_authed(a->in, c->session, q, false, "", err == ERR_PERM ? NULL :
		               "501 5.5.2 Message of SCRAM cannot be read\r\n");
		return;
	}
	auth_who_fill(&x->who, c, q, login);
	if (!auth_admit(a, &x->who)) {
		exchange_free(a, x);
		return;
	}
	x->plus = m->plus;
	buf_add(&x->first, m->p, m->n);
	bindings_take(x, c->stream);
	x->id = *exchange = idmap_add(a->exchanges, x);
	TAILQ_INSERT_TAIL(&a->all_exchanges, x, all);
	x->asking = true;
	a->n_open++;
	if (auth_ask(a, login, on_keys, x->id) == ERR_OK)
		return;
	x->asking = false;
	a->n_open--;
	end(a, x, false, auth_no_answer);
}

void auth_scram(struct auth *a, const struct auth_client *c, uint64_t q,
                const struct smtp_scram *m, uint64_t *exchange)
{
	struct exchange *x = m->first || *exchange == 0 ? NULL : idmap_get(a->exchanges, *exchange);

	if (m->first) {
		begin(a, c, q, m, exchange);
	} else if (x == NULL || x->scram == NULL) {
		session_authed(a->in, c->session, q, false, "", NULL);
	} else {
		x->who.q = q;
		if (x->proved)
			end(a, x, x->who.known && m->n == 0, NULL);
		else
			step(a, x, m->p, m->n);
	}
}
