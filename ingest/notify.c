/* ingest/notify.c - builds the notification
 *
 * Addresses have passed the grammar of RFC 5321 or 6531, so none can break a line.
 */
#include "ingest/notify.h"

#include <string.h>
#include "proto/dsn.h"
#include "proto/smtp_addr.h"

static bool is_ascii(const char *s)
{
	return smtp_is_ascii(s, strlen(s));
}

static bool all_ascii(const struct notify_facts *f)
{
	bool ascii = is_ascii(f->from);

	for (size_t i = 0; i < f->n_to; i++)
		ascii = ascii && is_ascii(f->to[i]);
	for (size_t i = 0; i < f->n; i++)
		ascii = ascii && (f->refusal[i].rcpt == NULL || is_ascii(f->refusal[i].rcpt));
	return ascii;
}

static void head_add(struct buf *out, const struct notify_facts *f, bool ascii)
{
	char date[40];

	dsn_date(f->now_ms, date);
	buf_addf(out, "From: Mail relay <postmaster@%s>\r\n", f->hostname);
	for (size_t i = 0; i < f->n_to; i++)
		buf_addf(out, "%s <%s>%s\r\n", i == 0 ? "To:" : "\t", f->to[i],
		         i + 1 < f->n_to ? "," : "");
	buf_addf(out, "Subject: Web Service Exception %s:\r\n %s\r\n", f->refusal[0].exception,
	         f->refusal[0].text);
	buf_addf(out, "Date: %s\r\nMessage-ID: <%s@%s>\r\n", date, f->id, f->hostname);
	buf_addf(out, "Auto-Submitted: auto-generated\r\nMIME-Version: 1.0\r\n"
	         "Content-Type: text/plain; charset=%s\r\nContent-Transfer-Encoding: %s\r\n\r\n",
	         ascii ? "us-ascii" : "utf-8", ascii ? "7bit" : "8bit");
}

void notify_build(struct buf *out, const struct notify_facts *f, bool *eight_bit)
{
	bool ascii = all_ascii(f);

	head_add(out, f, ascii);
	buf_addf(out, "Message %s", f->about);
	if (f->from[0] != '\0')
		buf_addf(out, " from <%s>", f->from);
	buf_adds(out, " was accepted, but:\r\n\r\n");
	for (size_t i = 0; i < f->n; i++) {
		buf_addf(out, "Web Service Exception %s: %s\r\n", f->refusal[i].exception,
		         f->refusal[i].text);
		if (f->refusal[i].rcpt != NULL)
			buf_addf(out, "    recipient: <%s>\r\n", f->refusal[i].rcpt);
	}
	*eight_bit = !ascii;
}
