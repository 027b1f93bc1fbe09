/* lib/uuid.c - UUIDv7 and its 26 characters
 *
 * The state (last time and its 74 bits) is one for the process, behind a lock.
 * A second id in one millisecond, or after the clock went back, adds a random
 * step to the bits of the last one: ids increase and still cannot be guessed.
 * Without the kernel's random bytes the process ends.
 */
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/random.h>
#include <sysexits.h>
#include "lib/log.h"
#include "lib/uuid.h"

#define HI_BITS 12 /* rand_a of RFC 9562 */
#define LO_BITS 62 /* rand_b */
#define LO_MASK ((1ULL << LO_BITS) - 1)

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static uint8_t  pool[4096];
static size_t   pool_used = sizeof(pool);
static uint64_t last_ms, last_hi, last_lo;

static void fill_pool(void)
{
	size_t got = 0;

	while (got < sizeof(pool)) {
		ssize_t n = getrandom(pool + got, sizeof(pool) - got, 0);

		if (n < 0 && errno != EINTR)
			log_fatal(EX_OSERR, "no-random-bytes", LOG_PAIRS());
		got += n > 0 ? (size_t)n : 0;
	}
	pool_used = 0;
}

static uint64_t random_u64(void)
{
	uint64_t v;

	if (pool_used + sizeof(v) > sizeof(pool))
		fill_pool();
	memcpy(&v, pool + pool_used, sizeof(v));
	pool_used += sizeof(v);
	return v;
}

/* Step to the next of the same millisecond; a full one borrows from the next. */
static void step(void)
{
	last_lo += 1 + (random_u64() & 0xffffffff);
	if (last_lo <= LO_MASK)
		return;
	last_lo &= LO_MASK;
	if (++last_hi < 1U << HI_BITS)
		return;
	last_hi = 0;
	last_ms++;
}

struct uuid uuid_new(uint64_t now_ms)
{
	struct uuid u;
	uint64_t head, tail;

	pthread_mutex_lock(&lock);
	if (now_ms > last_ms) {
		last_ms = now_ms;
		last_hi = random_u64() & ((1U << HI_BITS) - 1);
		last_lo = random_u64() & LO_MASK;
	} else {
		step();
	}
	head = last_ms << 16 | 7U << 12 | last_hi;
	tail = 2ULL << LO_BITS | last_lo;
	pthread_mutex_unlock(&lock);
	for (unsigned i = 0; i < 8; i++) {
		u.b[i] = (uint8_t)(head >> (56 - 8 * i));
		u.b[8 + i] = (uint8_t)(tail >> (56 - 8 * i));
	}
	return u;
}

uint64_t uuid_time_ms(const struct uuid *u)
{
	uint64_t ms = 0;

	for (unsigned i = 0; i < 6; i++)
		ms = ms << 8 | u->b[i];
	return ms;
}

static const char alphabet[] = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";

void uuid_text(const struct uuid *u, char out[UUID_CHARS + 1])
{
	/* 130 bits for 128: the first character carries three bits only. */
	unsigned bits = 2, acc = 0;
	size_t n = 0;

	for (unsigned i = 0; i < UUID_LEN; i++) {
		acc = acc << 8 | u->b[i];
		bits += 8;
		while (bits >= 5) {
			bits -= 5;
			out[n++] = alphabet[acc >> bits & 31];
		}
		acc &= (1U << bits) - 1;
	}
	out[n] = '\0';
}

static int digit_of(char c)
{
	const char *at;

	if (c >= 'a' && c <= 'z')
		c = (char)(c - 'a' + 'A');
	if (c == 'I' || c == 'L')
		return 1;
	if (c == 'O')
		return 0;
	at = c != '\0' ? strchr(alphabet, c) : NULL;
	return at != NULL ? (int)(at - alphabet) : -1;
}

enum err uuid_parse(const char *text, struct uuid *out)
{
	struct uuid u;
	unsigned bits = 0, acc = 0;
	size_t n = 0;

	if (strnlen(text, UUID_CHARS + 1) != UUID_CHARS)
		return ERR_SYNTAX;
	for (unsigned i = 0; i < UUID_CHARS; i++) {
		int d = digit_of(text[i]);

		if (d < 0 || (i == 0 && d > 7))
			return ERR_SYNTAX;
		acc = acc << 5 | (unsigned)d;
		bits += i == 0 ? 3 : 5;
		if (bits >= 8) {
			bits -= 8;
			u.b[n++] = (uint8_t)(acc >> bits);
		}
		acc &= (1U << bits) - 1;
	}
	*out = u;
	return ERR_OK;
}
