/* tests/unit/test_buf.c - the byte buffer against a plain model of it
 *
 * After every step the content equals the model's and a NUL follows it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include "lib/buf.h"
#include "lib/err.h"

static void an_empty_buffer_reads_as_empty_text(void **state)
{
	struct buf b = BUF_INIT;

	assert_string_equal(buf_str(&b), "");
	buf_consume(&b, 0);
	buf_grew(&b, 0);
	buf_reset(&b);
	assert_null(b.data);
	buf_free(&b);
}

static void what_is_added_is_read_in_order(void **state)
{
	struct buf b = BUF_INIT;

	buf_adds(&b, "ab");
	buf_addc(&b, 'c');
	buf_add(&b, "\0d", 2);
	buf_add(&b, NULL, 0);
	assert_int_equal(b.len, 5);
	assert_memory_equal(b.data, "abc\0d", 6);
	buf_consume(&b, 4);
	assert_string_equal(buf_str(&b), "d");
	buf_adds(&b, "e");
	assert_string_equal(buf_str(&b), "de");
	buf_consume(&b, 2);
	assert_int_equal(b.len, 0);
	assert_string_equal(buf_str(&b), "");
	buf_free(&b);
	assert_null(b.data);
	assert_int_equal(b.cap, 0);
}

static void integers_are_big_endian(void **state)
{
	struct buf b = BUF_INIT;

	buf_add_u16(&b, 0x0102);
	buf_add_u32(&b, 0x03040506);
	buf_add_u64(&b, 0x0708090a0b0c0d0eULL);
	assert_int_equal(b.len, 14);
	for (int i = 0; i < 14; i++)
		assert_int_equal(b.data[i], i + 1);
	buf_free(&b);
}

/* Around the length at which formatting needs a second pass. */
static void formatted_text_of_any_length_is_whole(void **state)
{
	char want[200];

	for (int n = 0; n < 150; n++) {
		struct buf b = BUF_INIT;

		memset(want, 'x', sizeof(want));
		memcpy(want + n, "-7", 3);
		buf_adds(&b, "<");
		buf_addf(&b, "%.*s%d", n, want, -7);
		assert_int_equal(b.len, n + 3);
		assert_string_equal(b.data + 1, want);
		buf_free(&b);
	}
}

static void room_can_be_filled_in_part(void **state)
{
	struct buf b = BUF_INIT;
	char *room = buf_room(&b, 1000);

	memset(room, 'r', 1000);
	assert_int_equal(b.len, 0);
	buf_grew(&b, 10);
	assert_string_equal(buf_str(&b), "rrrrrrrrrr");
	buf_free(&b);
}

/* A queue that never empties must not grow: the consumed part is used again. */
static void a_steady_stream_stays_small(void **state)
{
	struct buf b = BUF_INIT;
	char chunk[1000];

	memset(chunk, 'z', sizeof(chunk));
	buf_add(&b, chunk, 500);
	for (int i = 0; i < 100000; i++) {
		buf_add(&b, chunk, sizeof(chunk));
		buf_consume(&b, sizeof(chunk));
	}
	assert_int_equal(b.len, 500);
	assert_true(b.cap < 16384);
	buf_free(&b);
}

static unsigned next_random(unsigned *seed)
{
	*seed = *seed * 1103515245 + 12345;
	return *seed >> 16;
}

static void many_random_steps_match_the_model(void **state)
{
	static char model[1 << 20];
	size_t from = 0, to = 0;
	struct buf b = BUF_INIT;
	unsigned seed = 7;

	while (to < sizeof(model) - 4096) {
		size_t n = next_random(&seed) % 300;

		for (size_t i = 0; i < n; i++)
			model[to + i] = (char)next_random(&seed);
		buf_add(&b, model + to, n);
		to += n;
		n = next_random(&seed) % 310;
		n = n > b.len ? b.len : n;
		buf_consume(&b, n);
		from += n;
		assert_int_equal(b.len, to - from);
		assert_memory_equal(buf_str(&b), model + from, b.len);
		assert_int_equal(buf_str(&b)[b.len], '\0');
	}
	buf_free(&b);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_empty_buffer_reads_as_empty_text),
		cmocka_unit_test(what_is_added_is_read_in_order),
		cmocka_unit_test(integers_are_big_endian),
		cmocka_unit_test(formatted_text_of_any_length_is_whole),
		cmocka_unit_test(room_can_be_filled_in_part),
		cmocka_unit_test(a_steady_stream_stays_small),
		cmocka_unit_test(many_random_steps_match_the_model),
	};

	return cmocka_run_group_tests_name("buf", tests, NULL, NULL);
}
