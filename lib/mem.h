/* lib/mem.h - allocation that does not fail softly
 *
 * Each of these returns memory or ends the process with exit code 71 after a
 * log line.  Limits on sizes that come from outside are therefore checked by
 * the caller, from configuration, before it allocates.  Release with xfree().
 */
#ifndef LIB_MEM_H
#define LIB_MEM_H

#include <stddef.h>

void *xmalloc(size_t len);            /* uninitialised */
void *xcalloc(size_t n, size_t len);  /* zeroed; n * len may not overflow */
void *xrealloc(void *p, size_t len);  /* p may be NULL */
void *xmemdup(const void *p, size_t len);             /* p may be NULL when len is 0 */
char *xstrdup(const char *s);
char *xstrndup(const char *s, size_t len);            /* always terminated; s as p above */
char *xasprintf(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void  xfree(void *p);                 /* NULL is fine */

#endif
