/* holdq/plan.h - what a decision makes of a mail: the rules, without store, bus or clock
 *
 * The only place where a mail's state changes.  decide.c asks the questions and
 * writes what comes out of here.
 */
#ifndef HOLDQ_PLAN_H
#define HOLDQ_PLAN_H

#include <stdbool.h>
#include <stdint.h>
#include "holdq/store.h"

enum plan_result {
	PLAN_GO,            /* not decided yet: carry on */
	PLAN_RELEASED, PLAN_PARTIAL, PLAN_REFUSED, PLAN_REJECTED, PLAN_ALREADY, PLAN_NO_SUCH,
	PLAN_LATER,         /* policy gave no answer: nothing changed, ask again */
	PLAN_FAILED,        /* the record cannot be read */
	PLAN_WOULD_RELEASE, PLAN_WOULD_REJECT, /* dry run */
	PLAN__COUNT
};
extern const char *const plan_result_names[]; /* as tools see them; NULL-ended */

/* May a mail in this state be decided on?  PLAN_GO, or the result that stands.  marked: a mark
 * tells that it left. */
enum plan_result plan_start(enum held_state state, bool marked, Holdfast__Decision what,
                            bool dry_run);

/* Changes the state; a change that is not legal is a bug and ends the process. */
void plan_become(struct held *h, enum held_state to);

/* The delivery instance of a recipient's domain; borrowed. */
typedef const char *plan_route_fn(void *arg, const char *address, size_t len);

/* The answers of policy are in: rcpt_class[i] of env->rcpt[i].  Makes h RELEASING with a
 * sub-part for each delivery instance, or GONE when no recipient is left.  Returns
 * PLAN_RELEASED or PLAN_PARTIAL. */
enum plan_result plan_release(struct held *h, const uint8_t *rcpt_class, plan_route_fn *route,
                              void *arg);

/* Recipients that are still ours: all while WAITING, those of the sub-parts after. */
uint64_t plan_rcpts(const struct held *h);

/* The envelope of a sub-part as delivery gets it.  Its recipients' array is the
 * caller's: xfree(out->rcpt); all else is borrowed from h. */
void plan_envelope(const struct held *h, size_t sub, Holdfast__Envelope *out);

#endif
