/* lib/log.c - the process-wide log on standard error
 *
 * A line is built and appended to one pending buffer under one lock; whole
 * lines reach standard error, and only there may a call wait.  When the reader
 * of a non-blocking standard error does not take a line within a second, the
 * rest is dropped and counted: the log never stops a worker.
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "lib/buf.h"
#include "lib/clock.h"
#include "lib/log.h"
#include "lib/log_escape.h"

#define PENDING_MAX 65536 /* written out when more is waiting */
#define VALUE_MAX   1024  /* bytes of one value that are shown */
#define WAIT_MS     1000

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct buf      pending;
static uint64_t        dropped_bytes;
static char            worker[64];
static bool            opened;
static enum log_format format = LOG_TEXT;
static atomic_int      threshold = LVL_INFO;

static const char *const level_names[] = { "error", "warn", "info", "debug" };

void log_open(const char *name, enum log_level level, enum log_format fmt)
{
	pthread_mutex_lock(&lock);
	(void)snprintf(worker, sizeof(worker), "%s", name); /* longer names are cut */
	format = fmt;
	opened = true;
	pthread_mutex_unlock(&lock);
	log_set_level(level);
}

void log_set_level(enum log_level level)
{
	atomic_store_explicit(&threshold, (int)level, memory_order_relaxed);
}

int log_level_on(enum log_level level)
{
	return (int)level <= atomic_load_explicit(&threshold, memory_order_relaxed);
}

static void drop_pending(void)
{
	dropped_bytes += pending.len;
	buf_reset(&pending);
}

static void write_pending(void)
{
	while (pending.len > 0) {
		struct pollfd p = { .fd = STDERR_FILENO, .events = POLLOUT };
		ssize_t n = write(STDERR_FILENO, pending.data, pending.len);

		if (n > 0)
			buf_consume(&pending, (size_t)n);
		else if (n < 0 && errno == EINTR)
			continue;
		else if (n < 0 && errno == EAGAIN && poll(&p, 1, WAIT_MS) > 0)
			continue;
		else
			drop_pending();
	}
}

static void add_time(struct buf *b)
{
	uint64_t now = clock_wall_ms();
	time_t sec = (time_t)(now / 1000);
	struct tm tm;

	if (gmtime_r(&sec, &tm) == NULL)
		tm = (struct tm){ 0 };
	buf_addf(b, "%04d-%02d-%02dT%02d:%02d:%02d.%03uZ", tm.tm_year + 1900, tm.tm_mon + 1,
	         tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec, (unsigned)(now % 1000));
}

static void add_bytes(struct buf *b, const void *p, size_t len)
{
	size_t shown = len < VALUE_MAX ? len : VALUE_MAX;

	if (format == LOG_JSON)
		log_escape_json(b, p, shown, len - shown);
	else
		log_escape_text(b, p, shown, len - shown);
}

static void add_value(struct buf *b, const struct log_kv *kv)
{
	char id[UUID_CHARS + 1];
	const char *s = kv->p;

	switch (kv->kind) {
	case LOGK_U64:
		buf_addf(b, "%llu", (unsigned long long)kv->n);
		return;
	case LOGK_I64:
		buf_addf(b, "%lld", (long long)(int64_t)kv->n);
		return;
	case LOGK_BYTES:
		add_bytes(b, kv->p, kv->p != NULL ? kv->n : 0);
		return;
	case LOGK_UUID:
		if (kv->p != NULL)
			uuid_text(kv->p, id);
		s = kv->p != NULL ? id : NULL;
		break;
	case LOGK_STR:
		break;
	}
	if (s == NULL)
		buf_adds(b, format == LOG_JSON ? "null" : "-");
	else
		add_bytes(b, s, strlen(s));
}

static void add_line_text(struct buf *b, enum log_level level, const char *event,
                          const struct log_kv *kv)
{
	add_time(b);
	buf_addf(b, " %s %s ", opened ? worker : program_invocation_short_name,
	         level_names[level]);
	buf_adds(b, event);
	for (; kv->key != NULL; kv++) {
		buf_addf(b, " %s=", kv->key);
		add_value(b, kv);
	}
	buf_addc(b, '\n');
}

static void add_line_json(struct buf *b, enum log_level level, const char *event,
                          const struct log_kv *kv)
{
	const char *who = opened ? worker : program_invocation_short_name;

	buf_adds(b, "{\"time\":\"");
	add_time(b);
	buf_adds(b, "\",\"worker\":");
	log_escape_json(b, who, strlen(who), 0);
	buf_addf(b, ",\"level\":\"%s\",\"event\":", level_names[level]);
	log_escape_json(b, event, strlen(event), 0);
	for (; kv->key != NULL; kv++) {
		buf_addc(b, ',');
		log_escape_json(b, kv->key, strlen(kv->key), 0);
		buf_addc(b, ':');
		add_value(b, kv);
	}
	buf_adds(b, "}\n");
}

/* The lock is held. */
static void add_line(enum log_level level, const char *event, const struct log_kv *kv)
{
	if (format == LOG_JSON)
		add_line_json(&pending, level, event, kv);
	else
		add_line_text(&pending, level, event, kv);
}

static void tell_dropped(void)
{
	struct log_kv kv[] = { LOGU("bytes", dropped_bytes), { NULL, LOGK_STR, NULL, 0 } };

	if (dropped_bytes == 0)
		return;
	dropped_bytes = 0;
	add_line(LVL_WARN, "log-dropped", kv);
}

void log_emit(enum log_level level, const char *event, const struct log_kv *kv)
{
	if (!log_level_on(level))
		return;
	pthread_mutex_lock(&lock);
	tell_dropped();
	add_line(level, event, kv);
	if (!opened || level <= LVL_WARN || pending.len > PENDING_MAX)
		write_pending();
	pthread_mutex_unlock(&lock);
}

void log_flush(void)
{
	pthread_mutex_lock(&lock);
	write_pending();
	pthread_mutex_unlock(&lock);
}

void log_fatal(int code, const char *event, const struct log_kv *kv)
{
	log_emit(LVL_ERROR, event, kv);
	/* Not exit(): its handlers would tear down what other threads still use. */
	_exit(code);
}

void log_bug(const char *what, const char *file, int line)
{
	log_error("bug", LOGS("what", what), LOGS("file", file), LOGI("line", line));
	abort();
}
