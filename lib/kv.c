/* lib/kv.c - opening and closing the store
 *
 * Owns RocksDB's objects.  The default family holds what the store says of
 * itself: its id and the version of its layout.  Opening fails, with the reason
 * in the log, rather than guess: another process's store, families that this
 * program does not know, a layout of a later version.
 */
#include "lib/kv_private.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>
#include "lib/log.h"
#include "lib/mem.h"

enum { LAYOUT_VERSION = 1 };

static const char key_id[] = "store.id";
static const char key_version[] = "store.version";

void kv_log_failure(const struct kv *kv, const char *event, char *said)
{
	log_error(event, LOGS("dir", kv->dir), LOGS("reason", said));
	rocksdb_free(said);
}

static void log_open_failure(const struct kv *kv, const char *reason, const char *what)
{
	log_error("kv_open_failed", LOGS("dir", kv->dir), LOGS("reason", reason),
	          LOGS("what", what));
}

static enum err make_dir(const struct kv *kv)
{
	char *path = xstrdup(kv->dir);
	enum err err = ERR_OK;

	for (char *p = path + 1; err == ERR_OK; p++) {
		char c = *p;

		if (c != '/' && c != '\0')
			continue;
		*p = '\0';
		if (mkdir(path, 0700) != 0 && errno != EEXIST) {
			log_open_failure(kv, strerror(errno), path);
			err = ERR_IO;
		}
		*p = c;
		if (c == '\0')
			break;
	}
	xfree(path);
	return err;
}

static bool known_family(const char *name, const struct kv_cf *cfs, size_t n_cfs)
{
	if (strcmp(name, "default") == 0)
		return true;
	for (size_t i = 0; i < n_cfs; i++) {
		if (strcmp(name, cfs[i].name) == 0)
			return true;
	}
	return false;
}

/* RocksDB wants every family opened; one that we do not know means that a later
 * or another program owns this directory. */
static enum err check_families(const struct kv *kv, const struct kv_cf *cfs)
{
	char *current = xasprintf("%s/CURRENT", kv->dir);
	bool fresh = access(current, F_OK) != 0;
	char *said = NULL;
	enum err err = ERR_OK;
	char **names;
	size_t n = 0;

	xfree(current);
	if (fresh)
		return ERR_OK;
	names = rocksdb_list_column_families(kv->options[0], kv->dir, &n, &said);
	if (said != NULL) {
		kv_log_failure(kv, "kv_open_failed", said);
		return ERR_IO;
	}
	for (size_t i = 0; i < n; i++) {
		if (known_family(names[i], cfs, kv->n_cfs))
			continue;
		log_open_failure(kv, "unknown column family", names[i]);
		err = ERR_IO;
	}
	rocksdb_list_column_families_destroy(names, n);
	return err;
}

static bool is_lock_failure(const char *said)
{
	return strstr(said, "/LOCK: Resource temporarily unavailable") != NULL ||
	       strstr(said, "/LOCK: No locks available") != NULL;
}

static enum err open_db(struct kv *kv, const struct kv_cf *cfs)
{
	const char **names = xcalloc(kv->n_cfs + 1, sizeof(*names));
	char *said = NULL;
	enum err err;

	names[0] = "default";
	for (size_t i = 0; i < kv->n_cfs; i++)
		names[i + 1] = cfs[i].name;
	kv->handles = xcalloc(kv->n_cfs + 1, sizeof(*kv->handles));
	kv->db = rocksdb_open_column_families(kv->options[0], kv->dir, (int)kv->n_cfs + 1, names,
	                                      (const rocksdb_options_t *const *)kv->options,
	                                      kv->handles, &said);
	xfree(names);
	if (said == NULL)
		return ERR_OK;
	err = is_lock_failure(said) ? ERR_EXIST : ERR_IO;
	kv_log_failure(kv, "kv_open_failed", said);
	kv->db = NULL;
	return err;
}

static enum err create_identity(struct kv *kv)
{
	rocksdb_writeoptions_t *w = rocksdb_writeoptions_create();
	rocksdb_writebatch_t *b = rocksdb_writebatch_create();
	const char version = LAYOUT_VERSION;
	char *said = NULL;

	if (getrandom(kv->store_id, sizeof(kv->store_id), 0) != sizeof(kv->store_id))
		log_fatal(71, "random_failed", LOG_PAIRS(LOGS("reason", strerror(errno))));
	rocksdb_writebatch_put(b, key_id, strlen(key_id), (const char *)kv->store_id,
	                       sizeof(kv->store_id));
	rocksdb_writebatch_put(b, key_version, strlen(key_version), &version, 1);
	rocksdb_writeoptions_set_sync(w, 1);
	rocksdb_write(kv->db, w, b, &said);
	rocksdb_writebatch_destroy(b);
	rocksdb_writeoptions_destroy(w);
	if (said == NULL)
		return ERR_OK;
	kv_log_failure(kv, "kv_open_failed", said);
	return ERR_IO;
}

static enum err check_version(struct kv *kv)
{
	char *said = NULL;
	size_t len = 0;
	char *val = rocksdb_get(kv->db, kv->ropts, key_version, strlen(key_version), &len, &said);
	bool fits = val != NULL && len == 1 && val[0] == LAYOUT_VERSION;

	if (said != NULL) {
		kv_log_failure(kv, "kv_open_failed", said);
		return ERR_IO;
	}
	rocksdb_free(val);
	if (fits)
		return ERR_OK;
	log_open_failure(kv, "layout version is not ours", kv->dir);
	return ERR_IO;
}

/* The id is written before kv_open() first returns, so a store without one is new. */
static enum err load_identity(struct kv *kv)
{
	char *said = NULL;
	size_t len = 0;
	char *val = rocksdb_get(kv->db, kv->ropts, key_id, strlen(key_id), &len, &said);

	if (said != NULL) {
		kv_log_failure(kv, "kv_open_failed", said);
		return ERR_IO;
	}
	if (val == NULL)
		return create_identity(kv);
	if (len != sizeof(kv->store_id)) {
		log_open_failure(kv, "store id is damaged", kv->dir);
		rocksdb_free(val);
		return ERR_IO;
	}
	memcpy(kv->store_id, val, len);
	rocksdb_free(val);
	return check_version(kv);
}

/* All but the loop's handle, which is part of the memory. */
static void release(struct kv *kv)
{
	if (kv->db != NULL) {
		for (size_t i = 0; i <= kv->n_cfs; i++)
			rocksdb_column_family_handle_destroy(kv->handles[i]);
		rocksdb_close(kv->db);
	}
	xfree(kv->handles);
	rocksdb_readoptions_destroy(kv->ropts);
	kv_options_free(kv);
	xfree(kv->dir);
}

enum err kv_open(uv_loop_t *loop, const char *dir, const struct kv_cf *cfs, size_t n_cfs,
                 const struct kv_conf *conf, struct kv **out)
{
	struct kv *kv = xcalloc(1, sizeof(*kv));
	enum err err;

	kv->conf = *conf;
	kv->dir = xstrdup(dir);
	kv->n_cfs = n_cfs;
	kv->ropts = rocksdb_readoptions_create();
	kv_options_make(kv, cfs);
	err = make_dir(kv);
	if (err == ERR_OK)
		err = check_families(kv, cfs);
	if (err == ERR_OK)
		err = open_db(kv, cfs);
	if (err == ERR_OK)
		err = load_identity(kv);
	if (err == ERR_OK)
		err = kv_writer_start(kv, loop);
	if (err != ERR_OK) {
		release(kv);
		xfree(kv);
		return err;
	}
	*out = kv;
	return ERR_OK;
}

static void on_closed(uv_handle_t *async)
{
	xfree(async->data);
}

void kv_close(struct kv **kvp)
{
	struct kv *kv = *kvp;

	if (kv == NULL)
		return;
	kv_writer_stop(kv);
	release(kv);
	uv_close((uv_handle_t *)&kv->async, on_closed);
	*kvp = NULL;
}

const uint8_t *kv_store_id(const struct kv *kv)
{
	return kv->store_id;
}
