/* proto/trace.c - see proto/trace.h
 *
 * Lines are kept from the first on; the last that fits says that more are missing.
 */
#include "proto/trace.h"

#define FRAME_SPARE 256 /* Frame, lengths, and the line that says what is missing */

void trace_answer(struct bus *bus, const struct bus_from *from, Holdfast__TraceAnswer *a)
{
	Holdfast__TraceLine cut = HOLDFAST__TRACE_LINE__INIT, *last = NULL;
	Holdfast__Frame f = HOLDFAST__FRAME__INIT;
	size_t room = bus_frame_limit(bus) - FRAME_SPARE, all = a->n_line, n = 0;

	for (; n < all; n++) {
		size_t len = holdfast__trace_line__get_packed_size(a->line[n]) + 8;

		if (len > room)
			break;
		room -= len;
	}
	if (n < all) {
		last = a->line[n];
		cut.time_ms = last->time_ms;
		cut.what = pb_str("cut");
		cut.detail = pb_str("more is known than one answer holds");
		a->line[n] = &cut;
		a->n_line = n + 1;
	}
	f.body_case = HOLDFAST__FRAME__BODY_TRACE_ANSWER;
	f.trace_answer = a;
	bus_answer(bus, from, &f, NULL);
	if (n < all)
		a->line[n] = last;
	a->n_line = all;
}
