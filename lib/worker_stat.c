/* lib/worker_stat.c - figures of the process, from the kernel and the loop
 *
 * What cannot be read keeps its last value: figures are no reason to fail.
 */
#include "lib/worker_stat.h"

#include <dirent.h>
#include <sys/resource.h>
#include "lib/clock.h"

enum { RESIDENT, DESCRIPTORS, CPU, STARTED, IDLE, RELOADS };

static const char *const results[] = { "refused", "done", NULL };

static const struct metric_def defs[] = {
	[RESIDENT] = { "worker_resident_bytes", METRIC_GAUGE, "memory in use", NULL, NULL },
	[DESCRIPTORS] = { "worker_open_descriptors", METRIC_GAUGE, "open files and sockets",
		NULL, NULL },
	[CPU] = { "worker_cpu_seconds", METRIC_GAUGE, "processor time of all threads",
		NULL, NULL },
	[STARTED] = { "worker_start_time_seconds", METRIC_GAUGE, "start, since 1970", NULL, NULL },
	[IDLE] = { "worker_loop_idle_seconds", METRIC_GAUGE, "time the loop spent waiting",
		NULL, NULL },
	[RELOADS] = { "worker_reloads_total", METRIC_COUNTER, "reloads of the configuration",
		"result", results },
	{ .name = NULL },
};

struct metric_set *worker_stat_new(struct metrics *m)
{
	struct metric_set *s = metric_set_new(m, defs);

	metric_gauge(s, STARTED, (double)clock_wall_ms() / 1e3);
	return s;
}

static double seconds(const struct timeval *tv)
{
	return (double)tv->tv_sec + (double)tv->tv_usec / 1e6;
}

static unsigned count_descriptors(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned n = 0;

	if (dir == NULL)
		return 0;
	while (readdir(dir) != NULL)
		n++;
	closedir(dir);
	return n > 3 ? n - 3 : 0; /* ".", ".." and the folder itself */
}

void worker_stat_collect(struct metric_set *s, uv_loop_t *loop)
{
	struct rusage used;
	size_t resident;

	if (uv_resident_set_memory(&resident) == 0)
		metric_gauge(s, RESIDENT, (double)resident);
	if (getrusage(RUSAGE_SELF, &used) == 0)
		metric_gauge(s, CPU, seconds(&used.ru_utime) + seconds(&used.ru_stime));
	metric_gauge(s, DESCRIPTORS, count_descriptors());
	metric_gauge(s, IDLE, (double)uv_metrics_idle_time(loop) / 1e9);
}

void worker_stat_reloaded(struct metric_set *s, bool good)
{
	metric_add_label(s, RELOADS, good ? 1 : 0, 1);
}
