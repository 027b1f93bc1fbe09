/* lib/privs_private.h - the filter, made in privs_filter.c and loaded by privs.c
 *
 * Also says whether this is a build with sanitizers, whose filter is wider.
 */
#ifndef LIB_PRIVS_PRIVATE_H
#define LIB_PRIVS_PRIVATE_H

/* The sanitizers' leak check stops all threads by ptrace() from a process of its own. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define PRIVS_SANITIZER 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || \
	__has_feature(memory_sanitizer)
#define PRIVS_SANITIZER 1
#endif
#endif
#ifndef PRIVS_SANITIZER
#define PRIVS_SANITIZER 0
#endif

/* Build the filter and load it for all threads; sets no-new-privileges.  Returns 0, or a
 * negative errno. */
int privs_filter_load(void);

#endif
