/* lib/uuid.h - UUIDv7 (RFC 9562, 5.7) as 26 characters of Crockford base32
 *
 * Ids of messages and verdicts.  They order by time of creation; within one
 * process they are strictly increasing.
 */
#ifndef LIB_UUID_H
#define LIB_UUID_H

#include <stdint.h>
#include "lib/err.h"

#define UUID_LEN   16
#define UUID_CHARS 26

struct uuid { uint8_t b[UUID_LEN]; };

/* A new id for wall time now_ms (ms since 1970).  Uses 74 random bits per
 * millisecond from the kernel's generator, read in large blocks. */
struct uuid uuid_new(uint64_t now_ms);

uint64_t uuid_time_ms(const struct uuid *u);

/* Upper case, NUL-terminated. */
void uuid_text(const struct uuid *u, char out[UUID_CHARS + 1]);

/* Reads text() back; lower case, and I L O for 1 1 0, are accepted.
 * ERR_SYNTAX: not 26 characters of the alphabet, or more than 128 bits. */
enum err uuid_parse(const char *text, struct uuid *out) MUST_CHECK;

#endif
