/* ingest/listener.c - the ports that mail comes in by
 *
 * A listening socket that the service manager has passed (sd_listen_fds(3)) and
 * that has the address of a listener is used; for the others we bind our own, with
 * SO_REUSEPORT: several instances of ingest may share a port, the kernel spreads
 * connections over them.  A port that cannot be had ends the start, and so does a
 * passed socket that no listener is configured for.
 */
#include "ingest/ingest.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>
#include "ingest/session.h"
#include "lib/mem.h"

#define BACKLOG 512

struct listener {
	uv_tcp_t tcp;
	struct ingest *in;
	struct listener_conf door;
	struct sockaddr_storage address;
	struct listener *next;
};

/* Sockets that were passed to us: descriptors from SD_LISTEN_FDS_START on. */
struct passed {
	int n;
	bool *used;
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

static bool address_same(const struct sockaddr_storage *a, const struct sockaddr_storage *b)
{
	const struct sockaddr_in *a4 = (const void *)a, *b4 = (const void *)b;
	const struct sockaddr_in6 *a6 = (const void *)a, *b6 = (const void *)b;

	if (a->ss_family != b->ss_family)
		return false;
	if (a->ss_family == AF_INET)
		return a4->sin_port == b4->sin_port && a4->sin_addr.s_addr == b4->sin_addr.s_addr;
	return a->ss_family == AF_INET6 && a6->sin6_port == b6->sin6_port &&
	       IN6_ARE_ADDR_EQUAL(&a6->sin6_addr, &b6->sin6_addr);
}

static void address_print(const struct sockaddr_storage *ss, char *out, size_t max)
{
	const struct sockaddr_in6 *in6 = (const void *)ss;
	char host[INET6_ADDRSTRLEN] = "";

	if (ss->ss_family != AF_INET && ss->ss_family != AF_INET6) {
		snprintf(out, max, "address family %d", ss->ss_family);
		return;
	}
	uv_ip_name((const struct sockaddr *)ss, host, sizeof(host));
	snprintf(out, max, ss->ss_family == AF_INET6 ? "[%s]:%u" : "%s:%u", host,
	         (unsigned)ntohs(in6->sin6_port)); /* at the same place in both */
}

/* --- sockets that were passed to us --- */

static bool passed_address(int fd, struct sockaddr_storage *ss)
{
	socklen_t len = sizeof(*ss);

	memset(ss, 0, sizeof(*ss));
	return getsockname(fd, (struct sockaddr *)ss, &len) == 0;
}

/* The passed socket of that address, or -1. */
static int passed_take(struct passed *p, const struct sockaddr_storage *want)
{
	struct sockaddr_storage ss;

	for (int i = 0; i < p->n; i++) {
		int fd = SD_LISTEN_FDS_START + i;

		if (p->used[i] || sd_is_socket(fd, AF_UNSPEC, SOCK_STREAM, 1) <= 0)
			continue;
		if (!passed_address(fd, &ss) || !address_same(&ss, want))
			continue;
		p->used[i] = true;
		return fd;
	}
	return -1;
}

/* A socket that nobody accepts from would let its clients hang. */
static enum err passed_check(const struct passed *p)
{
	struct sockaddr_storage ss;
	enum err err = ERR_OK;
	char text[80];

	for (int i = 0; i < p->n; i++) {
		if (p->used[i])
			continue;
		if (passed_address(SD_LISTEN_FDS_START + i, &ss))
			address_print(&ss, text, sizeof(text));
		else
			snprintf(text, sizeof(text), "no socket");
		log_error("listener", LOGS("address", text), LOGI("fd", SD_LISTEN_FDS_START + i),
		          LOGS("why", "passed to us, but no listener has this address"));
		err = ERR_RANGE;
	}
	return err;
}

/* --- our own --- */

/* IPV6_V6ONLY: else [::] would take the port of 0.0.0.0 as well. */
static int socket_open(const struct sockaddr_storage *ss)
{
	socklen_t len = ss->ss_family == AF_INET ? sizeof(struct sockaddr_in)
	                                         : sizeof(struct sockaddr_in6);
	int fd = socket(ss->ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), on = 1;
	int saved;

	if (fd < 0)
		return -1;
	if ((ss->ss_family == AF_INET6 &&
	     setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on)) != 0) ||
	    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)) != 0 ||
	    bind(fd, (const struct sockaddr *)ss, len) != 0) {
		saved = errno;
		close(fd);
		errno = saved;
		return -1;
	}
	return fd;
}

/* --- listeners --- */

static void on_connection(uv_stream_t *handle, int status)
{
	struct listener *l = handle->data;

	if (status == 0)
		session_accept(l->in, handle, &l->door);
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

/* By SO_REUSEPORT the kernel would let us, and spread the clients over two roles. */
static bool is_open(const struct ingest *in, const struct sockaddr_storage *ss)
{
	const struct listener *l;

	for (l = in->listeners; l != NULL; l = l->next) {
		if (address_same(&l->address, ss))
			return true;
	}
	return false;
}

static const char *conf_fault(const struct ingest *in, const struct listener_conf *c,
                              struct sockaddr_storage *ss)
{
	if (c->role == DOOR_SUBMISSIONS && in->tls == NULL)
		return "needs tls_cert, tls_key";
	if (address_parse(c->address, ss) != ERR_OK)
		return "is no host:port";
	return is_open(in, ss) ? "is there twice" : NULL;
}

static enum err listen_on(struct ingest *in, const struct listener_conf *c, int fd,
                          const struct sockaddr_storage *ss)
{
	struct listener *l = xcalloc(1, sizeof(*l));
	int rc;

	l->in = in;
	l->door = *c;
	l->address = *ss;
	l->next = in->listeners;
	in->listeners = l;
	ingest_hold(in);
	uv_tcp_init(in->stage->worker->loop, &l->tcp);
	l->tcp.data = l;
	rc = uv_tcp_open(&l->tcp, fd);
	if (rc != 0)
		close(fd);
	else
		rc = uv_listen((uv_stream_t *)&l->tcp, BACKLOG, on_connection);
	if (rc == 0)
		return ERR_OK;
	log_error("listener", LOGS("address", c->address), LOGS("why", uv_strerror(rc)));
	return ERR_IO;
}

static enum err listener_open(struct ingest *in, const struct listener_conf *c,
                              struct passed *p)
{
	struct sockaddr_storage ss;
	const char *fault = conf_fault(in, c, &ss);
	int fd;

	if (fault != NULL) {
		log_error("listener", LOGS("address", c->address), LOGS("why", fault));
		return ERR_SYNTAX;
	}
	fd = passed_take(p, &ss);
	if (fd < 0)
		fd = socket_open(&ss);
	if (fd < 0) {
		log_error("listener", LOGS("address", c->address), LOGS("why", strerror(errno)));
		return ERR_IO;
	}
	return listen_on(in, c, fd, &ss);
}

enum err listeners_open(struct ingest *in)
{
	const struct listener_conf *rows = in->conf.listeners.row;
	struct passed p = { .n = sd_listen_fds(1) };
	enum err err = ERR_OK;

	if (p.n < 0) {
		log_error("listener", LOGS("why", "LISTEN_FDS or LISTEN_PID is malformed"));
		return ERR_SYNTAX;
	}
	p.used = xcalloc((size_t)p.n + 1, sizeof(p.used[0]));
	for (size_t i = 0; err == ERR_OK && i < in->conf.listeners.n; i++)
		err = listener_open(in, &rows[i], &p);
	if (err == ERR_OK)
		err = passed_check(&p);
	xfree(p.used);
	return err;
}

void listeners_close(struct ingest *in)
{
	struct listener *l;

	while ((l = in->listeners) != NULL) {
		in->listeners = l->next;
		uv_close((uv_handle_t *)&l->tcp, on_closed);
	}
}
