/* ingest/ingest.h - what the parts of ingest share
 *
 * One struct ingest a process, reached through stage->state, which is NULL
 * before open and after close: every callback of bus, store and thread pool is
 * given the stage and looks there first.  One thread, the loop's; only
 * sasl_verify() runs on the pool.
 */
#ifndef INGEST_INGEST_H
#define INGEST_INGEST_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>
#include "ingest/limits.h"
#include "ingest/smtp_server.h"
#include "lib/idmap.h"
#include "lib/log.h"
#include "lib/net.h"
#include "lib/tls.h"
#include "proto/stage.h"

#define INGEST_ACCOUNT_MAX 64

struct session;
struct listener;
struct spool;
struct auth;
struct abandon;

TAILQ_HEAD(session_list, session);
TAILQ_HEAD(txn_list, txn);

/* ---- configuration: the section `ingest` */

enum ingest_role { DOOR_SUBMISSION, DOOR_SUBMISSIONS, DOOR_RELAY, DOOR_INBOUND };
enum auth_plaintext { PLAINTEXT_TLS, PLAINTEXT_LOOPBACK, PLAINTEXT_ALWAYS };

enum line_faults { FAULTS_REFUSE, FAULTS_FIX };

struct listener_conf {
	char *address; /* "0.0.0.0:587", "[::]:587" */
	int   role;    /* enum ingest_role */
	bool  proxy;   /* connections come from proxies and begin with a PROXY header */
};

struct certificate_conf {
	char *cert, *key;
};

struct ingest_conf {
	struct conf_rows listeners;    /* struct listener_conf */
	char    *tls_cert, *tls_key;   /* the default pair */
	struct conf_rows certificates; /* struct certificate_conf: more pairs, picked by SNI */
	struct conf_list proxy_networks, xclient_networks;
	int      auth_plaintext, line_faults;
	bool     requiretls;
	uint64_t max_message_size, max_recipients, max_hops;
	uint64_t max_sessions, max_sessions_ip, max_sessions_account, connect_rate;
	uint64_t max_errors, max_unknown, max_commands, max_messages, max_line;
	uint64_t auth_fail_window, auth_fail_ip, auth_fail_network, auth_fail_login;
	uint64_t command_timeout, data_timeout, data_total_timeout, greeting_delay; /* ms */
	uint64_t policy_wait, handoff_wait, custody_wait;                           /* ms */
	uint64_t spool_bytes, memory_bytes, spool_retry, spool_window, auth_waiting;
	uint64_t abandon_waiting;
};

struct net_list {
	struct net *net;
	size_t n;
};

/* ---- metrics (table in main.c, same order) */

enum ingest_metric {
	M_SESSIONS_OPEN, M_SESSIONS, M_SESSIONS_REFUSED, M_MESSAGES, M_MESSAGES_REFUSED,
	M_RCPTS, M_BYTES, M_COMMAND_TIMEOUTS, M_POLICY_FAILURES, M_CLIENT_GONE, M_LATE_ANSWERS,
	M_HANDOFF_SECONDS, M_SPOOLED, M_SPOOL_DEPTH, M_SPOOL_BYTES, M_MEMORY_BYTES,
	M_AUTH_FAILURES, M_ABANDONED, M_ABANDON_LOST, M_QUARANTINED,
	M_AUTH_BLOCKED, M_STALLED, M_EARLY_TALKERS, M_TLS, M_TLS_FAILURES, M_NOTIFICATIONS,
};

/* label values of M_MESSAGES */
enum ingest_way { WAY_DELIVERY, WAY_HOLD, WAY_SPOOL, WAY_NOBODY };
/* label values of M_MESSAGES_REFUSED */
enum ingest_no { NO_CONTENT, NO_ROOM, NO_STORE, NO_FROM };

struct ingest {
	struct stage *stage;
	struct ingest_conf conf; /* as of the last reload; text is borrowed */
	struct smtp_conf smtp;
	struct limits_conf limits_conf;
	struct net_list proxies, xclients;
	struct tls_context *tls; /* NULL: none */
	bool draining, closing;
	unsigned holders;        /* sessions, listeners, pool jobs: the struct outlives them */

	struct idmap *sessions, *txns, *asks;
	struct session_list all;
	struct txn_list all_txns;
	unsigned n_sessions;

	/* Sessions whose message is coming in; while memory_bytes is used up only the first of
	 * them is read (session_pace.c). */
	struct session_list receiving;
	uint64_t memory;         /* message bytes held by sessions and transactions */
	uint64_t on_way;         /* those of them that transactions hold: they go by themselves */
	bool judged;             /* the turn lasts for a tick at least (session_pace.c) */

	struct listener *listeners;
	struct spool    *spool;
	struct auth     *auth;
	struct abandon  *abandon;
	struct limits   *limits; /* outlives every session */
};

static inline struct ingest *ingest_of(struct stage *st)
{
	return st->state;
}

/* life.c: the stage's functions */
enum err ingest_open(struct stage *st) MUST_CHECK;
void ingest_drain(struct stage *st);
bool ingest_busy(struct stage *st);
void ingest_close(struct stage *st);
void ingest_tick(struct stage *st, uint64_t wall_ms);
void ingest_collect(struct stage *st);
enum err ingest_reload(struct stage *st, const void *conf) MUST_CHECK;
void ingest_peer(void *state, Holdfast__Role role, const char *instance, uint64_t epoch);
/* A session, listener or pool job lets go: the last one after close frees in. */
void ingest_hold(struct ingest *in);
void ingest_release(struct ingest *in);
/* Message bytes held changed; sessions are paused and resumed by it (session.c). */
void ingest_memory(struct ingest *in, int64_t change);

/* listener.c */
enum err listeners_open(struct ingest *in) MUST_CHECK;
void listeners_close(struct ingest *in);

/* answer.c: handlers of status, ledger and trace */
void ingest_answer_status(void *state, const struct bus_from *from, const Holdfast__Frame *f,
                   struct blob *body);
void ingest_answer_ledger(void *state, const struct bus_from *from, const Holdfast__Frame *f,
                   struct blob *body);
void ingest_answer_trace(void *state, const struct bus_from *from, const Holdfast__Frame *f,
                  struct blob *body);

#endif
