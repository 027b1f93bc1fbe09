/* proto/trace.h - the answer to TraceQuery, which every stage gives
 *
 * A message may have more recipients than a frame has room for.
 */
#ifndef PROTO_TRACE_H
#define PROTO_TRACE_H

#include "proto/bus.h"

/* Answer with as many lines of a as fit a frame; when not all do, a last line
 * "cut" says so.  a and its lines stay the caller's and are as they were. */
void trace_answer(struct bus *bus, const struct bus_from *from, Holdfast__TraceAnswer *a);

#endif
