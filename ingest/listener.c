/* ingest/listener.c - the ports that mail comes in by
 *
 * SO_REUSEPORT: several instances of ingest may share a port, the kernel spreads
 * connections over them.  A port that cannot be had ends the start.
 */
#include "ingest/ingest.h"

#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "ingest/session.h"
#include "lib/mem.h"

#define BACKLOG 512

struct listener {
	uv_tcp_t tcp;
	struct ingest *in;
	enum ingest_role role;
	struct listener *next;
};

/* "HOST:PORT" or "[V6]:PORT", numeric. */
static enum err address_parse(const char *text, struct sockaddr_storage *out)
{
	const char *colon = strrchr(text, ':');
	char host[64], *end;
	unsigned long port;
	size_t len;
	int bad;

	if (colon == NULL || colon == text || colon[1] < '0' || colon[1] > '9')
		return ERR_SYNTAX;
	port = strtoul(colon + 1, &end, 10);
	len = (size_t)(colon - text);
	if (*end != '\0' || port > 65535 || len >= sizeof(host))
		return ERR_SYNTAX;
	memcpy(host, text, len);
	host[len] = '\0';
	memset(out, 0, sizeof(*out));
	if (host[0] == '[' && host[len - 1] == ']') {
		host[len - 1] = '\0';
		bad = uv_ip6_addr(host + 1, (int)port, (struct sockaddr_in6 *)out);
	} else {
		bad = uv_ip4_addr(host, (int)port, (struct sockaddr_in *)out);
	}
	return bad == 0 ? ERR_OK : ERR_SYNTAX;
}

static int socket_open(const struct sockaddr_storage *ss)
{
	socklen_t len = ss->ss_family == AF_INET ? sizeof(struct sockaddr_in)
	                                         : sizeof(struct sockaddr_in6);
	int fd = socket(ss->ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), on = 1;

	if (fd < 0)
		return -1;
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)) != 0 ||
	    bind(fd, (const struct sockaddr *)ss, len) != 0) {
		close(fd);
		return -1;
	}
	return fd;
}

static void on_connection(uv_stream_t *handle, int status)
{
	struct listener *l = handle->data;

	if (status == 0)
		session_accept(l->in, handle, l->role);
	else
		log_warn("accept-failed", LOGS("why", uv_strerror(status)));
}

static void on_closed(uv_handle_t *handle)
{
	struct listener *l = handle->data;
	struct ingest *in = l->in;

	xfree(l);
	ingest_release(in);
}

static enum err listener_open(struct ingest *in, const struct listener_conf *c)
{
	struct sockaddr_storage ss;
	struct listener *l;
	int fd;

	if (c->role == DOOR_SUBMISSIONS && in->tls == NULL) {
		log_error("listener", LOGS("address", c->address),
		          LOGS("why", "needs tls_cert, tls_key"));
		return ERR_BADSTATE;
	}
	if (address_parse(c->address, &ss) != ERR_OK) {
		log_error("listener", LOGS("address", c->address), LOGS("why", "is no host:port"));
		return ERR_SYNTAX;
	}
	fd = socket_open(&ss);
	if (fd < 0) {
		log_error("listener", LOGS("address", c->address), LOGS("why", strerror(errno)));
		return ERR_IO;
	}
	l = xcalloc(1, sizeof(*l));
	l->in = in;
	l->role = (enum ingest_role)c->role;
	l->next = in->listeners;
	in->listeners = l;
	ingest_hold(in);
	uv_tcp_init(in->stage->worker->loop, &l->tcp);
	l->tcp.data = l;
	if (uv_tcp_open(&l->tcp, fd) != 0) {
		close(fd);
		return ERR_IO;
	}
	if (uv_listen((uv_stream_t *)&l->tcp, BACKLOG, on_connection) != 0) {
		log_error("listener", LOGS("address", c->address), LOGS("why", "cannot listen"));
		return ERR_IO;
	}
	return ERR_OK;
}

enum err listeners_open(struct ingest *in)
{
	const struct listener_conf *rows = in->conf.listeners.row;

	for (size_t i = 0; i < in->conf.listeners.n; i++) {
		enum err err = listener_open(in, &rows[i]);

		if (err != ERR_OK)
			return err;
	}
	return ERR_OK;
}

void listeners_close(struct ingest *in)
{
	struct listener *l;

	while ((l = in->listeners) != NULL) {
		in->listeners = l->next;
		uv_close((uv_handle_t *)&l->tcp, on_closed);
	}
}
