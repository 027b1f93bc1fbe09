/* holdq/main.c - holdfast-holdq: parameters, counters, who may ask what
 *
 * Tables, and one call.
 */
#include "holdq/holdq.h"

#include <stddef.h>

#define DAY_MS (24ull * 3600 * 1000)
#define P(name, type, field, def, min, max, help) \
	{ name, type, offsetof(struct holdq_conf, field), def, min, max, help, NULL, NULL, 0 }

static const struct conf_param params[] = {
	P("recheck_wait", CONF_DURATION, recheck_wait_ms, "3s", 100, 60000,
	  "how long a release waits for policy's answer before it is 'later'"),
	P("rechecks", CONF_NUMBER, rechecks, "32", 1, 256,
	  "mails that are decided on at once"),
	P("decisions", CONF_NUMBER, decisions, "64", 1, 1024,
	  "questions of reviewers that are open at once; more are answered 'busy'"),
	P("accepts", CONF_NUMBER, accepts, "4096", 1, 100000,
	  "parts whose sync is awaited at once; more are answered 'busy'"),
	P("handover_wait", CONF_DURATION, handover_wait_ms, "30s", 1000, 600000,
	  "how long a hand-over waits for delivery's receipt before it is repeated"),
	P("handovers", CONF_NUMBER, handovers, "16", 1, 256,
	  "hand-overs that are open at once to each delivery instance"),
	P("handover_bytes", CONF_SIZE, handover_bytes, "64MiB", 1024, 1ull << 34,
	  "message bytes of all open hand-overs; one message may go over it"),
	P("retry_min", CONF_DURATION, retry_min_ms, "250ms", 10, 60000,
	  "first wait after a hand-over that failed; doubles"),
	P("retry_max", CONF_DURATION, retry_max_ms, "15s", 10, 3600000,
	  "longest wait after a hand-over that failed"),
	P("mark_keep", CONF_DURATION, mark_keep_ms, "14d", 60000, 400 * DAY_MS,
	  "how long it is remembered that a mail was held and left"),
	{ .name = NULL },
};

static const struct metric_def metrics[] = {
	[HM_HELD] = { "held_total", METRIC_COUNTER, "Parts taken into custody", NULL, NULL },
	[HM_REPEATED] = { "handoffs_repeated_total", METRIC_COUNTER,
	                  "Hand-offs of parts that had been taken already", NULL, NULL },
	[HM_REFUSED] = { "handoffs_malformed_total", METRIC_COUNTER,
	                 "Hand-offs whose envelope was not sound", NULL, NULL },
	[HM_DECIDED] = { "decided_total", METRIC_COUNTER, "Decisions by result", "result",
	                 plan_result_names },
	[HM_HANDED_OVER] = { "handed_over_total", METRIC_COUNTER,
	                     "Sub-parts that delivery gave a receipt for", NULL, NULL },
	[HM_HANDOVER_RETRIES] = { "handover_retries_total", METRIC_COUNTER,
	                          "Hand-overs that must be repeated", NULL, NULL },
	[HM_DEPTH] = { "held_messages", METRIC_GAUGE, "Parts in custody", NULL, NULL },
	[HM_RECIPIENTS] = { "held_recipients", METRIC_GAUGE, "Recipients in custody", NULL, NULL },
	[HM_OLDEST] = { "oldest_held_seconds", METRIC_GAUGE, "Age of the oldest part in custody",
	                NULL, NULL },
	[HM_UNSENT] = { "unsent_events", METRIC_GAUGE, "Events that policy has not synced", NULL,
	                NULL },
	[HM_IN_FLIGHT] = { "in_flight", METRIC_GAUGE,
	                   "Acceptances, decisions and hand-overs at work", NULL, NULL },
	[HM_CORRUPT] = { "records_unreadable_total", METRIC_COUNTER,
	                 "Records that could not be read", NULL, NULL },
	{ .name = NULL },
};

#define GIVERS    BUS_ROLE(HOLDFAST__ROLE__ROLE_INGEST)
#define REVIEWERS BUS_ROLE(HOLDFAST__ROLE__ROLE_REVIEWER)
#define STAFF     (REVIEWERS | BUS_ROLE(HOLDFAST__ROLE__ROLE_OPERATOR))

static const struct bus_handler handlers[] = {
	{ HOLDFAST__FRAME__BODY_HANDOFF,      GIVERS,    true,  accept_handoff },
	{ HOLDFAST__FRAME__BODY_HELD_QUERY,   STAFF,     false, page_query },
	{ HOLDFAST__FRAME__BODY_HELD_BODY,    REVIEWERS, false, page_body },
	{ HOLDFAST__FRAME__BODY_HELD_DECIDE,  REVIEWERS, false, decide_ask },
	{ HOLDFAST__FRAME__BODY_STATUS_QUERY, BUS_ANY,   false, answer_status },
	{ HOLDFAST__FRAME__BODY_LEDGER_QUERY, STAFF,     false, answer_ledger },
	{ HOLDFAST__FRAME__BODY_TRACE_QUERY,  STAFF,     false, answer_trace },
	{ 0, 0, false, NULL },
};

static const struct stage_spec spec = {
	.name = "holdq",
	.description = "holds mail for review, releases and rejects it",
	.role = HOLDFAST__ROLE__ROLE_HOLDQ,
	.asks = BUS_ROLE(HOLDFAST__ROLE__ROLE_POLICY) | BUS_ROLE(HOLDFAST__ROLE__ROLE_DELIVERY),
	.params = params,
	.conf_size = sizeof(struct holdq_conf),
	.metrics = metrics,
	.handlers = handlers,
	.cfs = held_cfs,
	.open = holdq_open,
	.drain = holdq_drain,
	.busy = holdq_busy,
	.close = holdq_close,
	.tick = holdq_tick,
	.collect = holdq_collect,
	.ready = holdq_ready,
	.reload = holdq_reload,
};

int main(int argc, char **argv)
{
	return stage_main(&spec, argc, argv);
}
