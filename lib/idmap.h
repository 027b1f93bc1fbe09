/* lib/idmap.h - 64-bit ids for things that may die while somebody asks about them
 *
 * Nothing asynchronous holds a pointer: it holds an id from here, and the
 * answer looks it up.  A missing id is normal (the client hung up).  Ids are
 * never 0 and never used twice in a process.  One thread only.
 */
#ifndef LIB_IDMAP_H
#define LIB_IDMAP_H

#include <stddef.h>
#include <stdint.h>

struct idmap;

struct idmap *idmap_new(void);
void          idmap_free(struct idmap **m); /* must be empty: asserted */

uint64_t idmap_add(struct idmap *m, void *obj);      /* obj is borrowed, not NULL */
void    *idmap_get(const struct idmap *m, uint64_t id); /* NULL when gone */
void    *idmap_remove(struct idmap *m, uint64_t id); /* NULL when gone; else the object */
size_t   idmap_count(const struct idmap *m);

#endif
