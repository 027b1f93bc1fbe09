/* delivery/answer.h - what operators ask: status, ledger, trace
 *
 * Each is a bus_handler_fn whose state is struct stage *; each answers at once.
 */
#ifndef DELIVERY_ANSWER_H
#define DELIVERY_ANSWER_H

#include "proto/bus.h"

void answer_status(void *state, const struct bus_from *from, const Holdfast__Frame *frame,
                   struct blob *body);
void answer_ledger(void *state, const struct bus_from *from, const Holdfast__Frame *frame,
                   struct blob *body);
void answer_trace(void *state, const struct bus_from *from, const Holdfast__Frame *frame,
                  struct blob *body);

#endif
