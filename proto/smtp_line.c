/* proto/smtp_line.c - cut CRLF-ended lines out of what came
 *
 * Owns nothing and keeps nothing but the caller's `skipping`.  It looks for LF and asks what
 * stands before it, so that a bare CR or LF stays inside the line and spoils it.
 */
#include "proto/smtp_line.h"
#include <stdint.h>
#include <string.h>

/* Length of the first line in [p, p+n) with its CRLF, or 0. */
static size_t crlf_end(const char *p, size_t n)
{
	const char *from = p;
	const char *lf;

	while ((lf = memchr(from, '\n', n - (size_t)(from - p))) != NULL) {
		if (lf > p && lf[-1] == '\r')
			return (size_t)(lf - p) + 1;
		from = lf + 1;
	}
	return 0;
}

/* All of p, but for a last CR: its LF may be on the way. */
static size_t all_but_cr(const char *p, size_t n)
{
	return n > 0 && p[n - 1] == '\r' ? n - 1 : n;
}

static bool holds(const char *p, size_t n, int c)
{
	return n > 0 && memchr(p, c, n) != NULL;
}

enum smtp_line_result smtp_line_take(const char *p, size_t n, size_t max, bool *skipping,
                                     const char **line, size_t *len, size_t *used)
{
	size_t skipped = 0;
	size_t end;

	*used = 0;
	if (n == 0)
		return SMTP_LINE_MORE;
	if (*skipping) {
		skipped = crlf_end(p, n);
		*skipping = skipped == 0;
		*used = *skipping ? all_but_cr(p, n) : skipped;
		if (*skipping || skipped == n)
			return SMTP_LINE_MORE;
		p += skipped;
		n -= skipped;
	}
	end = crlf_end(p, n);
	if (end > max) {
		*used = skipped + end;
		return SMTP_LINE_TOO_LONG;
	}
	if (end == 0 && n >= max && all_but_cr(p, n) + 2 > max) {
		*skipping = true;
		*used = skipped + all_but_cr(p, n);
		return SMTP_LINE_TOO_LONG;
	}
	if (end == 0)
		return SMTP_LINE_MORE;
	*used = skipped + end;
	*line = p;
	*len = end - 2;
	if (holds(p, *len, '\r') || holds(p, *len, '\n') || holds(p, *len, '\0'))
		return SMTP_LINE_BAD;
	return SMTP_LINE_OK;
}
