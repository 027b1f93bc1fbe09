/* lib/err.h - the one result type of Holdfast
 *
 * Everything that can fail returns enum err.  Codes of other libraries (libuv,
 * ZeroMQ, RocksDB, OpenSSL) are translated where they are called and go no
 * further.  Out-parameters come last and are untouched unless ERR_OK.
 */
#ifndef LIB_ERR_H
#define LIB_ERR_H

#define MUST_CHECK __attribute__((warn_unused_result))
#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))

enum err {
	ERR_OK = 0,
	ERR_NOENT,   /* no such thing */
	ERR_EXIST,   /* it is there already */
	ERR_SYNTAX,  /* what came cannot be parsed */
	ERR_RANGE,   /* parsed, but outside its bounds */
	ERR_TOOBIG,  /* over a size limit */
	ERR_FULL,    /* a bounded queue or store has no room */
	ERR_AGAIN,   /* not now; nothing was changed, ask again later */
	ERR_TIMEOUT, /* the deadline passed; the other side may have acted */
	ERR_LINK,    /* no link to the other side */
	ERR_REFUSED, /* the other side said no */
	ERR_PROTO,   /* the other side broke the protocol */
	ERR_PERM,    /* the asker's role may not */
	ERR_BADSTATE, /* not legal in this state */
	ERR_CORRUPT, /* a stored record cannot be read */
	ERR_IO,      /* the environment failed: disk, file, socket */
	ERR_CLOSED,  /* the object is being closed */
	ERR__COUNT
};

/* A short lower-case English phrase for err; never NULL, static storage. */
const char *err_text(enum err err);

#endif
