/* proto/tool.c - one question at a time, for command-line tools
 *
 * Has a loop of its own and runs it only while a question is open.
 */
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>
#include "lib/conf.h"
#include "lib/mem.h"
#include "proto/tool.h"

#define ALL_STAGES                                                                   \
	(BUS_ROLE(HOLDFAST__ROLE__ROLE_INGEST) | BUS_ROLE(HOLDFAST__ROLE__ROLE_POLICY) | \
	 BUS_ROLE(HOLDFAST__ROLE__ROLE_HOLDQ) | BUS_ROLE(HOLDFAST__ROLE__ROLE_DELIVERY))

struct tool {
	uv_loop_t loop;
	struct common_conf common;
	struct bus *bus;
	char *refusal;

	bool waiting;
	enum err err;
	struct tool_answer answer;
};

enum err tool_open(const char *conf_path, Holdfast__Role role, struct tool **out)
{
	struct tool *t = xcalloc(1, sizeof(*t));
	const char *kind = role == HOLDFAST__ROLE__ROLE_REVIEWER ? "holdq" : "hfctl";
	char why[CONF_ERR_MAX];
	char name[33];
	enum err err;

	err = worker_conf_load(conf_path, NULL, NULL, NULL, &t->common, why);
	if (err != ERR_OK) {
		fprintf(stderr, "%s\n", why);
		xfree(t);
		return err;
	}
	snprintf(name, sizeof(name), "%s-%ld", kind, (long)getpid());
	if (uv_loop_init(&t->loop) != 0)
		err = ERR_IO;
	if (err == ERR_OK) {
		const struct bus_conf conf = {
			.common = &t->common, .role = role, .instance = name,
			.asks = ALL_STAGES,
		};

		err = bus_open(&t->loop, &conf, &t->bus);
	}
	if (err != ERR_OK) {
		conf_free(common_params, &t->common);
		xfree(t);
		return err;
	}
	*out = t;
	return ERR_OK;
}

void tool_close(struct tool **pt)
{
	struct tool *t = *pt;

	if (t == NULL)
		return;
	*pt = NULL;
	bus_close(&t->bus);
	uv_run(&t->loop, UV_RUN_DEFAULT);
	uv_loop_close(&t->loop);
	conf_free(common_params, &t->common);
	xfree(t->refusal);
	xfree(t);
}

unsigned tool_instances(const struct tool *t, Holdfast__Role stage)
{
	return bus_instances(t->bus, stage);
}

const char *tool_instance_name(const struct tool *t, Holdfast__Role stage, unsigned i)
{
	return bus_instance_name(t->bus, stage, i);
}

unsigned tool_shard(const struct tool *t, Holdfast__Role stage, const void *key, size_t len)
{
	return bus_shard(t->bus, stage, key, len);
}

/* The bus' frame dies with the callback. */
static Holdfast__Frame *frame_copy(const Holdfast__Frame *f)
{
	size_t len = holdfast__frame__get_packed_size(f);
	uint8_t *packed = xmalloc(len);
	Holdfast__Frame *copy;

	holdfast__frame__pack(f, packed);
	copy = holdfast__frame__unpack(NULL, len, packed);
	xfree(packed);
	return copy;
}

static void on_answer(enum err err, const Holdfast__Frame *frame, struct blob *body, void *owner,
                      uint64_t id)
{
	struct tool *t = owner;

	t->waiting = false;
	t->err = err;
	if (err == ERR_OK) {
		t->answer.frame = frame_copy(frame);
		t->answer.body = body != NULL ? blob_ref(body) : NULL;
		if (t->answer.frame == NULL)
			t->err = ERR_PROTO;
	} else if (frame != NULL && frame->body_case == HOLDFAST__FRAME__BODY_REFUSED) {
		t->refusal = pb_strdup(frame->refused->text);
	}
}

enum err tool_ask(struct tool *t, struct bus_to to, Holdfast__Frame *q, uint32_t wait_ms,
                  struct tool_answer *out)
{
	enum err err;

	xfree(t->refusal);
	t->refusal = NULL;
	t->answer = (struct tool_answer){ NULL, NULL };
	uv_update_time(&t->loop);
	err = bus_ask(t->bus, to, q, NULL, wait_ms, on_answer, t, 0);
	if (err != ERR_OK)
		return err;
	t->waiting = true;
	while (t->waiting)
		uv_run(&t->loop, UV_RUN_ONCE);
	if (t->err == ERR_OK)
		*out = t->answer;
	else
		tool_answer_free(&t->answer);
	return t->err;
}

void tool_answer_free(struct tool_answer *a)
{
	if (a->frame != NULL)
		holdfast__frame__free_unpacked(a->frame, NULL);
	a->frame = NULL;
	blob_unref(&a->body);
}

const char *tool_refusal(const struct tool *t)
{
	return t->refusal;
}

int tool_exit_code(enum err err)
{
	static const int codes[ERR__COUNT] = {
		[ERR_OK] = EX_OK, [ERR_NOENT] = EX_DATAERR, [ERR_EXIST] = EX_DATAERR,
		[ERR_SYNTAX] = EX_CONFIG, [ERR_RANGE] = EX_CONFIG, [ERR_TOOBIG] = EX_DATAERR,
		[ERR_FULL] = EX_TEMPFAIL, [ERR_AGAIN] = EX_TEMPFAIL, [ERR_TIMEOUT] = EX_UNAVAILABLE,
		[ERR_LINK] = EX_UNAVAILABLE, [ERR_REFUSED] = EX_DATAERR, [ERR_PROTO] = EX_PROTOCOL,
		[ERR_PERM] = EX_NOPERM, [ERR_BADSTATE] = EX_SOFTWARE, [ERR_CORRUPT] = EX_DATAERR,
		[ERR_IO] = EX_IOERR, [ERR_CLOSED] = EX_UNAVAILABLE,
	};

	return (unsigned)err < ERR__COUNT ? codes[err] : EX_SOFTWARE;
}

const char *tool_user(void)
{
	static char name[64];
	const char *sudo = getenv("SUDO_USER");
	const struct passwd *pw = getpwuid(getuid());

	if (sudo != NULL && *sudo != '\0')
		snprintf(name, sizeof(name), "%s", sudo);
	else if (pw != NULL)
		snprintf(name, sizeof(name), "%s", pw->pw_name);
	else
		snprintf(name, sizeof(name), "uid:%ld", (long)getuid());
	return name;
}
