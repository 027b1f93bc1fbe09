/* ingest/scram.c - libgsasl with the keys set beforehand, so that it never asks
 *
 * Owns the libgsasl session.  A failure of the library counts as a wrong password.
 */
#include "ingest/scram.h"

#include <stdio.h>
#include <string.h>
#include <gsasl.h>
#include "lib/log.h"
#include "lib/mem.h"

struct scram_lib {
	Gsasl *ctx;
};

struct scram {
	Gsasl_session *session; /* NULL: it could not be made */
};

struct scram_lib *scram_lib_new(void)
{
	struct scram_lib *l = xcalloc(1, sizeof(*l));

	if (gsasl_init(&l->ctx) != GSASL_OK)
		log_fatal(71, "no-gsasl", LOG_PAIRS());
	return l;
}

void scram_lib_free(struct scram_lib **lp)
{
	if (*lp == NULL)
		return;
	gsasl_done((*lp)->ctx);
	xfree(*lp);
	*lp = NULL;
}

/* saslname (RFC 5802, 5.1): "=2C" is a comma, "=3D" an equals sign. */
static enum err name_read(const char *p, size_t n, char out[SASL_LOGIN_MAX + 1])
{
	size_t len = 0;

	for (size_t i = 0; i < n; i++) {
		char c = p[i];

		if (c == '=' && n - i >= 3 && memcmp(p + i, "=2C", 3) == 0)
			c = ',';
		else if (c == '=' && (n - i < 3 || memcmp(p + i, "=3D", 3) != 0))
			return ERR_SYNTAX;
		i += p[i] == '=' ? 2 : 0;
		if (c == '\0' || len == SASL_LOGIN_MAX)
			return ERR_SYNTAX;
		out[len++] = c;
	}
	out[len] = '\0';
	return len > 0 ? ERR_OK : ERR_SYNTAX;
}

enum err scram_login(const uint8_t *msg, size_t n, char out[SASL_LOGIN_MAX + 1])
{
	const char *p = (const char *)msg, *end = p + n;
	const char *flag_end = n > 0 ? memchr(p, ',', n) : NULL;
	const char *authz, *authz_end, *name, *name_end;
	char asked[SASL_LOGIN_MAX + 1];

	if (flag_end == NULL)
		return ERR_SYNTAX;
	authz = flag_end + 1;
	authz_end = memchr(authz, ',', (size_t)(end - authz));
	if (authz_end == NULL)
		return ERR_SYNTAX;
	name = authz_end + 1;
	if (end - name < 2 || memcmp(name, "n=", 2) != 0)
		return ERR_SYNTAX;
	name += 2;
	name_end = memchr(name, ',', (size_t)(end - name));
	if (name_end == NULL || name_read(name, (size_t)(name_end - name), out) != ERR_OK)
		return ERR_SYNTAX;
	if (authz == authz_end)
		return ERR_OK;
	if (authz_end - authz < 3 || memcmp(authz, "a=", 2) != 0 ||
	    name_read(authz + 2, (size_t)(authz_end - authz) - 2, asked) != ERR_OK)
		return ERR_SYNTAX;
	return strcmp(asked, out) == 0 ? ERR_OK : ERR_PERM;
}

static void set(Gsasl_session *session, Gsasl_property name, const void *p, size_t n)
{
	struct buf text = BUF_INIT;

	sasl_base64_add(&text, p, n);
	if (gsasl_property_set(session, name, buf_str(&text)) != GSASL_OK)
		log_fatal(71, "no-gsasl-property", LOG_PAIRS());
	buf_free(&text);
}

struct scram *scram_new(struct scram_lib *l, const struct scram_conf *c)
{
	struct scram *s = xcalloc(1, sizeof(*s));
	char iterations[16];

	if (gsasl_server_start(l->ctx, c->plus ? "SCRAM-SHA-256-PLUS" : "SCRAM-SHA-256",
	                       &s->session) != GSASL_OK) {
		s->session = NULL;
		return s;
	}
	snprintf(iterations, sizeof(iterations), "%u", (unsigned)c->keys->iterations);
	if (gsasl_property_set(s->session, GSASL_SCRAM_ITER, iterations) != GSASL_OK)
		log_fatal(71, "no-gsasl-property", LOG_PAIRS());
	set(s->session, GSASL_SCRAM_SALT, c->keys->salt, c->keys->salt_len);
	set(s->session, GSASL_SCRAM_STOREDKEY, c->keys->stored_key, SASL_KEY_LEN);
	set(s->session, GSASL_SCRAM_SERVERKEY, c->keys->server_key, SASL_KEY_LEN);
	if (c->exporter_len > 0)
		set(s->session, GSASL_CB_TLS_EXPORTER, c->exporter, c->exporter_len);
	if (c->unique_len > 0)
		set(s->session, GSASL_CB_TLS_UNIQUE, c->unique, c->unique_len);
	return s;
}

void scram_free(struct scram **sp)
{
	if (*sp == NULL)
		return;
	if ((*sp)->session != NULL)
		gsasl_finish((*sp)->session);
	xfree(*sp);
	*sp = NULL;
}

enum scram_result scram_step(struct scram *s, const uint8_t *p, size_t n, struct buf *out)
{
	char *answer = NULL;
	size_t len = 0;
	int rc;

	if (s->session == NULL)
		return SCRAM_NO;
	rc = gsasl_step(s->session, (const char *)p, n, &answer, &len);
	if (rc == GSASL_OK || rc == GSASL_NEEDS_MORE)
		buf_add(out, answer, len);
	gsasl_free(answer);
	return rc == GSASL_OK ? SCRAM_PROVED : rc == GSASL_NEEDS_MORE ? SCRAM_MORE : SCRAM_NO;
}
