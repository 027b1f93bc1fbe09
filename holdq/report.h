/* holdq/report.h - the delivery report to the sender of a rejected mail
 *
 * Our own message, with an empty account and a null sender: made in the batch of the rejection,
 * kept as HELD_REPORT, handed over to delivery like a released mail.
 */
#ifndef HOLDQ_REPORT_H
#define HOLDQ_REPORT_H

#include "holdq/holdq.h"

/* Add a report on h to b.  NULL: h's sender is null or no address, or NOTIFY wants none. */
struct held *report_add(struct holdq *hq, struct kv_batch *b, const struct held *h,
                        const char *reason);
/* b is durable: count it and hand it over.  Borrows report. */
void report_durable(struct holdq *hq, const struct held *report);

#endif
