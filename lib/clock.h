/* lib/clock.h - the two clocks, read at the edges and passed inwards as `now`
 *
 * Wall time is for what is stored or shown, monotonic time for deadlines.
 * Protocol logic never calls these: it gets `now` as a parameter.
 */
#ifndef LIB_CLOCK_H
#define LIB_CLOCK_H

#include <stdint.h>

uint64_t clock_wall_ms(void); /* since 1970-01-01 UTC */
uint64_t clock_mono_ms(void); /* since some fixed point of this boot */
uint64_t clock_mono_us(void);

#endif
