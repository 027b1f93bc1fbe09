/* tests/fuzz/fuzz_frame.c - any bytes as a Frame, through the bus' own arena
 *
 * What unpacks must pack again to its stated size; the arena's end must hold.
 */
#include <stdlib.h>
#include "proto/bus_private.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static struct common_conf common = { .bus_frame_bytes = 64 * 1024 };
	static struct bus bus = { .conf = { .common = &common } };
	Holdfast__Frame *f;
	uint8_t *packed;
	size_t size;

	if (len > common.bus_frame_bytes)
		return 0;
	if (bus.arena.p == NULL)
		frame_limits(&bus);
	bus.arena.used = 0;
	f = holdfast__frame__unpack(&bus.alloc, len, data);
	if (bus.arena.used > bus.arena.cap)
		abort();
	if (f == NULL)
		return 0;
	size = holdfast__frame__get_packed_size(f);
	packed = xmalloc(size + 1);
	if (holdfast__frame__pack(f, packed) != size)
		abort();
	xfree(packed);
	return 0;
}
