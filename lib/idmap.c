/* lib/idmap.c - ids to objects, by open addressing
 *
 * Ids are counted up, so a mixing function spreads them over the table; linear
 * probing, at most half full, and deletion moves later entries back so that
 * there are no tombstones: cost does not depend on what lived here before.
 */
#include <assert.h>
#include "lib/idmap.h"
#include "lib/mem.h"

#define SLOTS_MIN 64 /* a power of two, as every size of the table */

struct slot {
	uint64_t id; /* 0: free */
	void    *obj;
};

struct idmap {
	struct slot *slot;
	size_t       slots;
	size_t       count;
	uint64_t     next_id;
};

/* The finaliser of SplitMix64: each bit of the id changes half of the result. */
static uint64_t mix(uint64_t x)
{
	x ^= x >> 30;
	x *= 0xbf58476d1ce4e5b9ULL;
	x ^= x >> 27;
	x *= 0x94d049bb133111ebULL;
	x ^= x >> 31;
	return x;
}

static size_t home(const struct idmap *m, uint64_t id)
{
	return (size_t)mix(id) & (m->slots - 1);
}

/* The slot of id, or the free one where it would go. */
static size_t find(const struct idmap *m, uint64_t id)
{
	size_t i = home(m, id);

	while (m->slot[i].id != 0 && m->slot[i].id != id)
		i = (i + 1) & (m->slots - 1);
	return i;
}

struct idmap *idmap_new(void)
{
	struct idmap *m = xcalloc(1, sizeof(*m));

	m->slots = SLOTS_MIN;
	m->slot = xcalloc(m->slots, sizeof(*m->slot));
	m->next_id = 1;
	return m;
}

void idmap_free(struct idmap **m)
{
	if (*m == NULL)
		return;
	assert((*m)->count == 0);
	xfree((*m)->slot);
	xfree(*m);
	*m = NULL;
}

static void resize(struct idmap *m, size_t slots)
{
	struct slot *old = m->slot;
	size_t n = m->slots;

	m->slots = slots;
	m->slot = xcalloc(slots, sizeof(*m->slot));
	for (size_t i = 0; i < n; i++)
		if (old[i].id != 0)
			m->slot[find(m, old[i].id)] = old[i];
	xfree(old);
}

uint64_t idmap_add(struct idmap *m, void *obj)
{
	uint64_t id = m->next_id++;

	assert(obj != NULL && id != 0);
	if ((m->count + 1) * 2 > m->slots)
		resize(m, m->slots * 2);
	m->slot[find(m, id)] = (struct slot){ id, obj };
	m->count++;
	return id;
}

void *idmap_get(const struct idmap *m, uint64_t id)
{
	return id == 0 ? NULL : m->slot[find(m, id)].obj;
}

/* Entries after a hole move into it unless that would put them before home. */
static void close_hole(struct idmap *m, size_t hole)
{
	size_t mask = m->slots - 1;

	for (size_t i = (hole + 1) & mask; m->slot[i].id != 0; i = (i + 1) & mask) {
		size_t h = home(m, m->slot[i].id);

		if (((i - h) & mask) < ((i - hole) & mask))
			continue;
		m->slot[hole] = m->slot[i];
		hole = i;
	}
	m->slot[hole] = (struct slot){ 0, NULL };
}

void *idmap_remove(struct idmap *m, uint64_t id)
{
	size_t i;
	void *obj;

	if (id == 0)
		return NULL;
	i = find(m, id);
	obj = m->slot[i].obj;
	if (obj == NULL)
		return NULL;
	close_hole(m, i);
	m->count--;
	if (m->slots > SLOTS_MIN && m->count * 8 < m->slots)
		resize(m, m->slots / 2);
	return obj;
}

size_t idmap_count(const struct idmap *m)
{
	return m->count;
}
