/* deploy/hfctl_config.c - hfctl config check: would every stage start from this file?
 *
 * Each program knows its own section, so each instance's program is run with -t; what it
 * finds wrong it tells itself on standard error.  The programs are those beside
 * this one.
 */
#include "deploy/hfctl.h"

#include <errno.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>
#include "lib/table.h"

extern char **environ;

static const Holdfast__Role roles[] = {
	HOLDFAST__ROLE__ROLE_INGEST, HOLDFAST__ROLE__ROLE_POLICY, HOLDFAST__ROLE__ROLE_HOLDQ,
	HOLDFAST__ROLE__ROLE_DELIVERY,
};
static const char *const stages[] = { "ingest", "policy", "holdq", "delivery" };

/* The folder of this program, with its slash. */
static bool own_folder(char *out, size_t size)
{
	ssize_t n = readlink("/proc/self/exe", out, size - 1);
	char *slash;

	if (n < 0)
		return false;
	out[n] = '\0';
	slash = strrchr(out, '/');
	if (slash == NULL)
		return false;
	slash[1] = '\0';
	return true;
}

/* The exit code of `holdfast-STAGE -t`, or -1 when it could not be run. */
static int check_one(struct cli *c, const char *folder, const char *stage, const char *instance)
{
	char path[4096];
	const char *argv[] = { path, "-t", "-c", c->conf_path, "-i", instance, NULL };
	int status, err;
	pid_t pid;

	if ((size_t)snprintf(path, sizeof(path), "%sholdfast-%s", folder, stage) >= sizeof(path))
		return -1;
	err = posix_spawn(&pid, path, NULL, NULL, (char *const *)argv, environ);
	if (err != 0) {
		(void)cli_fail(c, 0, "%s: %s", path, strerror(err));
		return -1;
	}
	while (waitpid(pid, &status, 0) != pid)
		if (errno != EINTR)
			return -1;
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void result_row(struct table *t, const char *stage, const char *instance, int code)
{
	table_row(t);
	table_text(t, stage);
	table_text(t, instance);
	table_text(t, code == EX_OK ? "ok" : code < 0 ? "cannot run" : "wrong");
}

int cmd_config_check(struct cli *c, int argc, char **argv)
{
	static const struct table_column columns[] = {
		{ "STAGE", TABLE_TEXT }, { "INSTANCE", TABLE_TEXT }, { "RESULT", TABLE_TEXT },
		{ NULL, TABLE_TEXT },
	};
	const char *args[1];
	enum err err = cli_parse(c, NULL, argc, argv, args, (int[2]){ 0, 0 });
	char folder[4096];
	struct table *t;
	int worst = EX_OK, code;

	if (err != ERR_OK)
		return cli_parse_exit(err);
	code = hfctl_open(c);
	if (code != EX_OK)
		return code;
	if (!own_folder(folder, sizeof(folder)))
		return cli_fail(c, EX_OSERR, "/proc/self/exe: %s", strerror(errno));
	t = table_new(columns, c->json);
	for (size_t s = 0; s < ARRAY_LEN(roles); s++) {
		for (unsigned i = 0; i < tool_instances(hfctl_tool(c), roles[s]); i++) {
			const char *name = tool_instance_name(hfctl_tool(c), roles[s], i);

			code = check_one(c, folder, stages[s], name);
			result_row(t, stages[s], name, code);
			if (code > 0)
				worst = EX_CONFIG;
			else if (code < 0 && worst == EX_OK)
				worst = EX_UNAVAILABLE;
		}
	}
	table_print(&t, stdout);
	return worst;
}
