/* tests/fuzz/fuzz_conf.c - any bytes as a configuration
 *
 * Goes through a memory file, as conf_load() reads a path.  A file that is taken
 * must leave only values inside their bounds; one that is refused must leave
 * zeroes and one printable line that starts with the path.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "lib/conf.h"

struct row { char *name; uint64_t size; };
struct all {
	char *text;
	uint64_t number, wait;
	bool on;
	int word;
	struct conf_list list;
	struct conf_map map;
	struct conf_rows rows;
};

static const char *const words[] = { "red", "green", NULL };
static const struct conf_param row_params[] = {
	{ "name", CONF_TEXT, offsetof(struct row, name), NULL, 1, 9, "", NULL, NULL, 0 },
	{ "size", CONF_SIZE, offsetof(struct row, size), "1KiB", 1, 1 << 20, "", NULL, NULL, 0 },
	{ 0 },
};

#define AT(f) offsetof(struct all, f)
static const struct conf_param params[] = {
	{ "text", CONF_TEXT, AT(text), "", 1, 9, "", NULL, NULL, 0 },
	{ "number", CONF_NUMBER, AT(number), "5", 2, 9, "", NULL, NULL, 0 },
	{ "wait", CONF_DURATION, AT(wait), "1s", 5, 86400000, "", NULL, NULL, 0 },
	{ "on", CONF_BOOL, AT(on), "no", 0, 0, "", NULL, NULL, 0 },
	{ "word", CONF_WORD, AT(word), "red", 0, 0, "", words, NULL, 0 },
	{ "list", CONF_LIST, AT(list), "", 0, 3, "", NULL, NULL, 0 },
	{ "map", CONF_MAP, AT(map), "", 0, 3, "", NULL, NULL, 0 },
	{ "rows", CONF_ROWS, AT(rows), "", 0, 3, "", NULL, row_params, sizeof(struct row) },
	{ 0 },
};

static void want(bool good)
{
	if (!good)
		abort();
}

static void check_taken(const struct all *a)
{
	const struct row *row = a->rows.row;

	want(a->number >= 2 && a->number <= 9 && a->wait >= 5 && a->wait <= 86400000);
	want(a->word >= 0 && a->word < 2 && strlen(a->text) <= 9);
	want(a->list.n <= 3 && a->map.n <= 3 && a->rows.n <= 3);
	for (size_t i = 0; i < a->rows.n; i++)
		want(row[i].size >= 1 && row[i].size <= 1 << 20 && strlen(row[i].name) <= 9);
}

static void check_refused(const struct all *a, const char *path, const char *why)
{
	static const struct all none;

	want(memcmp(a, &none, sizeof(none)) == 0);
	want(strncmp(why, path, strlen(path)) == 0);
	for (; *why != '\0'; why++)
		want((unsigned char)*why >= ' ' && *why != 0x7f);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static int fd = -1;
	static char path[64];
	static const char *const ignore[] = { "other", NULL };
	struct all plain, part;
	struct conf_section sections[] = {
		{ NULL, params, &plain }, { "part", params, &part }, { NULL, NULL, NULL },
	};
	char why[CONF_ERR_MAX] = "";
	enum err err;

	if (fd < 0) {
		fd = memfd_create("conf", MFD_CLOEXEC);
		want(fd >= 0);
		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	}
	want(ftruncate(fd, 0) == 0 && pwrite(fd, data, len, 0) == (ssize_t)len);
	memset(&plain, 0, sizeof(plain));
	memset(&part, 0, sizeof(part));
	err = conf_load(path, sections, ignore, why);
	if (err == ERR_OK) {
		check_taken(&plain);
		check_taken(&part);
		conf_free(params, &plain);
		conf_free(params, &part);
	}
	check_refused(&plain, path, err == ERR_OK ? path : why);
	check_refused(&part, path, err == ERR_OK ? path : why);
	return 0;
}
