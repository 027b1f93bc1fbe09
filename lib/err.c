/* lib/err.c - the phrases of lib/err.h
 *
 * One row per code; a code without a row is a bug that the static assertion
 * finds when the table is too short.
 */
#include <stddef.h>
#include "lib/err.h"

static const char *const texts[] = {
	[ERR_OK]      = "ok",
	[ERR_NOENT]   = "not found",
	[ERR_EXIST]   = "exists already",
	[ERR_SYNTAX]  = "cannot be parsed",
	[ERR_RANGE]   = "out of range",
	[ERR_TOOBIG]  = "too big",
	[ERR_FULL]    = "full",
	[ERR_AGAIN]   = "not now",
	[ERR_TIMEOUT] = "timed out",
	[ERR_LINK]    = "no link",
	[ERR_REFUSED] = "refused",
	[ERR_PROTO]   = "protocol broken",
	[ERR_PERM]    = "not permitted",
	[ERR_BADSTATE] = "not legal in this state",
	[ERR_CORRUPT] = "record is corrupt",
	[ERR_IO]      = "input or output failed",
	[ERR_CLOSED]  = "closed",
};

_Static_assert(ARRAY_LEN(texts) == ERR__COUNT, "each error has a phrase");

const char *err_text(enum err err)
{
	if ((unsigned)err >= ERR__COUNT || texts[err] == NULL)
		return "unknown error";
	return texts[err];
}
