/* tests/unit/test_blob.c - bytes that live as long as their last reference, on any thread
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include "lib/blob.h"

static void a_copy_is_a_copy(void **state)
{
	char text[] = "hello";
	struct blob *b = blob_copy(text, 5);

	text[0] = 'j';
	assert_int_equal(b->len, 5);
	assert_memory_equal(b->data, "hello", 5);
	blob_unref(&b);
	assert_null(b);
	blob_unref(&b);
}

static void nothing_is_a_blob_too(void **state)
{
	struct buf empty = BUF_INIT;
	struct blob *a = blob_copy(NULL, 0), *b = blob_take(&empty);

	assert_int_equal(a->len, 0);
	assert_int_equal(b->len, 0);
	assert_non_null(b->data);
	blob_unref(&a);
	blob_unref(&b);
}

static void taking_a_buffer_moves_its_memory(void **state)
{
	struct buf from = BUF_INIT;
	const void *where;
	struct blob *b;

	buf_adds(&from, "head and body");
	buf_consume(&from, 9);
	where = from.data;
	b = blob_take(&from);
	assert_null(from.data);
	assert_int_equal(from.len, 0);
	assert_ptr_equal(b->data, where);
	assert_int_equal(b->len, 4);
	assert_memory_equal(b->data, "body", 4);
	blob_unref(&b);
}

static void count_free(void *hint)
{
	__atomic_add_fetch((int *)hint, 1, __ATOMIC_SEQ_CST);
}

static void the_last_reference_frees_once(void **state)
{
	int freed = 0;
	struct blob *a = blob_wrap("xy", 2, count_free, &freed), *b = blob_ref(a);

	assert_ptr_equal(a, b);
	blob_unref(&a);
	assert_int_equal(freed, 0);
	assert_memory_equal(b->data, "xy", 2);
	blob_unref(&b);
	assert_int_equal(freed, 1);
}

enum { THREADS = 4, ROUNDS = 20000 };

static void *ref_and_unref(void *arg)
{
	struct blob *mine = arg;

	for (int i = 0; i < ROUNDS; i++) {
		struct blob *more = blob_ref(mine);

		blob_unref(&more);
	}
	blob_unref(&mine);
	return NULL;
}

static void threads_may_share_and_drop(void **state)
{
	int freed = 0;
	struct blob *b = blob_wrap("xy", 2, count_free, &freed);
	pthread_t thread[THREADS];

	for (int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, ref_and_unref, blob_ref(b)), 0);
	blob_unref(&b);
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_join(thread[i], NULL), 0);
	assert_int_equal(freed, 1);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_copy_is_a_copy),
		cmocka_unit_test(nothing_is_a_blob_too),
		cmocka_unit_test(taking_a_buffer_moves_its_memory),
		cmocka_unit_test(the_last_reference_frees_once),
		cmocka_unit_test(threads_may_share_and_drop),
	};

	return cmocka_run_group_tests_name("blob", tests, NULL, NULL);
}
