/* ingest/handoff.c - splits a message into parts
 *
 * Pure, and touches no body byte but the header section of held mail.
 */
#include "ingest/handoff.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include "proto/bus.h"

static int by_dest(const void *pa, const void *pb)
{
	const struct handoff_rcpt *a = pa, *b = pb;

	if (a->dest != b->dest)
		return a->dest < b->dest ? -1 : 1;
	return a->index < b->index ? -1 : a->index > b->index;
}

size_t handoff_split(struct handoff_rcpt *rcpt, size_t n, size_t max, struct handoff_part *parts)
{
	size_t n_parts = 0, bytes = 0;

	qsort(rcpt, n, sizeof(*rcpt), by_dest);
	for (size_t i = 0; i < n; i++) {
		size_t add = HANDOFF_RCPT_BYTES(&rcpt[i]);

		if (i == 0 || rcpt[i].dest != rcpt[i - 1].dest || bytes + add > max ||
		    parts[n_parts - 1].n == HANDOFF_PART_MAX) {
			parts[n_parts++] = (struct handoff_part){
				.part = rcpt[i].index, .dest = rcpt[i].dest, .first = i,
			};
			bytes = HANDOFF_FIXED_BYTES;
		}
		bytes += add;
		parts[n_parts - 1].n++;
	}
	return n_parts;
}

void handoff_recipients(const struct handoff_rcpt *rcpt, size_t n, Holdfast__Recipient *rs,
                        Holdfast__Recipient **ptrs)
{
	for (size_t i = 0; i < n; i++) {
		holdfast__recipient__init(&rs[i]);
		rs[i].index = rcpt[i].index;
		rs[i].address = pb_str(rcpt[i].address);
		rs[i].notify = rcpt[i].notify;
		if (rcpt[i].orcpt != NULL)
			rs[i].orcpt = pb_str(rcpt[i].orcpt);
		ptrs[i] = &rs[i];
	}
}

/* Where the field that begins at p ends: before its CRLF, folded lines included. */
static const char *field_end(const char *p, const char *end)
{
	for (;;) {
		const char *nl = memmem(p, (size_t)(end - p), "\r\n", 2);

		if (nl == NULL)
			return end;
		if (end - nl < 3 || (nl[2] != ' ' && nl[2] != '\t'))
			return nl;
		p = nl + 2;
	}
}

ProtobufCBinaryData handoff_subject(const void *msg, size_t len)
{
	static const char name[] = "Subject:";
	const char *p = msg, *end = p + len;

	while (p < end && !(end - p >= 2 && memcmp(p, "\r\n", 2) == 0)) {
		const char *stop = field_end(p, end);
		size_t n = (size_t)(stop - p);

		if (n >= sizeof(name) - 1 && strncasecmp(p, name, sizeof(name) - 1) == 0) {
			p += sizeof(name) - 1;
			while (p < stop && (*p == ' ' || *p == '\t'))
				p++;
			n = (size_t)(stop - p);
			return pb_bytes(p, n < HANDOFF_SUBJECT_MAX ? n : HANDOFF_SUBJECT_MAX);
		}
		p = stop == end ? end : stop + 2;
	}
	return pb_bytes(NULL, 0);
}
