/* ingest/main.c - holdfast-ingest: the doors that mail comes in by
 *
 * Tables only: parameters, metrics, handlers, families of the store.
 */
#include "ingest/ingest.h"

#include "ingest/store.h"
#include "proto/verdict.h"

#define P(field) offsetof(struct ingest_conf, field)

static const char *const role_words[] = { "submission", "submissions", "relay", "inbound", NULL };
static const char *const plaintext_words[] = { "tls", "loopback", "always", NULL };

static const struct conf_param listener_params[] = {
	{ "address", CONF_TEXT, offsetof(struct listener_conf, address), NULL, 3, 64,
	  "numeric HOST:PORT to listen on; IPv6 in brackets", NULL, NULL, 0 },
	{ "role", CONF_WORD, offsetof(struct listener_conf, role), "submission", 0, 0,
	  "submission (AUTH, STARTTLS), submissions (TLS from the start), relay (by registered "
	  "address), inbound (refuses every recipient for now)", role_words, NULL, 0 },
	{ .name = NULL },
};

static const struct conf_param params[] = {
	{ "listeners", CONF_ROWS, P(listeners), NULL, 1, 64, "where clients connect", NULL,
	  listener_params, sizeof(struct listener_conf) },
	{ "tls_cert", CONF_TEXT, P(tls_cert), "", 0, 4096,
	  "PEM file of the certificate chain; none: no TLS", NULL, NULL, 0 },
	{ "tls_key", CONF_TEXT, P(tls_key), "", 0, 4096, "PEM file of its key", NULL, NULL, 0 },
	{ "auth_plaintext", CONF_WORD, P(auth_plaintext), "tls", 0, 0,
	  "where PLAIN and LOGIN are allowed: under tls only, also from loopback, always",
	  plaintext_words, NULL, 0 },
	{ "max_message_size", CONF_SIZE, P(max_message_size), "50MiB", 1024, 1ull << 30,
	  "largest message taken (SIZE)", NULL, NULL, 0 },
	{ "max_recipients", CONF_NUMBER, P(max_recipients), "1000", 1, 100000,
	  "recipients of one message", NULL, NULL, 0 },
	{ "max_sessions", CONF_NUMBER, P(max_sessions), "10000", 1, 1000000,
	  "connections at once; more get 421", NULL, NULL, 0 },
	{ "max_errors", CONF_NUMBER, P(max_errors), "20", 1, 10000,
	  "refused commands after which a session is ended", NULL, NULL, 0 },
	{ "command_timeout", CONF_DURATION, P(command_timeout), "5min", 100, 86400000,
	  "longest wait for the next command", NULL, NULL, 0 },
	{ "data_timeout", CONF_DURATION, P(data_timeout), "10min", 100, 86400000,
	  "longest wait for the next bytes of a message", NULL, NULL, 0 },
	{ "policy_wait", CONF_DURATION, P(policy_wait), "2s", 10, 600000,
	  "longest wait for a verdict; then 451", NULL, NULL, 0 },
	{ "handoff_wait", CONF_DURATION, P(handoff_wait), "2s", 10, 600000,
	  "longest wait for the receipt of a part; then it goes to the spool", NULL, NULL, 0 },
	{ "spool_bytes", CONF_SIZE, P(spool_bytes), "1GiB", 0, 1ull << 50,
	  "message bytes in the spool; over it 452", NULL, NULL, 0 },
	{ "memory_bytes", CONF_SIZE, P(memory_bytes), "256MiB", 1 << 20, 1ull << 40,
	  "message bytes in memory over all sessions; over it one session at a time is read",
	  NULL, NULL, 0 },
	{ "spool_retry", CONF_DURATION, P(spool_retry), "1s", 10, 3600000,
	  "pause before spooled mail is handed over again", NULL, NULL, 0 },
	{ "spool_window", CONF_NUMBER, P(spool_window), "32", 1, 1024,
	  "spooled parts on their way to one instance at once", NULL, NULL, 0 },
	{ "auth_waiting", CONF_NUMBER, P(auth_waiting), "256", 1, 100000,
	  "AUTH exchanges at work at once; more get 454", NULL, NULL, 0 },
	{ "abandon_waiting", CONF_NUMBER, P(abandon_waiting), "10000", 1, 10000000,
	  "given-up messages that policy has not been told of yet", NULL, NULL, 0 },
	{ .name = NULL },
};

static const char *const way_values[] = { "delivery", "hold", "spool", NULL };
static const char *const no_values[] = { "content", "no-room", "store", NULL };

static const struct metric_def metrics[] = {
	[M_SESSIONS_OPEN] = { "ingest_sessions_open", METRIC_GAUGE, "SMTP sessions now",
		NULL, NULL },
	[M_SESSIONS] = { "ingest_sessions_total", METRIC_COUNTER, "SMTP sessions", NULL, NULL },
	[M_SESSIONS_REFUSED] = { "ingest_sessions_refused_total", METRIC_COUNTER,
		"connections over max_sessions or while shutting down", NULL, NULL },
	[M_MESSAGES] = { "ingest_messages_total", METRIC_COUNTER,
		"messages accepted, by where they went", "to", way_values },
	[M_MESSAGES_REFUSED] = { "ingest_messages_refused_total", METRIC_COUNTER,
		"messages refused after DATA", "why", no_values },
	[M_RCPTS] = { "ingest_verdicts_total", METRIC_COUNTER,
		"verdicts on recipients, and refusals at MAIL", "verdict", verdict_names },
	[M_BYTES] = { "ingest_message_bytes_total", METRIC_COUNTER, "bytes of accepted messages",
		NULL, NULL },
	[M_COMMAND_TIMEOUTS] = { "ingest_timeouts_total", METRIC_COUNTER,
		"sessions ended because nothing came", NULL, NULL },
	[M_POLICY_FAILURES] = { "ingest_policy_failures_total", METRIC_COUNTER,
		"questions to policy without an answer", NULL, NULL },
	[M_CLIENT_GONE] = { "ingest_client_gone_total", METRIC_COUNTER,
		"messages whose client left before the reply", NULL, NULL },
	[M_LATE_ANSWERS] = { "ingest_late_answers_total", METRIC_COUNTER,
		"answers that came after the client had left", NULL, NULL },
	[M_HANDOFF_SECONDS] = { "ingest_handoff_seconds", METRIC_HISTOGRAM,
		"from end of data to custody of all parts", NULL, NULL },
	[M_SPOOLED] = { "ingest_spooled_parts_total", METRIC_COUNTER,
		"parts that went to the spool", NULL, NULL },
	[M_SPOOL_DEPTH] = { "ingest_spool_parts", METRIC_GAUGE, "parts in the spool", NULL, NULL },
	[M_SPOOL_BYTES] = { "ingest_spool_bytes", METRIC_GAUGE, "message bytes in the spool",
		NULL, NULL },
	[M_MEMORY_BYTES] = { "ingest_memory_bytes", METRIC_GAUGE, "message bytes in memory",
		NULL, NULL },
	[M_AUTH_FAILURES] = { "ingest_auth_failures_total", METRIC_COUNTER, "AUTH that failed",
		NULL, NULL },
	[M_ABANDONED] = { "ingest_abandoned_total", METRIC_COUNTER,
		"given-up messages whose quota went back", NULL, NULL },
	[M_ABANDON_LOST] = { "ingest_abandon_lost_total", METRIC_COUNTER,
		"given-up messages that policy was not told of", NULL, NULL },
	[M_QUARANTINED] = { "ingest_quarantined_total", METRIC_COUNTER,
		"records of the spool that cannot be read", NULL, NULL },
	{ .name = NULL },
};

static const struct bus_handler handlers[] = {
	{ HOLDFAST__FRAME__BODY_STATUS_QUERY, BUS_ANY, false, ingest_answer_status },
	{ HOLDFAST__FRAME__BODY_LEDGER_QUERY, BUS_ROLE(HOLDFAST__ROLE__ROLE_OPERATOR), false,
	  ingest_answer_ledger },
	{ HOLDFAST__FRAME__BODY_TRACE_QUERY, BUS_ROLE(HOLDFAST__ROLE__ROLE_OPERATOR), false,
	  ingest_answer_trace },
	{ HOLDFAST__FRAME__BODY__NOT_SET, 0, false, NULL },
};

static const struct kv_cf cfs[] = {
	[CF_PART] = { "part", KV_RECORDS },
	[CF_LANE] = { "lane", KV_QUEUE },
	[CF_BODY] = { "body", KV_BLOBS },
	{ .name = NULL },
};

static const struct stage_spec spec = {
	.name = "ingest",
	.description = "takes mail in by SMTP and hands it to the stage that keeps it",
	.role = HOLDFAST__ROLE__ROLE_INGEST,
	.asks = BUS_ROLE(HOLDFAST__ROLE__ROLE_POLICY) | BUS_ROLE(HOLDFAST__ROLE__ROLE_HOLDQ) |
	        BUS_ROLE(HOLDFAST__ROLE__ROLE_DELIVERY),
	.params = params,
	.conf_size = sizeof(struct ingest_conf),
	.metrics = metrics,
	.handlers = handlers,
	.cfs = cfs,
	.open = ingest_open,
	.drain = ingest_drain,
	.busy = ingest_busy,
	.close = ingest_close,
	.tick = ingest_tick,
	.collect = ingest_collect,
	.reload = ingest_reload,
	.peer = ingest_peer,
};

int main(int argc, char **argv)
{
	return stage_main(&spec, argc, argv);
}
