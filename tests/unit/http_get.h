/* tests/unit/http_get.h - a blocking HTTP client of a few lines, and free ports
 *
 * For tests only: sends the bytes it is given, reads until the server closes or
 * the answer is whole, and gives up after ten seconds.
 */
#ifndef TESTS_HTTP_GET_H
#define TESTS_HTTP_GET_H

#include <arpa/inet.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>
#include "lib/buf.h"

static inline struct sockaddr_in http_address(unsigned port)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };

	a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	return a;
}

/* A port that was free a moment ago; 0 on failure. */
static inline unsigned http_free_port(void)
{
	struct sockaddr_in a = http_address(0);
	socklen_t len = sizeof(a);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	unsigned port = 0;

	if (fd >= 0 && bind(fd, (struct sockaddr *)&a, sizeof(a)) == 0
	    && getsockname(fd, (struct sockaddr *)&a, &len) == 0)
		port = ntohs(a.sin_port);
	close(fd);
	return port;
}

static inline int http_connect(unsigned port)
{
	struct sockaddr_in a = http_address(port);
	struct timeval wait = { .tv_sec = 10 };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	(void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait));
	if (connect(fd, (struct sockaddr *)&a, sizeof(a)) == 0)
		return fd;
	close(fd);
	return -1;
}

/* The whole answer to request; empty when there is none.  The request should ask
 * for "Connection: close". */
static inline void http_ask(unsigned port, const char *request, struct buf *answer)
{
	int fd = http_connect(port);
	size_t len = strlen(request);
	ssize_t n;

	buf_reset(answer);
	if (fd < 0)
		return;
	if (send(fd, request, len, MSG_NOSIGNAL) == (ssize_t)len) {
		while ((n = recv(fd, buf_room(answer, 4096), 4096, 0)) > 0)
			buf_grew(answer, (size_t)n);
	}
	close(fd);
}

static inline void http_get(unsigned port, const char *path, struct buf *answer)
{
	char request[200];

	snprintf(request, sizeof(request),
	         "GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", path);
	http_ask(port, request, answer);
}

#endif
