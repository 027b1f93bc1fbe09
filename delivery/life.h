/* delivery/life.h - the stage's life: open, tick, drain, close
 *
 * The functions of main.c's table; see struct stage_spec for when each is called.
 */
#ifndef DELIVERY_LIFE_H
#define DELIVERY_LIFE_H

#include "delivery/delivery.h"

enum err life_open(struct stage *s);
void life_drain(struct stage *s);
bool life_busy(struct stage *s);
void life_close(struct stage *s);
void life_tick(struct stage *s, uint64_t wall_ms);
void life_collect(struct stage *s);
bool life_ready(struct stage *s);
void life_reload(struct stage *s, const void *conf);

#endif
