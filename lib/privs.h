/* lib/privs.h - what the process may do, given up in two steps
 *
 * A program may be started by root so that it can bind ports below 1024.
 *
 * privs_become(), before there is a second thread, makes it the configured user:
 * files belong to that user from the first one, and of root's powers only
 * CAP_NET_BIND_SERVICE is left, while the parts open.  privs_seal(), once all parts
 * are open, takes that as well, from every thread, and shuts the door: no new
 * privileges, and a seccomp filter that allows what the programs and their libraries
 * do.  There is no way back from either.
 *
 * What the filter refuses (table in privs_filter.c): EPERM for what only an intruder
 * asks for - running programs, tracing, mounting, changing users or namespaces,
 * loading code into the kernel, signalling others - and ENOSYS for every call that is
 * on no list, as an older kernel would answer, which libraries are prepared for.
 * Nothing is killed: a library that tries something must not take the mail down, and
 * an intruder gains nothing either way.
 *
 * why gets one line on error.
 */
#ifndef LIB_PRIVS_H
#define LIB_PRIVS_H

#include <stdbool.h>
#include "lib/err.h"

enum { PRIVS_WHY = 256 };

/* Become user, with its groups.  "" stays as it is; so does a user that we are
 * already.  ERR_NOENT: no such user; ERR_PERM: only root can; ERR_IO: the system
 * refused, and the process is in no state to go on. */
enum err privs_become(const char *user, char why[PRIVS_WHY]) MUST_CHECK;

/* May we keep a store in dir, below data_dir?  It must belong to us, else a later
 * start, by its owner, would find files that it cannot read; absent, we must be able
 * to make it.  ERR_PERM: no. */
enum err privs_check_dir(const char *data_dir, const char *dir, char why[PRIVS_WHY]) MUST_CHECK;

/* Give up what privs_become() kept, in all threads, and when `sandbox` load the filter
 * for all of them and forbid core dumps.  Threads that are made later inherit both.
 * A process that stayed root keeps root's capabilities, and one that was given some by
 * a service manager keeps these.  ERR_IO: the process must not go on. */
enum err privs_seal(bool sandbox, char why[PRIVS_WHY]) MUST_CHECK;

#endif
