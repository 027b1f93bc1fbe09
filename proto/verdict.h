/* proto/verdict.h - the five answers: one table of their texts, codes and cures
 *
 * The texts are an interface (letter for letter, full stop included).  Pure.
 */
#ifndef PROTO_VERDICT_H
#define PROTO_VERDICT_H

#include <stdint.h>
#include "lib/buf.h"
#include "proto/holdfast.pb-c.h"

/* The bare text of a class ("Email address is on account's Bounce list."), NULL for OK. */
const char *verdict_text(Holdfast__VerdictClass class);
/* "bounce" "unsubscribe" "block" "cannot-send" "hold" "ok": for logs and metrics. */
const char *verdict_name(Holdfast__VerdictClass class);
/* NULL-ended, indexed by class: label values of metrics. */
extern const char *const verdict_names[];
/* What its notification is called where refusals are accepted: "BouncedEmailAddressException"
 * "UnsubscribedEmailAddressException" "BlockedEmailAddressException" "CannotSendException"
 * "MessageHeldException"; NULL for OK. */
const char *verdict_exception(const Holdfast__Verdict *v);
const char *hold_reason_name(Holdfast__HoldReason reason); /* "new-account" ... */

/* Append the whole reply of a refusal (E1 to E4), lines ended by CRLF, each with
 * code and enhanced code, the cure and the verdict id on later lines, no line over
 * 512 bytes: "550-5.1.1 Email address is on account's Bounce list.\r\n550 5.1.1 ...".
 * CANNOT_RATE is none of the five: it is said in words of its own. */
void verdict_reply(struct buf *out, const Holdfast__Verdict *v);
/* Append the 250 of a held message, "250 2.0.0 <text> Queued as <id>". */
void verdict_held_reply(struct buf *out, const char *id);

#endif
