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
static const char *const fault_words[] = { "refuse", "fix", NULL };

static const struct conf_param listener_params[] = {
	{ "address", CONF_TEXT, offsetof(struct listener_conf, address), NULL, 3, 64,
	  "numeric HOST:PORT to listen on; IPv6 in brackets", NULL, NULL, 0 },
	{ "role", CONF_WORD, offsetof(struct listener_conf, role), "submission", 0, 0,
	  "submission (AUTH, STARTTLS), submissions (TLS from the start), relay (by registered "
	  "address), inbound (refuses every recipient for now)", role_words, NULL, 0 },
	{ "proxy", CONF_BOOL, offsetof(struct listener_conf, proxy), "no", 0, 0,
	  "connections come from proxy_networks only, and begin with a PROXY header (v1, v2)",
	  NULL, NULL, 0 },
	{ .name = NULL },
};

static const struct conf_param certificate_params[] = {
	{ "cert", CONF_TEXT, offsetof(struct certificate_conf, cert), NULL, 1, 4096,
	  "PEM file of a certificate chain", NULL, NULL, 0 },
	{ "key", CONF_TEXT, offsetof(struct certificate_conf, key), NULL, 1, 4096,
	  "PEM file of its key", NULL, NULL, 0 },
	{ .name = NULL },
};

static const struct conf_param params[] = {
	{ "listeners", CONF_ROWS, P(listeners), NULL, 1, 64, "where clients connect", NULL,
	  listener_params, sizeof(struct listener_conf) },
	{ "tls_cert", CONF_TEXT, P(tls_cert), "", 0, 4096,
	  "PEM file of the certificate chain; none: no TLS", NULL, NULL, 0 },
	{ "tls_key", CONF_TEXT, P(tls_key), "", 0, 4096, "PEM file of its key", NULL, NULL, 0 },
	{ "certificates", CONF_ROWS, P(certificates), "", 0, 1000,
	  "more certificates, picked by the name that the client asks for (SNI)", NULL,
	  certificate_params, sizeof(struct certificate_conf) },
	{ "proxy_networks", CONF_LIST, P(proxy_networks), "", 0, 1000,
	  "networks of the proxies that may begin a connection with a PROXY header", NULL, NULL,
	  0 },
	{ "xclient_networks", CONF_LIST, P(xclient_networks), "", 0, 1000,
	  "networks of the proxies that may say XCLIENT", NULL, NULL, 0 },
	{ "auth_plaintext", CONF_WORD, P(auth_plaintext), "tls", 0, 0,
	  "where PLAIN and LOGIN are allowed: under tls only, also from loopback, always",
	  plaintext_words, NULL, 0 },
	{ "max_message_size", CONF_SIZE, P(max_message_size), "50MiB", 1024, 1ull << 30,
	  "largest message taken (SIZE)", NULL, NULL, 0 },
	{ "max_recipients", CONF_NUMBER, P(max_recipients), "1000", 1, 100000,
	  "recipients of one message", NULL, NULL, 0 },
	{ "max_hops", CONF_NUMBER, P(max_hops), "50", 1, 1000,
	  "Received fields of a message; with more it loops, and gets 554 5.4.6", NULL, NULL, 0 },
	{ "line_faults", CONF_WORD, P(line_faults), "refuse", 0, 0,
	  "a message with a bare CR or LF, a NUL or a line over 998 octets: refuse it (554 5.6.11) "
	  "or fix it", fault_words, NULL, 0 },
	{ "requiretls", CONF_BOOL, P(requiretls), "yes", 0, 0,
	  "offer REQUIRETLS (RFC 8689), which delivery obeys", NULL, NULL, 0 },
	{ "max_sessions", CONF_NUMBER, P(max_sessions), "10000", 1, 1000000,
	  "connections at once; more get 421", NULL, NULL, 0 },
	{ "max_sessions_ip", CONF_NUMBER, P(max_sessions_ip), "1000", 0, 1000000,
	  "connections at once from one address (IPv6: one /64), then 421; 0: no limit",
	  NULL, NULL, 0 },
	{ "max_sessions_account", CONF_NUMBER, P(max_sessions_account), "1000", 0, 1000000,
	  "connections at once of one account, then 421; 0: no limit", NULL, NULL, 0 },
	{ "connect_rate", CONF_NUMBER, P(connect_rate), "30000", 0, 1000000000,
	  "new connections a minute from one network (/24, IPv6: /48); 0: no limit",
	  NULL, NULL, 0 },
	{ "max_errors", CONF_NUMBER, P(max_errors), "20", 1, 10000,
	  "refused commands after which a session is ended", NULL, NULL, 0 },
	{ "max_unknown", CONF_NUMBER, P(max_unknown), "10", 0, 10000,
	  "unknown commands after which a session is ended; 0: no limit", NULL, NULL, 0 },
	{ "max_commands", CONF_NUMBER, P(max_commands), "1000", 0, 1000000000,
	  "commands of a session that bring no message nearer (NOOP, RSET, VRFY, EHLO, AUTH ...), "
	  "since its last message; 0: no limit", NULL, NULL, 0 },
	{ "max_messages", CONF_NUMBER, P(max_messages), "10000", 0, 1000000000,
	  "messages of a session, then 421 at MAIL; 0: no limit", NULL, NULL, 0 },
	{ "max_line", CONF_SIZE, P(max_line), "2048", 512, 12288,
	  "octets of a command line with its CRLF; over it 500 5.5.2", NULL, NULL, 0 },
	{ "auth_fail_window", CONF_DURATION, P(auth_fail_window), "10min", 1000, 86400000,
	  "time over which failed logins are counted; a change needs a restart", NULL, NULL, 0 },
	{ "auth_fail_ip", CONF_NUMBER, P(auth_fail_ip), "20", 0, 1000000,
	  "failed logins from one address (IPv6: one /64) in that time, then 421; 0: no limit",
	  NULL, NULL, 0 },
	{ "auth_fail_network", CONF_NUMBER, P(auth_fail_network), "100", 0, 1000000,
	  "failed logins from one network (/24, IPv6: /48) in that time, then 421; 0: no limit",
	  NULL, NULL, 0 },
	{ "auth_fail_login", CONF_NUMBER, P(auth_fail_login), "50", 0, 1000000,
	  "failed logins of one login in that time, then 421, but not for an address that proved "
	  "it within a day; 0: no limit",
	  NULL, NULL, 0 },
	{ "command_timeout", CONF_DURATION, P(command_timeout), "5min", 100, 86400000,
	  "longest wait for the next whole command", NULL, NULL, 0 },
	{ "data_timeout", CONF_DURATION, P(data_timeout), "10min", 100, 86400000,
	  "longest wait for the next bytes of a message", NULL, NULL, 0 },
	{ "data_total_timeout", CONF_DURATION, P(data_total_timeout), "1h", 100, 86400000,
	  "longest time that a message may take to come in", NULL, NULL, 0 },
	{ "greeting_delay", CONF_DURATION, P(greeting_delay), "1s", 0, 60000,
	  "inbound listeners greet so late; who speaks before gets 554", NULL, NULL, 0 },
	{ "policy_wait", CONF_DURATION, P(policy_wait), "2s", 10, 600000,
	  "longest wait for a verdict; then 451", NULL, NULL, 0 },
	{ "handoff_wait", CONF_DURATION, P(handoff_wait), "2s", 10, 600000,
	  "longest wait for the receipt of a part (and a second more for each 8 MiB on their way "
	  "before it); then it goes to the spool", NULL, NULL, 0 },
	{ "custody_wait", CONF_DURATION, P(custody_wait), "5min", 0, 600000,
	  "longest wait for a receipt where the spool has no room either; then 452",
	  NULL, NULL, 0 },
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

static const char *const way_values[] = { "delivery", "hold", "spool", "nobody", NULL };
static const char *const no_values[] = { "content", "no-room", "store", "from", NULL };
static const char *const resumed_values[] = { "no", "yes", NULL };

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
		"records of the spool that cannot be read, and parts that their stage refuses",
		NULL, NULL },
	[M_AUTH_BLOCKED] = { "ingest_auth_blocked_total", METRIC_COUNTER,
		"AUTH refused unasked, after too many failures", NULL, NULL },
	[M_STALLED] = { "ingest_stalled_total", METRIC_COUNTER,
		"messages given up because they stalled while memory was short", NULL, NULL },
	[M_EARLY_TALKERS] = { "ingest_early_talkers_total", METRIC_COUNTER,
		"inbound clients that spoke before the greeting", NULL, NULL },
	[M_TLS] = { "ingest_tls_handshakes_total", METRIC_COUNTER,
		"TLS handshakes, by whether a session was resumed", "resumed", resumed_values },
	[M_TLS_FAILURES] = { "ingest_tls_failures_total", METRIC_COUNTER,
		"TLS handshakes that failed", NULL, NULL },
	[M_NOTIFICATIONS] = { "ingest_notifications_total", METRIC_COUNTER,
		"notifications of refusals that were accepted at RCPT", NULL, NULL },
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
