/* delivery/recheck.h - asking policy again, before an attempt, whether mail may still go
 *
 * A first attempt right after acceptance needs no question: the verdict is fresh.
 * Recipients that are on a list by now end as suppressed; an account that may not send
 * makes its mail wait; where nobody answers nothing is sent, and the job is put off.
 */
#ifndef DELIVERY_RECHECK_H
#define DELIVERY_RECHECK_H

#include "delivery/delivery.h"
#include "delivery/part.h"

/* Is the last yes to j's recipients too old? */
bool recheck_is_due(const struct delivery *d, const struct job *j);

/* Make j (JOB_NEW) ready, after a question where one is due.  It may be finished and
 * gone on return. */
void recheck_or_push(struct delivery *d, struct job *j);

#endif
