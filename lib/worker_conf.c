/* lib/worker_conf.c - the part of the configuration that all programs read
 *
 * The table of common parameters, and one way to load them with a section; the
 * sections of other stages are left alone.
 */
#include "lib/worker.h"

#include <stdio.h>
#include <string.h>
#include "lib/log.h"
#include "lib/mem.h"

enum { NAME_MAX_LEN = 32 };

const char *const worker_stages[] = { "ingest", "policy", "holdq", "delivery", NULL };

static const char *const log_levels[] = { "error", "warn", "info", "debug", NULL };
static const char *const log_formats[] = { "text", "json", NULL };

#define ROW(field) offsetof(struct worker_instance, field)

static const struct conf_param instance_params[] = {
	{ "name", CONF_TEXT, ROW(name), NULL, 1, NAME_MAX_LEN,
	  "unique; a-z, 0-9 and -; its store is data_dir/NAME", NULL, NULL, 0 },
	{ "stage", CONF_WORD, ROW(stage), NULL, 0, 0, "which program it is", worker_stages,
	  NULL, 0 },
	{ "bus", CONF_TEXT, ROW(bus), NULL, 7, 255,
	  "where it answers the others: ipc:///PATH or tcp://ADDRESS:PORT", NULL, NULL, 0 },
	{ "metrics", CONF_TEXT, ROW(metrics), "", 0, 64,
	  "loopback ADDRESS:PORT of /metrics, /healthz, /readyz; empty: none", NULL, NULL, 0 },
	{ 0 },
};

#define AT(field) offsetof(struct common_conf, field)
#define KIB 1024ull
#define MIB (1024 * KIB)
#define GIB (1024 * MIB)

const struct conf_param common_params[] = {
	{ "hostname", CONF_TEXT, AT(hostname), NULL, 1, 253,
	  "our name in greetings, EHLO, Received and reports", NULL, NULL, 0 },
	{ "data_dir", CONF_TEXT, AT(data_dir), "/var/lib/holdfast", 1, 255,
	  "folder of the stores, one below it for each instance", NULL, NULL, 0 },
	{ "user", CONF_TEXT, AT(user), "", 1, 32,
	  "whom to become when started by root; empty: stay", NULL, NULL, 0 },
	{ "sandbox", CONF_BOOL, AT(sandbox), "yes", 0, 0,
	  "refuse ourselves the system calls that we never need", NULL, NULL, 0 },
	{ "log_level", CONF_WORD, AT(log_level), "info", 0, 0, "least important lines to write",
	  log_levels, NULL, 0 },
	{ "log_format", CONF_WORD, AT(log_format), "text", 0, 0,
	  "key=value text, or one JSON object a line", log_formats, NULL, 0 },
	{ "drain_wait", CONF_DURATION, AT(drain_wait_ms), "30s", 0, 3600000,
	  "how long SIGTERM waits for what is in flight", NULL, NULL, 0 },
	{ "instances", CONF_ROWS, AT(instances), NULL, 1, 256,
	  "every process of the relay, on all hosts", NULL, instance_params,
	  sizeof(struct worker_instance) },
	{ "kv_cache", CONF_SIZE, AT(kv_cache_bytes), "64MiB", MIB, 1024 * GIB,
	  "block cache of a store", NULL, NULL, 0 },
	{ "kv_write_buffer", CONF_SIZE, AT(kv_write_buffer_bytes), "128MiB", MIB, 64 * GIB,
	  "what a store gathers in memory before it sorts it to disk", NULL, NULL, 0 },
	{ "kv_batch", CONF_SIZE, AT(kv_batch_bytes), "4MiB", 64 * KIB, GIB,
	  "most bytes joined into one synced write", NULL, NULL, 0 },
	{ "kv_pending", CONF_SIZE, AT(kv_pending_bytes), "64MiB", MIB, 64 * GIB,
	  "most bytes waiting for the disk; then no new work is taken", NULL, NULL, 0 },
	{ "bus_hello_interval", CONF_DURATION, AT(bus_hello_interval_ms), "1s", 50, 60000,
	  "how often a link is tested; three misses mean down", NULL, NULL, 0 },
	{ "bus_credit_messages", CONF_NUMBER, AT(bus_credit_messages), "512", 1, 1000000,
	  "messages that an asker may have open with us", NULL, NULL, 0 },
	{ "bus_credit_bytes", CONF_SIZE, AT(bus_credit_bytes), "64MiB", 64 * KIB, 64 * GIB,
	  "message bytes that an asker may have open with us", NULL, NULL, 0 },
	{ "bus_waiting_asks", CONF_NUMBER, AT(bus_waiting_asks), "8192", 1, 10000000,
	  "questions that wait for a link or for credit, each link", NULL, NULL, 0 },
	{ "bus_frame_size", CONF_SIZE, AT(bus_frame_bytes), "64KiB", 4 * KIB, 16 * MIB,
	  "largest frame taken", NULL, NULL, 0 },
	{ "bus_body_size", CONF_SIZE, AT(bus_body_bytes), "64MiB", 64 * KIB, 2 * GIB,
	  "largest message taken over the bus", NULL, NULL, 0 },
	{ 0 },
};

static bool name_good(const char *name)
{
	return strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-") == strlen(name);
}

static bool is_taken(const struct worker_instance *row, size_t i)
{
	for (size_t j = 0; j < i; j++) {
		if (strcmp(row[i].name, row[j].name) == 0)
			return true;
	}
	return false;
}

static enum err check_instances(const struct common_conf *c, const char *path,
                                char why[CONF_ERR_MAX])
{
	const struct worker_instance *row = c->instances.row;

	for (size_t i = 0; i < c->instances.n; i++) {
		const char *fault = !name_good(row[i].name) ? "a name has a-z, 0-9 and - only"
		                  : is_taken(row, i) ? "the name is there twice" : NULL;

		if (fault == NULL)
			continue;
		snprintf(why, CONF_ERR_MAX, "%s: instances: \"%s\": %s", path, row[i].name,
		         fault);
		return ERR_SYNTAX;
	}
	return ERR_OK;
}

enum err worker_conf_load(const char *path, const char *section,
                          const struct conf_param *params, void *out,
                          struct common_conf *common, char why[CONF_ERR_MAX])
{
	struct conf_section sections[] = {
		{ NULL, common_params, common },
		{ section, section == NULL ? NULL : params, out },
		{ NULL, NULL, NULL },
	};
	enum err err = conf_load(path, sections, worker_stages, why);

	if (err != ERR_OK)
		return err;
	err = check_instances(common, path, why);
	if (err == ERR_OK)
		return ERR_OK;
	conf_free(common_params, common);
	memset(common, 0, sizeof(*common));
	if (section != NULL)
		conf_free(params, out);
	return err;
}
