/* lib/log.h - one line per event, key=value or JSON, and the ways to die
 *
 * A line is: time, worker, level, event, then pairs.  Level says who must act:
 * error = an operator now, warn = an operator some day, info = nobody (the
 * mail's story), debug = a developer.  Control bytes and quotes in values are
 * escaped, so that nothing from outside can forge a line.  Lines are buffered
 * and flushed by log_flush() (the worker calls it once a loop turn), and at
 * once for warn and error.  One process-wide log; any thread may call.
 */
#ifndef LIB_LOG_H
#define LIB_LOG_H

#include <stddef.h>
#include <stdint.h>
#include "lib/err.h"
#include "lib/uuid.h"

enum log_level { LVL_ERROR, LVL_WARN, LVL_INFO, LVL_DEBUG };
enum log_format { LOG_TEXT, LOG_JSON };

struct log_kv {
	const char *key; /* NULL ends a list */
	enum { LOGK_STR, LOGK_BYTES, LOGK_U64, LOGK_I64, LOGK_UUID } kind;
	const void *p;
	uint64_t    n;
};

#define LOGS(k, s)    { (k), LOGK_STR, (s), 0 }            /* C string; NULL shows as "-" */
#define LOGB(k, p, n) { (k), LOGK_BYTES, (p), (n) }        /* bytes */
#define LOGU(k, n)    { (k), LOGK_U64, NULL, (uint64_t)(n) }
#define LOGI(k, n)    { (k), LOGK_I64, NULL, (uint64_t)(int64_t)(n) }
#define LOGID(u)      { "id", LOGK_UUID, (u), 0 }          /* const struct uuid *: the mail's id */
#define LOGE(e)       { "err", LOGK_STR, err_text(e), 0 }

#define LOG_PAIRS(...) ((struct log_kv[]){ __VA_ARGS__ __VA_OPT__(,) { NULL, LOGK_STR, NULL, 0 } })
#define log_error(ev, ...) log_emit(LVL_ERROR, (ev), LOG_PAIRS(__VA_ARGS__))
#define log_warn(ev, ...)  log_emit(LVL_WARN, (ev), LOG_PAIRS(__VA_ARGS__))
#define log_info(ev, ...)  log_emit(LVL_INFO, (ev), LOG_PAIRS(__VA_ARGS__))
#define log_debug(ev, ...) \
	do { \
		if (log_level_on(LVL_DEBUG)) \
			log_emit(LVL_DEBUG, (ev), LOG_PAIRS(__VA_ARGS__)); \
	} while (0)

/* Start logging as worker (for example "ingest-1") to standard error.  Before
 * this call lines go out unbuffered with the program's name. */
void log_open(const char *worker, enum log_level level, enum log_format format);
void log_set_level(enum log_level level);
int  log_level_on(enum log_level level);
void log_emit(enum log_level level, const char *event, const struct log_kv *kv);
void log_flush(void);

/* The environment failed (store, socket, file): one error line, exit(code),
 * where code is of sysexits.h.  The supervisor restarts us. */
void log_fatal(int code, const char *event, const struct log_kv *kv) __attribute__((noreturn));

/* We failed: one line with file and line, then abort(). */
#define die_bug(what) log_bug((what), __FILE__, __LINE__)
void log_bug(const char *what, const char *file, int line) __attribute__((noreturn));

#endif
