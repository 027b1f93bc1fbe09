/* delivery/delivery.h - what the parts of this stage share: configuration, counters, state
 *
 * One struct delivery lives as long as the worker.  Everything runs on the loop's
 * thread.  Each member is opened and closed by life.c; a module gets the whole
 * only where it reaches several of them.
 */
#ifndef DELIVERY_DELIVERY_H
#define DELIVERY_DELIVERY_H

#include <stdbool.h>
#include <stdint.h>
#include "lib/conf.h"
#include "proto/outbox.h"
#include "proto/stage.h"

/* The `delivery:` section; rows and help are in main.c.  Times are in ms. */
struct delivery_conf {
	struct conf_map routes;
	char    *resolver;
	uint64_t smtp_port;
	bool     allow_private;
	bool     starttls, chunking;
	char    *tls_ca, *dnssec_anchor;
	uint64_t delay_notice_ms, report_message_bytes;
	uint64_t active_messages, active_bytes, destination_active;
	uint64_t destination_connections, total_connections, connection_messages;
	uint64_t connection_idle_ms, destination_pause_ms;
	uint64_t transaction_recipients;
	uint64_t retry_min_ms, retry_factor, retry_max_ms, retry_jitter, expire_ms;
	uint64_t recheck_age_ms, recheck_wait_ms, recheck_later_ms, account_later_ms;
	uint64_t taken_memory_ms;
	uint64_t dns_wait_ms, connect_wait_ms, greeting_wait_ms, command_wait_ms;
	uint64_t tls_wait_ms, data_wait_ms, body_wait_ms, end_wait_ms, quit_wait_ms;
};

enum delivery_metric {
	DM_OUTCOMES,     /* by enum ending (part.h) */
	DM_ATTEMPTS,
	DM_DEFERRALS,
	DM_TAKEN,
	DM_REPEATS,
	DM_REFUSED,
	DM_REPORTS,
	DM_REPORTS_DELAYED,
	DM_REPORTS_RELAYED,
	DM_DUPLICATES,
	DM_CONNECTIONS,
	DM_CONNECT_FAILURES,
	DM_PROTOCOL_ERRORS,
	DM_READ_BACK,
	DM_CORRUPT,
	DM_REQUIRETLS_PASSED_OVER,
	DM_DEPTH,
	DM_RECIPIENTS,
	DM_OLDEST_AGE,
	DM_ACTIVE,
	DM_ACTIVE_BYTES,
	DM_OPEN_CONNECTIONS,
	DM_IN_FLIGHT,
	DM_UNSENT_EVENTS,
	DM_DELAY
};

struct delivery {
	struct stage *stage;
	const struct delivery_conf *conf;
	struct outbox   *outbox;
	struct queue    *queue;
	struct tally    *tally;    /* recipients in custody, by account */
	struct pool     *pool;
	struct resolver *resolver;
	struct tls_context *tls;   /* NULL: never offered or not wanted */
	struct tls_context *tls_strict; /* verifies, for REQUIRETLS; NULL: it cannot */
	struct idmap    *notes;    /* batches that are being written: see finish.c */
	struct idmap    *takes;    /* hand-offs that are being written: see accept.c */
	struct idmap    *jobs;     /* jobs that policy is asked about: see recheck.c */
	uv_prepare_t     last;     /* frees all of this when the last session is gone */
	uint64_t         swept_ms; /* wall: when queue_sweep() last ran */
	bool             stalled;  /* the store slows writes: take nothing */
	bool             draining;
};

#endif
