/* policy/main.c - holdfast-policy: parameters, counters, who may ask what
 *
 * Tables, and one call.
 */
#include "policy/policy.h"

#include <stddef.h>
#include "proto/verdict.h"

#define DAY_MS (24ull * 3600 * 1000)
#define P(name, type, field, def, min, max, help) \
	{ name, type, offsetof(struct policy_conf, field), def, min, max, help, NULL, NULL, 0 }

static const struct conf_param params[] = {
	P("quota_defer", CONF_DURATION, quota_defer_ms, "24h", 0, 31 * DAY_MS,
	  "a quota that resets within this is answered 451, a later one 550"),
	P("soft_limit", CONF_NUMBER, soft_limit, "3", 1, 9,
	  "soft bounces that list an address, for new accounts"),
	P("reservation_ttl", CONF_DURATION, reservation_ttl_ms, "1h", 1000, 7 * DAY_MS,
	  "a share of a quota comes back after this when its message is never heard of"),
	P("reservations_max", CONF_NUMBER, reservations_max, "1000000", 1, 100000000,
	  "shares held by messages in progress; more are answered 451"),
	P("accounts_max", CONF_NUMBER, accounts_max, "1000000", 1, 10000000,
	  "accounts of this instance; all are in memory, about 600 bytes each"),
	P("sources_max", CONF_NUMBER, sources_max, "100000", 1, 10000000,
	  "registered networks; all are in memory, about 150 bytes each"),
	P("block_wait", CONF_DURATION, block_wait_ms, "1s", 10, 60000,
	  "how long another instance's share of the system-wide list is waited for"),
	P("verdict_retention", CONF_DURATION, verdict_retention_ms, "7d", 60000, 400 * DAY_MS,
	  "how long refusals are kept for explanation"),
	P("trace_retention", CONF_DURATION, trace_retention_ms, "7d", 60000, 400 * DAY_MS,
	  "how long the story of a message is kept"),
	{ .name = NULL },
};

static const char *const event_names[] = {
	"none", "accepted", "delivered", "bounced", "expired", "suppressed", "rejected",
	"cancelled", "list_block", NULL,
};
static const char *const bounce_names[] = { "none", "hard", "soft", "block", NULL };

static const struct metric_def metrics[] = {
	[PM_VERDICTS] = { "verdicts_total", METRIC_COUNTER, "Verdicts by class", "class",
	                  verdict_names },
	[PM_EVENTS] = { "events_applied_total", METRIC_COUNTER, "Events applied by kind", "kind",
	                event_names },
	[PM_EVENTS_REPEATED] = { "events_repeated_total", METRIC_COUNTER,
	                         "Events that had been applied already", NULL, NULL },
	[PM_BOUNCES] = { "bounces_total", METRIC_COUNTER, "Bounced and expired recipients by class",
	                 "class", bounce_names },
	[PM_LISTED] = { "listed_total", METRIC_COUNTER, "Addresses that outcomes put on a list",
	                NULL, NULL },
	[PM_LOGIN_UNKNOWN] = { "logins_unknown_total", METRIC_COUNTER,
	                       "Questions for a login that does not exist", NULL, NULL },
	[PM_ACCOUNTS] = { "accounts", METRIC_GAUGE, "Accounts of this instance", NULL, NULL },
	[PM_RESERVATIONS] = { "reservations", METRIC_GAUGE,
	                      "Shares of quotas held by messages in progress", NULL, NULL },
	[PM_RESERVATIONS_EXPIRED] = { "reservations_expired_total", METRIC_COUNTER,
	                              "Shares that came back by reservation_ttl", NULL, NULL },
	[PM_BLOCK_UNREACHABLE] = { "block_unreachable_total", METRIC_COUNTER,
	                           "Verdicts refused since another instance was out of reach",
	                           NULL, NULL },
	[PM_SYSTEM_ENTRIES] = { "system_entries", METRIC_GAUGE,
	                        "Entries of the system-wide list on this instance", NULL, NULL },
	[PM_UNSENT] = { "unsent_events", METRIC_GAUGE, "Events that their owner has not synced",
	                NULL, NULL },
	[PM_IN_FLIGHT] = { "in_flight", METRIC_GAUGE, "Questions that wait for a sync or an answer",
	                   NULL, NULL },
	[PM_RATE_LIMITED] = { "rate_limited_total", METRIC_COUNTER,
	                      "Messages refused since their account's rate was used up",
	                      NULL, NULL },
	{ .name = NULL },
};

#define INGEST    BUS_ROLE(HOLDFAST__ROLE__ROLE_INGEST)
#define POLICY    BUS_ROLE(HOLDFAST__ROLE__ROLE_POLICY)
#define HOLDQ     BUS_ROLE(HOLDFAST__ROLE__ROLE_HOLDQ)
#define DELIVERY  BUS_ROLE(HOLDFAST__ROLE__ROLE_DELIVERY)
#define OPERATORS BUS_ROLE(HOLDFAST__ROLE__ROLE_OPERATOR)
#define STAFF     (OPERATORS | BUS_ROLE(HOLDFAST__ROLE__ROLE_REVIEWER))

static const struct bus_handler handlers[] = {
	{ HOLDFAST__FRAME__BODY_LOGIN_QUERY,    INGEST,   false, answer_login },
	{ HOLDFAST__FRAME__BODY_ADDRESS_QUERY,  INGEST,   false, answer_address },
	{ HOLDFAST__FRAME__BODY_MAIL_QUERY,     INGEST,   false, answer_mail },
	{ HOLDFAST__FRAME__BODY_RCPT_QUERY,     INGEST,   false, answer_rcpt },
	{ HOLDFAST__FRAME__BODY_ABANDON,        INGEST,   false, answer_abandon },
	{ HOLDFAST__FRAME__BODY_EVENTS,         POLICY | HOLDQ | DELIVERY, false, answer_events },
	{ HOLDFAST__FRAME__BODY_BLOCK_QUERY,    POLICY,   false, answer_block },
	{ HOLDFAST__FRAME__BODY_RECHECK_QUERY,  HOLDQ | DELIVERY, false, answer_recheck },
	{ HOLDFAST__FRAME__BODY_STATUS_QUERY,   BUS_ANY,  false, answer_status },
	{ HOLDFAST__FRAME__BODY_LEDGER_QUERY,   STAFF,    false, answer_ledger },
	{ HOLDFAST__FRAME__BODY_TRACE_QUERY,    STAFF,    false, answer_trace },
	{ HOLDFAST__FRAME__BODY_ACCOUNT_PUT,    STAFF,    false, answer_account_put },
	{ HOLDFAST__FRAME__BODY_ACCOUNT_GET,    STAFF,    false, answer_account_get },
	{ HOLDFAST__FRAME__BODY_CREDENTIAL_PUT, OPERATORS, false, answer_credential_put },
	{ HOLDFAST__FRAME__BODY_SOURCE_PUT,     OPERATORS, false, answer_source_put },
	{ HOLDFAST__FRAME__BODY_LIST_PUT,       OPERATORS, false, answer_list_put },
	{ HOLDFAST__FRAME__BODY_LIST_REMOVE,    OPERATORS, false, answer_list_remove },
	{ HOLDFAST__FRAME__BODY_LIST_GET,       STAFF,    false, answer_list_get },
	{ 0, 0, false, NULL },
};

static const struct stage_spec spec = {
	.name = "policy",
	.description = "accounts, suppression lists, quotas and verdicts",
	.role = HOLDFAST__ROLE__ROLE_POLICY,
	.asks = BUS_ROLE(HOLDFAST__ROLE__ROLE_POLICY),
	.params = params,
	.conf_size = sizeof(struct policy_conf),
	.metrics = metrics,
	.handlers = handlers,
	.cfs = policy_cfs,
	.open = policy_open,
	.busy = policy_busy,
	.close = policy_close,
	.tick = policy_tick,
	.collect = policy_collect,
	.reload = policy_reload,
};

int main(int argc, char **argv)
{
	return stage_main(&spec, argc, argv);
}
