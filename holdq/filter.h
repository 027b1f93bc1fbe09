/* holdq/filter.h - does a held mail match what the reviewer asked for?
 *
 * Pure.  Empty fields match everything; all that are given must match.  Letters are
 * compared without case (ASCII only: other bytes as they are).
 */
#ifndef HOLDQ_FILTER_H
#define HOLDQ_FILTER_H

#include <stdbool.h>
#include <stdint.h>
#include "lib/err.h"
#include "holdq/store.h"

#define FILTER_IDS_MAX 256

/* ERR_RANGE: a field that is too long, an id that is none, more than FILTER_IDS_MAX ids. */
enum err filter_check(const Holdfast__HeldFilter *f) MUST_CHECK;

/* Only mail of accounts matches, never our own reports.  f's message ids are not looked at: the
 * caller looks those up.
 *   account  exact       sender   the whole address
 *   domain   of any recipient, exact     subject  contained in the raw value
 *   older_than_ms        held for longer than that at now_ms */
bool filter_match(const Holdfast__HeldFilter *f, const struct held *h, uint64_t now_ms);

#endif
