/* delivery/accept.h - taking custody: the handler of Handoff
 *
 * A part is taken by one batch (envelope, body, index, event of acceptance), and Custody is
 * answered when that is durable.  A part that was ever taken, finished or not, is
 * answered with Custody again and changes nothing.
 */
#ifndef DELIVERY_ACCEPT_H
#define DELIVERY_ACCEPT_H

#include "proto/bus.h"

/* A bus_handler_fn; state is struct stage *. */
void accept_handoff(void *state, const struct bus_from *from, const Holdfast__Frame *frame,
                    struct blob *body);

#endif
