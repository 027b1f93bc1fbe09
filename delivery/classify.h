/* delivery/classify.h - what a failed recipient's reply says of the address
 *
 * Pure tables.  Three classes: hard (the address cannot work), soft (the mailbox
 * exists and did not take it), block (nothing about the address: reputation, content,
 * policy, relaying, trouble of the network or of either system).  Only hard and
 * soft ever count against an address, so a doubt is a block.
 *
 * Order: the stage (only RCPT and the reply after the message speak of an
 * address; DNS does where the domain itself takes no mail), the enhanced code
 * (RFC 3463, 5248, 7505), the text, the basic code.  The first digits of the two
 * codes play no part: whether to try again is the basic code's alone.  Codes that are given for
 * anything (5.7.1, 5.5.0 ...) yield to a text that can mean one thing only, and a status
 * inside the text counts where the reply begins with none.  Addresses in texts are not read.
 */
#ifndef DELIVERY_CLASSIFY_H
#define DELIVERY_CLASSIFY_H

#include "delivery/part.h"

/* Set class and rule of o from its stage, code, enhanced and text.  rule is
 * static: the name of the table's row, for evidence and for `hfctl`. */
void classify_outcome(struct outcome *o);

#endif
