/* lib/blob.h - immutable bytes shared by reference count
 *
 * A message's bytes are a blob from the moment they are complete: the bus, the
 * store's writer thread and an SMTP session then share them without a copy.
 * The count is atomic, so a reference may be dropped on any thread; the bytes
 * never change.
 */
#ifndef LIB_BLOB_H
#define LIB_BLOB_H

#include <stddef.h>
#include "lib/buf.h"

struct blob {
	const unsigned char *data;
	size_t               len;
	/* private part follows */
};

typedef void blob_free_fn(void *hint);

/* A blob with one reference, owned by the caller. */
struct blob *blob_copy(const void *p, size_t len);
struct blob *blob_take(struct buf *b);  /* takes b's memory without a copy; b becomes BUF_INIT */
/* Wraps memory that somebody else owns: free(hint) runs once, on whatever
 * thread drops the last reference. */
struct blob *blob_wrap(const void *p, size_t len, blob_free_fn *free, void *hint);

struct blob *blob_ref(struct blob *b);  /* returns b */
void         blob_unref(struct blob **b); /* sets *b to NULL; NULL is fine */

#endif
