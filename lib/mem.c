/* lib/mem.c - allocation that ends the process instead of failing
 *
 * The line about it is written with write(2) from the stack: the log needs
 * memory, and there is none.  Exit is immediate, without exit handlers, which
 * may allocate too.  Any thread may call.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>
#include "lib/mem.h"

static void out_of_memory(size_t len) __attribute__((noreturn));

static void out_of_memory(size_t len)
{
	char line[128];
	int n = snprintf(line, sizeof(line), "%s error out-of-memory bytes=%zu\n",
	                 program_invocation_short_name, len);

	if (n > (int)sizeof(line) - 1)
		n = sizeof(line) - 1;
	if (write(STDERR_FILENO, line, (size_t)n) < 0)
		_exit(EX_OSERR);
	_exit(EX_OSERR);
}

void *xmalloc(size_t len)
{
	void *p = malloc(len > 0 ? len : 1);

	if (p == NULL)
		out_of_memory(len);
	return p;
}

void *xcalloc(size_t n, size_t len)
{
	void *p = calloc(n > 0 ? n : 1, len > 0 ? len : 1);

	if (p == NULL)
		out_of_memory(len != 0 && n > SIZE_MAX / len ? SIZE_MAX : n * len);
	return p;
}

void *xrealloc(void *p, size_t len)
{
	void *q = realloc(p, len > 0 ? len : 1);

	if (q == NULL)
		out_of_memory(len);
	return q;
}

void *xmemdup(const void *p, size_t len)
{
	void *q = xmalloc(len);

	if (len > 0)
		memcpy(q, p, len);
	return q;
}

char *xstrdup(const char *s)
{
	return xmemdup(s, strlen(s) + 1);
}

char *xstrndup(const char *s, size_t len)
{
	size_t n = len > 0 ? strnlen(s, len) : 0;
	char *q = xmalloc(n + 1);

	if (n > 0)
		memcpy(q, s, n);
	q[n] = '\0';
	return q;
}

char *xasprintf(const char *fmt, ...)
{
	va_list ap;
	char *s;
	int n;

	va_start(ap, fmt);
	n = vasprintf(&s, fmt, ap);
	va_end(ap);
	if (n < 0)
		out_of_memory(0);
	return s;
}

void xfree(void *p)
{
	free(p);
}
