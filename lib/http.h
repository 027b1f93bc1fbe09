/* lib/http.h - /metrics, /healthz and /readyz on a loopback port
 *
 * libmicrohttpd without threads of its own, its epoll descriptor on the loop.
 * Only loopback addresses are bound; anything else is a configuration error.
 */
#ifndef LIB_HTTP_H
#define LIB_HTTP_H

#include <stdbool.h>
#include <uv.h>
#include "lib/buf.h"
#include "lib/err.h"

struct http;

struct http_source {
	void (*metrics)(void *arg, struct buf *out); /* append the exposition */
	bool (*healthy)(void *arg);
	bool (*ready)(void *arg);
	void *arg;
};

/* address is "127.0.0.1:PORT" or "[::1]:PORT".  ERR_SYNTAX: not that, or not
 * loopback; ERR_IO: the port is taken. */
enum err http_open(uv_loop_t *loop, const char *address, const struct http_source *src,
                   struct http **out) MUST_CHECK;
void http_close(struct http **h); /* its handles die in the next loop turns; NULL is fine */

#endif
