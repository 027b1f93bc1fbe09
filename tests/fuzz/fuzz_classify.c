/* tests/fuzz/fuzz_classify.c - every reply is judged, and no address is condemned by accident
 *
 * The first byte is the stage, the second one the code; then the enhanced code up to a
 * LF, and the text.
 */
#include <assert.h>
#include <ctype.h>
#include <stdint.h>
#include <string.h>
#include "delivery/classify.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct outcome judge(const struct outcome *o, const char *text, size_t len)
{
	struct outcome out = *o;

	out.text = text;
	out.text_len = len;
	classify_outcome(&out);
	assert(out.rule != NULL && out.rule[0] != '\0');
	assert(out.class >= HOLDFAST__BOUNCE_CLASS__BOUNCE_HARD &&
	       out.class <= HOLDFAST__BOUNCE_CLASS__BOUNCE_BLOCK);
	return out;
}

static bool speaks_of_address(Holdfast__SmtpStage stage)
{
	return stage == HOLDFAST__SMTP_STAGE__STAGE_RCPT || stage == HOLDFAST__SMTP_STAGE__STAGE_DNS ||
	       stage == HOLDFAST__SMTP_STAGE__STAGE_END_OF_DATA;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static char upper[2048];
	struct outcome o = { 0 }, first, second;
	char enhanced[12];
	const uint8_t *lf;
	size_t n;

	if (size < 2)
		return 0;
	o.stage = data[0] % 12;
	o.code = data[1] < 200 ? 400 + data[1] : 0;
	data += 2;
	size -= 2;
	lf = memchr(data, '\n', size);
	n = lf != NULL ? (size_t)(lf - data) : 0;
	if (n >= sizeof(enhanced))
		return 0;
	memcpy(enhanced, data, n);
	enhanced[n] = '\0';
	o.enhanced = enhanced;
	data += n + (lf != NULL);
	size -= n + (lf != NULL);
	first = judge(&o, (const char *)data, size);
	assert(speaks_of_address(o.stage) || first.class == HOLDFAST__BOUNCE_CLASS__BOUNCE_BLOCK);
	if (size > sizeof(upper))
		return 0;
	for (size_t i = 0; i < size; i++)
		upper[i] = (char)toupper(data[i]);
	second = judge(&o, upper, size);
	assert(second.class == first.class && second.rule == first.rule);
	return 0;
}
