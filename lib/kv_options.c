/* lib/kv_options.c - how each kind of column family is laid out on disk
 *
 * All tuning of RocksDB is here.  Aims: a message that is put, delivered within
 * milliseconds and deleted dies in the memtable and never reaches an SST or a
 * blob file; memory is bounded by cache plus write buffers; a memtable switch
 * never stops the writer.  Not used, because 7.8 has faults there:
 * manual_wal_flush, recycle_log_file_num, more than a few background jobs.
 */
#include "lib/kv_private.h"

#include "lib/mem.h"

enum {
	OPEN_FILES = 512,
	BACKGROUND_JOBS = 2,
	WRITE_BUFFERS = 6,        /* one fills, the others wait for their flush */
	LOG_FILE_BYTES = 4 << 20,
	LOG_FILES = 4,
	BLOB_MIN_BYTES = 4096,
	BLOB_FILE_BYTES = 64 << 20,
	SYNC_STEP_BYTES = 1 << 20, /* background files: no burst of writes at their end */
	LOG_LEVEL_WARN = 2,
};

static rocksdb_options_t *common_options(const struct kv *kv)
{
	rocksdb_options_t *o = rocksdb_options_create();

	rocksdb_options_set_create_if_missing(o, 1);
	rocksdb_options_set_create_missing_column_families(o, 1);
	rocksdb_options_set_db_write_buffer_size(o, kv->conf.write_buffer_bytes);
	/* An idle family would pin every WAL since its last write. */
	rocksdb_options_set_max_total_wal_size(o, 2 * kv->conf.write_buffer_bytes);
	rocksdb_options_set_max_write_buffer_number(o, WRITE_BUFFERS);
	rocksdb_options_set_max_open_files(o, OPEN_FILES);
	rocksdb_options_set_max_background_jobs(o, BACKGROUND_JOBS);
	rocksdb_options_set_bytes_per_sync(o, SYNC_STEP_BYTES);
	rocksdb_options_set_stats_dump_period_sec(o, 0);
	rocksdb_options_set_info_log_level(o, LOG_LEVEL_WARN);
	rocksdb_options_set_max_log_file_size(o, LOG_FILE_BYTES);
	rocksdb_options_set_keep_log_file_num(o, LOG_FILES);
	return o;
}

static void use_records(rocksdb_options_t *o, const struct kv *kv)
{
	rocksdb_options_set_write_buffer_size(o, kv->conf.write_buffer_bytes / 4);
	rocksdb_options_set_compression(o, rocksdb_lz4_compression);
}

/* Bodies that live long enough to be flushed lie in blob files.  LZ4 costs 6 us
 * of CPU for a text of 10 KiB there and saves 40 % of the bytes; a body that dies
 * before is never compressed.  Without the deletion collector no space ever
 * comes back. */
static void use_blobs(rocksdb_options_t *o, const struct kv *kv)
{
	rocksdb_options_set_write_buffer_size(o, kv->conf.write_buffer_bytes / 2);
	rocksdb_options_set_compression(o, rocksdb_lz4_compression);
	rocksdb_options_set_enable_blob_files(o, 1);
	rocksdb_options_set_min_blob_size(o, BLOB_MIN_BYTES);
	rocksdb_options_set_blob_file_size(o, BLOB_FILE_BYTES);
	rocksdb_options_set_blob_compression_type(o, rocksdb_lz4_compression);
	rocksdb_options_set_enable_blob_gc(o, 1);
	rocksdb_options_set_blob_gc_age_cutoff(o, 1.0);
	rocksdb_options_set_blob_gc_force_threshold(o, 0.5);
	rocksdb_options_add_compact_on_deletion_collector_factory(o, 256, 128);
}

static void use_queue(rocksdb_options_t *o, const struct kv *kv)
{
	rocksdb_options_set_write_buffer_size(o, kv->conf.write_buffer_bytes / 4);
	rocksdb_options_set_compression(o, rocksdb_lz4_compression);
	rocksdb_options_add_compact_on_deletion_collector_factory(o, 1024, 512);
}

static void (*const uses[])(rocksdb_options_t *, const struct kv *) = {
	[KV_RECORDS] = use_records,
	[KV_BLOBS] = use_blobs,
	[KV_QUEUE] = use_queue,
};

/* The options take over the filter; the cache is shared and counted. */
static rocksdb_block_based_table_options_t *table_options(const struct kv *kv)
{
	rocksdb_block_based_table_options_t *t = rocksdb_block_based_options_create();

	rocksdb_block_based_options_set_block_cache(t, kv->cache);
	rocksdb_block_based_options_set_cache_index_and_filter_blocks(t, 1);
	rocksdb_block_based_options_set_pin_l0_filter_and_index_blocks_in_cache(t, 1);
	rocksdb_block_based_options_set_filter_policy(t,
	                                              rocksdb_filterpolicy_create_bloom_full(10));
	rocksdb_block_based_options_set_whole_key_filtering(t, 1);
	rocksdb_block_based_options_set_format_version(t, 5);
	return t;
}

void kv_options_make(struct kv *kv, const struct kv_cf *cfs)
{
	kv->cache = rocksdb_cache_create_lru(kv->conf.cache_bytes);
	kv->options = xcalloc(kv->n_cfs + 1, sizeof(*kv->options));
	kv->tables = xcalloc(kv->n_cfs + 1, sizeof(*kv->tables));
	for (size_t i = 0; i <= kv->n_cfs; i++) {
		kv->options[i] = common_options(kv);
		uses[i == 0 ? KV_RECORDS : cfs[i - 1].use](kv->options[i], kv);
		kv->tables[i] = table_options(kv);
		rocksdb_options_set_block_based_table_factory(kv->options[i], kv->tables[i]);
	}
}

void kv_options_free(struct kv *kv)
{
	for (size_t i = 0; i <= kv->n_cfs; i++) {
		rocksdb_options_destroy(kv->options[i]);
		rocksdb_block_based_options_destroy(kv->tables[i]);
	}
	xfree(kv->options);
	xfree(kv->tables);
	rocksdb_cache_destroy(kv->cache);
}
