/* delivery/finish.h - what an attempt came to: events, reports and the next time, in one batch
 *
 * The end of a recipient, its event for policy, the report to the sender, and the
 * change of the part are one write: either all of it happened or none.  An attempt
 * that a crash cuts off has left no trace: the part is due as it was, and is tried
 * again.  So a kill in mid-DATA loses nothing; one between the remote's 250 and
 * our sync makes a second copy.
 */
#ifndef DELIVERY_FINISH_H
#define DELIVERY_FINISH_H

#include "delivery/delivery.h"
#include "delivery/part.h"

/* j (JOB_NEW) is over; o has one outcome for each of its recipients, whose ending is judged
 * here where it is END_NONE.  Frees j, and with the last job of its part ends the attempt.
 * Texts in o are borrowed. */
void finish_job(struct delivery *d, struct job *j, struct outcome *o);

/* j was not tried, and is to be looked at again in later_ms. */
void finish_postponed(struct delivery *d, struct job *j, uint64_t later_ms);

/* Batches of ours that are being written. */
size_t finish_pending(const struct delivery *d);

#endif
