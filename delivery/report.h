/* delivery/report.h - the report to a sender: failed, delayed, or relayed
 *
 * A report is mail of our own: null sender, no account, counted like any other.
 * Null senders never get one, so a report that fails just ends.
 */
#ifndef DELIVERY_REPORT_H
#define DELIVERY_REPORT_H

#include "delivery/delivery.h"
#include "delivery/part.h"
#include "lib/kv.h"

/* Where recipients of j bounced or expired, are late (delay_due), or went to a server that reports
 * nothing itself, and NOTIFY wants it told, add one report on all of them to the batch b and put
 * it into memory (PART_TAKING).  True: key_out is its key; queue_taken() it when b is durable. */
bool report_add(struct delivery *d, struct kv_batch *b, const struct job *j,
                const struct outcome *o, uint64_t now, uint8_t key_out[PART_KEY]);

#endif
