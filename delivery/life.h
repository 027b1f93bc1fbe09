/* delivery/life.h - the stage's life: open, tick, drain, close
 *
 * The functions of main.c's table; see struct stage_spec for when each is called.
 */
#ifndef DELIVERY_LIFE_H
#define DELIVERY_LIFE_H

#include "delivery/delivery.h"

enum err delivery_open(struct stage *s);
void delivery_drain(struct stage *s);
bool delivery_busy(struct stage *s);
void delivery_close(struct stage *s);
void delivery_tick(struct stage *s, uint64_t wall_ms);
void delivery_collect(struct stage *s);
bool delivery_ready(struct stage *s);
enum err delivery_reload(struct stage *s, const void *conf) MUST_CHECK;

#endif
