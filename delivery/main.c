/* delivery/main.c - holdfast-delivery: the outgoing queue and the SMTP client, as tables
 *
 * Parameters, counters, handlers, and one call.  No logic.
 */
#include <stddef.h>
#include "delivery/accept.h"
#include "delivery/answer.h"
#include "delivery/life.h"
#include "delivery/part.h"
#include "delivery/store.h"

#define AT(field) offsetof(struct delivery_conf, field)
#define END NULL, NULL, 0 /* neither words nor rows */

#define SECOND UINT64_C(1000)
#define HOUR (3600 * SECOND)
#define DAY (24 * HOUR)

static const struct conf_param params[] = {
	{ "routes", CONF_MAP, AT(routes), "", 0, 10000,
	  "domains that do not go by MX: domain, .domain or * to host:port", END },
	{ "resolver", CONF_TEXT, AT(resolver), "", 0, 255,
	  "DNS forwarder host:port; empty: /etc/resolv.conf", END },
	{ "smtp_port", CONF_NUMBER, AT(smtp_port), "25", 1, 65535,
	  "port of remote servers", END },
	{ "allow_private", CONF_BOOL, AT(allow_private), "no", 0, 0,
	  "let MX lead to loopback, private and link-local addresses", END },
	{ "starttls", CONF_BOOL, AT(starttls), "yes", 0, 0,
	  "encrypt where the remote offers it", END },
	{ "tls_ca", CONF_TEXT, AT(tls_ca), "", 0, 1024,
	  "PEM file of the authorities that REQUIRETLS trusts; empty: those of the system", END },
	{ "dnssec_anchor", CONF_TEXT, AT(dnssec_anchor), "", 0, 1024,
	  "file of DNSSEC trust anchors; empty: no answer is validated", END },
	{ "chunking", CONF_BOOL, AT(chunking), "yes", 0, 0,
	  "send by BDAT where the remote offers it", END },
	{ "active_messages", CONF_NUMBER, AT(active_messages), "20000", 1, 10000000,
	  "message parts kept in memory", END },
	{ "active_bytes", CONF_SIZE, AT(active_bytes), "256MiB", 0, UINT64_C(1) << 40,
	  "message bytes kept in memory for a first attempt", END },
	{ "destination_active", CONF_NUMBER, AT(destination_active), "10000", 1, 10000000,
	  "parts of one destination kept in memory", END },
	{ "destination_connections", CONF_NUMBER, AT(destination_connections), "20", 1, 10000,
	  "connections to one destination at once", END },
	{ "total_connections", CONF_NUMBER, AT(total_connections), "1000", 1, 100000,
	  "connections at once", END },
	{ "connection_messages", CONF_NUMBER, AT(connection_messages), "1000", 1, 1000000,
	  "messages on one connection", END },
	{ "connection_idle", CONF_DURATION, AT(connection_idle_ms), "5s", 0, HOUR,
	  "how long a connection without work is kept", END },
	{ "destination_pause", CONF_DURATION, AT(destination_pause_ms), "60s", 0, DAY,
	  "how long a destination that cannot be reached is left alone (at most retry_min)", END },
	{ "transaction_recipients", CONF_NUMBER, AT(transaction_recipients), "100", 1, 1000,
	  "recipients of one transaction", END },
	{ "retry_min", CONF_DURATION, AT(retry_min_ms), "5min", 1, DAY,
	  "wait after the first attempt", END },
	{ "retry_factor", CONF_NUMBER, AT(retry_factor), "2", 1, 100,
	  "each later wait is so many times the one before", END },
	{ "retry_max", CONF_DURATION, AT(retry_max_ms), "8h", 1, 30 * DAY,
	  "longest wait between attempts", END },
	{ "retry_jitter", CONF_NUMBER, AT(retry_jitter), "10", 0, 90,
	  "percent by which a wait is moved either way", END },
	{ "expire", CONF_DURATION, AT(expire_ms), "5d", 1, 365 * DAY,
	  "age at which a message is given up", END },
	{ "delay_notice", CONF_DURATION, AT(delay_notice_ms), "4h", 0, 30 * DAY,
	  "age at which who asked for it (NOTIFY=DELAY) is told of a delay; 0: never", END },
	{ "report_message", CONF_SIZE, AT(report_message_bytes), "64KiB", 0, UINT64_C(1) << 30,
	  "largest message that a report returns whole (RET=FULL); over it headers only", END },
	{ "recheck_age", CONF_DURATION, AT(recheck_age_ms), "30s", 0, DAY,
	  "age of a verdict after which policy is asked again", END },
	{ "recheck_wait", CONF_DURATION, AT(recheck_wait_ms), "5s", 1, 60 * SECOND,
	  "how long policy may take to answer", END },
	{ "recheck_later", CONF_DURATION, AT(recheck_later_ms), "10s", 1, HOUR,
	  "next try where policy did not answer", END },
	{ "account_later", CONF_DURATION, AT(account_later_ms), "5min", 1, DAY,
	  "next try where the account may not send", END },
	{ "taken_memory", CONF_DURATION, AT(taken_memory_ms), "4d", 60 * SECOND, 365 * DAY,
	  "how long an ended part is remembered, for repeats of its hand-off", END },
	{ "dns_wait", CONF_DURATION, AT(dns_wait_ms), "30s", 1, HOUR,
	  "how long the name service may take", END },
	{ "connect_wait", CONF_DURATION, AT(connect_wait_ms), "30s", 1, HOUR,
	  "time to connect to one address", END },
	{ "greeting_wait", CONF_DURATION, AT(greeting_wait_ms), "5min", 1, HOUR,
	  "wait for the greeting", END },
	{ "command_wait", CONF_DURATION, AT(command_wait_ms), "5min", 1, HOUR,
	  "wait for the reply to EHLO, STARTTLS, MAIL and RCPT", END },
	{ "tls_wait", CONF_DURATION, AT(tls_wait_ms), "60s", 1, HOUR,
	  "time for the TLS handshake", END },
	{ "data_wait", CONF_DURATION, AT(data_wait_ms), "2min", 1, HOUR,
	  "wait for the reply to DATA", END },
	{ "body_wait", CONF_DURATION, AT(body_wait_ms), "5min", 1, HOUR,
	  "wait while the message is being sent", END },
	{ "end_wait", CONF_DURATION, AT(end_wait_ms), "10min", 1, HOUR,
	  "wait for the reply after the message", END },
	{ "quit_wait", CONF_DURATION, AT(quit_wait_ms), "5s", 1, HOUR,
	  "wait for the reply to QUIT", END },
	{ NULL, 0, 0, NULL, 0, 0, NULL, NULL, NULL, 0 }
};

static const struct metric_def metrics[] = {
	[DM_OUTCOMES] = { "delivery_outcomes_total", METRIC_COUNTER,
	                  "Recipients, by what an attempt came to", "class", ending_names },
	[DM_ATTEMPTS] = { "delivery_attempts_total", METRIC_COUNTER, "Attempts on parts" },
	[DM_DEFERRALS] = { "delivery_deferred_total", METRIC_COUNTER,
	                   "Recipients that were put off after an attempt" },
	[DM_TAKEN] = { "delivery_taken_total", METRIC_COUNTER, "Parts taken into custody" },
	[DM_REPEATS] = { "delivery_handoff_repeats_total", METRIC_COUNTER,
	                 "Hand-offs of parts that were known" },
	[DM_REFUSED] = { "delivery_handoff_refused_total", METRIC_COUNTER, "Hand-offs refused" },
	[DM_REPORTS] = { "delivery_reports_total", METRIC_COUNTER, "Reports to senders" },
	[DM_REPORTS_DELAYED] = { "delivery_delay_reports_total", METRIC_COUNTER,
	                         "Reports that tell of a delay" },
	[DM_REPORTS_RELAYED] = { "delivery_relayed_reports_total", METRIC_COUNTER,
	                         "Reports of mail given to a server that sends none itself" },
	[DM_DUPLICATES] = { "delivery_possible_duplicates_total", METRIC_COUNTER,
	                    "Recipients whose message went out and was never answered" },
	[DM_CONNECTIONS] = { "delivery_connections_opened_total", METRIC_COUNTER,
	                     "Connections that came up" },
	[DM_CONNECT_FAILURES] = { "delivery_connect_failures_total", METRIC_COUNTER,
	                          "Addresses that did not connect or did not greet" },
	[DM_PROTOCOL_ERRORS] = { "delivery_protocol_errors_total", METRIC_COUNTER,
	                         "Connections ended because what came is no SMTP" },
	[DM_READ_BACK] = { "delivery_bodies_read_total", METRIC_COUNTER,
	                   "Message bodies that were read from the store" },
	[DM_CORRUPT] = { "delivery_corrupt_records_total", METRIC_COUNTER,
	                 "Records that could not be read" },
	[DM_REQUIRETLS_PASSED_OVER] = { "delivery_requiretls_passed_over_total", METRIC_COUNTER,
	                                "Hosts that were not fit for a message with REQUIRETLS" },
	[DM_DEPTH] = { "delivery_queue_parts", METRIC_GAUGE, "Parts in custody" },
	[DM_RECIPIENTS] = { "delivery_queue_recipients", METRIC_GAUGE, "Recipients in custody" },
	[DM_OLDEST_AGE] = { "delivery_queue_oldest_seconds", METRIC_GAUGE,
	                    "Age of the oldest part" },
	[DM_ACTIVE] = { "delivery_active_parts", METRIC_GAUGE, "Parts in memory" },
	[DM_ACTIVE_BYTES] = { "delivery_active_bytes", METRIC_GAUGE, "Message bytes in memory" },
	[DM_OPEN_CONNECTIONS] = { "delivery_connections", METRIC_GAUGE, "Connections open" },
	[DM_IN_FLIGHT] = { "delivery_in_flight", METRIC_GAUGE, "Transactions at work" },
	[DM_UNSENT_EVENTS] = { "delivery_unsent_events", METRIC_GAUGE,
	                       "Outcomes that policy has not confirmed" },
	[DM_DELAY] = { "delivery_delay_seconds", METRIC_HISTOGRAM, "Arrival to delivery" },
	{ NULL }
};

#define GIVERS (BUS_ROLE(HOLDFAST__ROLE__ROLE_INGEST) | BUS_ROLE(HOLDFAST__ROLE__ROLE_HOLDQ))
#define OPERATORS (BUS_ROLE(HOLDFAST__ROLE__ROLE_OPERATOR))
#define PEOPLE (OPERATORS | BUS_ROLE(HOLDFAST__ROLE__ROLE_REVIEWER))

static const struct bus_handler handlers[] = {
	{ HOLDFAST__FRAME__BODY_HANDOFF, GIVERS, true, accept_handoff },
	{ HOLDFAST__FRAME__BODY_STATUS_QUERY, PEOPLE, false, answer_status },
	{ HOLDFAST__FRAME__BODY_LEDGER_QUERY, OPERATORS, false, answer_ledger },
	{ HOLDFAST__FRAME__BODY_TRACE_QUERY, OPERATORS, false, answer_trace },
	{ 0, 0, false, NULL }
};

static const struct stage_spec spec = {
	.name = "delivery",
	.description = "deliver queued mail to remote servers",
	.role = HOLDFAST__ROLE__ROLE_DELIVERY,
	.asks = BUS_ROLE(HOLDFAST__ROLE__ROLE_POLICY),
	.params = params,
	.conf_size = sizeof(struct delivery_conf),
	.metrics = metrics,
	.handlers = handlers,
	.cfs = store_cfs,
	.open = delivery_open,
	.drain = delivery_drain,
	.busy = delivery_busy,
	.close = delivery_close,
	.tick = delivery_tick,
	.collect = delivery_collect,
	.ready = delivery_ready,
	.reload = delivery_reload,
};

int main(int argc, char **argv)
{
	return stage_main(&spec, argc, argv);
}
