/* lib/http.c - the small HTTP server of a worker, on its loop
 *
 * libmicrohttpd in epoll mode: its descriptor is polled by the loop, its timeout
 * is a timer of the loop.  No thread.  Every answer is made at once, so nothing
 * is ever suspended.
 */
#include "lib/http.h"

#include <arpa/inet.h>
#include <microhttpd.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include "lib/log.h"
#include "lib/mem.h"

enum { CONNECTIONS_MAX = 64, IDLE_S = 15, TURN_MS = 500, HANDLES = 2 };

struct http {
	struct http_source src;
	struct MHD_Daemon *daemon;
	uv_poll_t  poll;
	uv_timer_t timer;
	unsigned   open; /* handles */
};

struct page {
	unsigned    status;
	const char *type;
	struct buf  text;
};

static void page_state(struct page *p, bool good, const char *yes, const char *no)
{
	p->status = good ? MHD_HTTP_OK : MHD_HTTP_SERVICE_UNAVAILABLE;
	buf_adds(&p->text, good ? yes : no);
}

static void page_metrics(struct http *h, struct page *p)
{
	p->type = "text/plain; version=0.0.4; charset=utf-8";
	h->src.metrics(h->src.arg, &p->text);
}

static void page_healthz(struct http *h, struct page *p)
{
	page_state(p, h->src.healthy(h->src.arg), "ok\n", "failed\n");
}

static void page_readyz(struct http *h, struct page *p)
{
	page_state(p, h->src.ready(h->src.arg), "ready\n", "not ready\n");
}

static const struct {
	const char *path;
	void (*make)(struct http *h, struct page *p);
} pages[] = {
	{ "/metrics", page_metrics },
	{ "/healthz", page_healthz },
	{ "/readyz",  page_readyz },
};

static void make_page(struct http *h, const char *path, struct page *p)
{
	for (size_t i = 0; i < ARRAY_LEN(pages); i++) {
		if (strcmp(path, pages[i].path) == 0) {
			pages[i].make(h, p);
			return;
		}
	}
	p->status = MHD_HTTP_NOT_FOUND;
	buf_adds(&p->text, "not found; there are /metrics, /healthz and /readyz\n");
}

static enum MHD_Result send_page(struct MHD_Connection *c, const struct page *p)
{
	struct MHD_Response *r;
	enum MHD_Result done;

	r = MHD_create_response_from_buffer(p->text.len, (void *)buf_str(&p->text),
	                                    MHD_RESPMEM_MUST_COPY);
	if (r == NULL)
		return MHD_NO;
	(void)MHD_add_response_header(r, MHD_HTTP_HEADER_CONTENT_TYPE, p->type);
	(void)MHD_add_response_header(r, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
	done = MHD_queue_response(c, p->status, r);
	MHD_destroy_response(r);
	return done;
}

static enum MHD_Result on_request(void *arg, struct MHD_Connection *c, const char *path,
                                  const char *method, const char *version,
                                  const char *upload, size_t *upload_len, void **seen)
{
	struct page p = { .status = MHD_HTTP_OK, .type = "text/plain", .text = BUF_INIT };
	enum MHD_Result done;

	if (*seen == NULL) { /* headers only; the answer is due at the next call */
		*seen = arg;
		return MHD_YES;
	}
	if (*upload_len != 0) {
		*upload_len = 0;
		return MHD_YES;
	}
	if (strcmp(method, "GET") == 0 || strcmp(method, "HEAD") == 0) {
		make_page(arg, path, &p);
	} else {
		p.status = MHD_HTTP_METHOD_NOT_ALLOWED;
		buf_adds(&p.text, "GET and HEAD only\n");
	}
	done = send_page(c, &p);
	buf_free(&p.text);
	return done;
}

static void on_timer(uv_timer_t *t);

/* A daemon that was at its limit listens again only when it is run once more after the
 * connections have gone, and asks for no time-out: hence a turn now and then. */
static void turn(struct http *h)
{
	MHD_UNSIGNED_LONG_LONG ms;

	(void)MHD_run(h->daemon);
	if (MHD_get_timeout(h->daemon, &ms) != MHD_YES || ms > TURN_MS)
		ms = TURN_MS;
	uv_timer_start(&h->timer, on_timer, ms > 0 ? ms : 1, 0);
}

static void on_timer(uv_timer_t *t)
{
	turn(t->data);
}

static void on_poll(uv_poll_t *p, int status, int events)
{
	turn(p->data);
}

static bool parse_port(const char *text, uint16_t *out)
{
	size_t n = strspn(text, "0123456789");
	unsigned long port;

	if (n == 0 || n > 5 || text[n] != '\0')
		return false;
	port = strtoul(text, NULL, 10);
	*out = htons((uint16_t)port);
	return port > 0 && port <= 65535;
}

static bool parse_host(const char *host, bool six, struct sockaddr_storage *out)
{
	struct sockaddr_in *in4 = (struct sockaddr_in *)out;
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)out;

	out->ss_family = six ? AF_INET6 : AF_INET;
	if (six)
		return inet_pton(AF_INET6, host, &in6->sin6_addr) == 1
		    && IN6_IS_ADDR_LOOPBACK(&in6->sin6_addr);
	return inet_pton(AF_INET, host, &in4->sin_addr) == 1
	    && ntohl(in4->sin_addr.s_addr) >> 24 == IN_LOOPBACKNET;
}

static enum err parse_loopback(const char *text, struct sockaddr_storage *out)
{
	const char *colon = strrchr(text, ':');
	bool six = text[0] == '[';
	char host[INET6_ADDRSTRLEN];
	uint16_t port;
	size_t len;

	if (colon == NULL || !parse_port(colon + 1, &port))
		return ERR_SYNTAX;
	if (six && colon[-1] != ']')
		return ERR_SYNTAX;
	len = (size_t)(colon - text) - (six ? 2 : 0);
	if (len >= sizeof(host))
		return ERR_SYNTAX;
	memcpy(host, text + six, len);
	host[len] = '\0';
	memset(out, 0, sizeof(*out));
	if (!parse_host(host, six, out))
		return ERR_SYNTAX;
	if (six)
		((struct sockaddr_in6 *)out)->sin6_port = port;
	else
		((struct sockaddr_in *)out)->sin_port = port;
	return ERR_OK;
}

static void log_daemon(void *arg, const char *fmt, va_list ap)
{
	char line[256];

	vsnprintf(line, sizeof(line), fmt, ap);
	log_debug("http", LOGS("text", line));
}

enum err http_open(uv_loop_t *loop, const char *address, const struct http_source *src,
                   struct http **out)
{
	const union MHD_DaemonInfo *info;
	struct sockaddr_storage addr;
	unsigned flags = MHD_USE_EPOLL | MHD_USE_ERROR_LOG;
	struct http *h;

	if (parse_loopback(address, &addr) != ERR_OK)
		return ERR_SYNTAX;
	if (addr.ss_family == AF_INET6)
		flags |= MHD_USE_IPv6;
	h = xcalloc(1, sizeof(*h));
	h->src = *src;
	h->daemon = MHD_start_daemon(flags, 0, NULL, NULL, on_request, h,
	                             MHD_OPTION_EXTERNAL_LOGGER, log_daemon, NULL,
	                             MHD_OPTION_SOCK_ADDR, (struct sockaddr *)&addr,
	                             MHD_OPTION_CONNECTION_LIMIT, (unsigned)CONNECTIONS_MAX,
	                             MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)IDLE_S,
	                             MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)8192,
	                             MHD_OPTION_END);
	if (h->daemon == NULL) {
		xfree(h);
		return ERR_IO;
	}
	info = MHD_get_daemon_info(h->daemon, MHD_DAEMON_INFO_EPOLL_FD);
	uv_poll_init(loop, &h->poll, info->epoll_fd);
	uv_timer_init(loop, &h->timer);
	h->poll.data = h->timer.data = h;
	h->open = HANDLES;
	uv_poll_start(&h->poll, UV_READABLE, on_poll);
	turn(h);
	*out = h;
	return ERR_OK;
}

/* The poll handle is gone from the loop before libmicrohttpd closes its descriptor. */
static void on_closed(uv_handle_t *handle)
{
	struct http *h = handle->data;

	if (--h->open > 0)
		return;
	MHD_stop_daemon(h->daemon);
	xfree(h);
}

void http_close(struct http **hp)
{
	struct http *h = *hp;

	if (h == NULL)
		return;
	uv_close((uv_handle_t *)&h->poll, on_closed);
	uv_close((uv_handle_t *)&h->timer, on_closed);
	*hp = NULL;
}
