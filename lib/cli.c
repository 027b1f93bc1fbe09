/* lib/cli.c - see lib/cli.h
 *
 * getopt_long() does the parsing; this file makes its tables and its words.
 */
#include "lib/cli.h"

#include <getopt.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <time.h>
#include "lib/worker.h"

enum { OPTIONS_MAX = 24 };

/* ---- texts */

static void list_commands(FILE *f, const struct cli_spec *spec)
{
	fprintf(f, "%s - %s\n\nusage: %s [-c FILE] [--json] COMMAND ...\n\n", spec->name,
	        spec->purpose, spec->name);
	for (const struct cli_command *k = spec->commands; k->words != NULL; k++)
		fprintf(f, "  %-20s %.*s\n", k->words, (int)strcspn(k->help, "\n"), k->help);
	fprintf(f, "\n  -c FILE   configuration ($HOLDFAST_CONF, else %s)\n"
	        "  --json    JSON lines instead of tables\n"
	        "  COMMAND --help tells more of a command.\n", WORKER_CONF_PATH);
}

static void command_usage(FILE *f, const struct cli *c)
{
	fprintf(f, "usage: %s %s%s%s\n", c->spec->name, c->command->words,
	        c->command->args[0] != '\0' ? " " : "", c->command->args);
}

int cli_fail(const struct cli *c, int code, const char *fmt, ...)
{
	va_list ap;

	fprintf(stderr, "%s: ", c->spec->name);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	return code;
}

/* ---- finding the command */

/* How many words of argv the command's words take, 0 when they differ. */
static int words_match(const char *words, int argc, char **argv)
{
	int n = 0;

	while (*words != '\0') {
		size_t len = strcspn(words, " ");

		if (n == argc || strlen(argv[n]) != len || strncmp(argv[n], words, len) != 0)
			return 0;
		n++;
		words += len + (words[len] == ' ');
	}
	return n;
}

static bool first_word_known(const struct cli_spec *spec, const char *word)
{
	size_t len = strlen(word);

	for (const struct cli_command *k = spec->commands; k->words != NULL; k++) {
		if (strncmp(k->words, word, len) == 0 && k->words[len] == ' ')
			return true;
	}
	return false;
}

static int no_command(struct cli *c, int argc, char **argv)
{
	if (argc == 0) {
		list_commands(stderr, c->spec);
		return EX_USAGE;
	}
	if (!first_word_known(c->spec, argv[0]))
		return cli_fail(c, EX_USAGE, "no command \"%s\"; %s --help lists them", argv[0],
		                c->spec->name);
	fprintf(stderr, "%s: %s what?  There is:\n", c->spec->name, argv[0]);
	for (const struct cli_command *k = c->spec->commands; k->words != NULL; k++) {
		if (strncmp(k->words, argv[0], strlen(argv[0])) == 0)
			fprintf(stderr, "  %s %s %s\n", c->spec->name, k->words, k->args);
	}
	return EX_USAGE;
}

static int run_command(struct cli *c, int argc, char **argv)
{
	for (const struct cli_command *k = c->spec->commands; k->words != NULL; k++) {
		int n = words_match(k->words, argc, argv);

		if (n == 0)
			continue;
		c->command = k;
		return k->run(c, argc - n + 1, argv + n - 1);
	}
	return no_command(c, argc, argv);
}

int cli_main(const struct cli_spec *spec, void *state, int argc, char **argv)
{
	static const struct option longs[] = {
		{ "help", no_argument, NULL, 'h' }, { "version", no_argument, NULL, 'V' },
		{ "json", no_argument, NULL, 'j' }, { NULL, 0, NULL, 0 },
	};
	const char *env = getenv("HOLDFAST_CONF");
	struct cli c = {
		.spec = spec, .state = state,
		.conf_path = env != NULL && env[0] != '\0' ? env : WORKER_CONF_PATH,
	};
	int o;

	optind = 0; /* glibc: start anew, for a second call in one process */
	while ((o = getopt_long(argc, argv, "+c:hV", longs, NULL)) != -1) {
		switch (o) {
		case 'c': c.conf_path = optarg; break;
		case 'j': c.json = true; break;
		case 'h': list_commands(stdout, spec); return EX_OK;
		case 'V': printf("%s %s\n", spec->name, HF_VERSION); return EX_OK;
		default: return EX_USAGE;
		}
	}
	return run_command(&c, argc - optind, argv + optind);
}

/* ---- a command's own options */

static bool take_value(const struct cli *c, const struct cli_option *o, const char *text)
{
	static const char *const wants[] = { "", "text", "a number", "a duration such as 2h" };
	bool good = true;

	switch (o->kind) {
	case CLI_FLAG:     *(bool *)o->value = true; break;
	case CLI_TEXT:     *(const char **)o->value = text; break;
	case CLI_NUMBER:   good = conf_amount(CONF_NUMBER, text, o->value) == ERR_OK; break;
	case CLI_DURATION: good = conf_amount(CONF_DURATION, text, o->value) == ERR_OK; break;
	}
	if (!good)
		(void)cli_fail(c, 0, "--%s wants %s, not \"%s\"", o->name, wants[o->kind], text);
	if (good && o->given != NULL)
		*o->given = true;
	return good;
}

enum err cli_parse(struct cli *c, const struct cli_option *options, int argc, char **argv,
                   const char **args, const int least_most[2])
{
	struct option longs[OPTIONS_MAX + 3] = { { "help", no_argument, NULL, 'h' },
	                                         { "json", no_argument, NULL, 'j' } };
	int n = 0, o, index = 0;

	for (const struct cli_option *p = options; p != NULL && p->name != NULL; p++) {
		longs[2 + n].name = p->name;
		longs[2 + n].has_arg = p->kind == CLI_FLAG ? no_argument : required_argument;
		if (++n == OPTIONS_MAX)
			break;
	}
	optind = 0; /* glibc: start anew, on another argv */
	while ((o = getopt_long(argc, argv, "h", longs, &index)) != -1) {
		if (o == 'h') {
			command_usage(stdout, c);
			printf("\n%s\n", c->command->help);
			return ERR_NOENT;
		}
		if (o == 'j')
			c->json = true;
		else if (o == '?' || !take_value(c, &options[index - 2], optarg))
			goto usage;
	}
	argc -= optind;
	if (argc < least_most[0] || argc > least_most[1])
		goto usage;
	for (int i = 0; i < argc; i++)
		args[i] = argv[optind + i];
	args[argc] = NULL;
	return ERR_OK;
usage:
	command_usage(stderr, c);
	return ERR_SYNTAX;
}

int cli_parse_exit(enum err err)
{
	return err == ERR_NOENT ? EX_OK : EX_USAGE;
}

/* ---- words for people */

void cli_age(uint64_t ms, char *out, unsigned long len)
{
	uint64_t s = ms / 1000;

	if (s < 60)
		snprintf(out, len, "%" PRIu64 "s", s);
	else if (s < 3600)
		snprintf(out, len, "%" PRIu64 "min", s / 60);
	else if (s < 86400)
		snprintf(out, len, "%" PRIu64 "h %" PRIu64 "min", s / 3600, s / 60 % 60);
	else
		snprintf(out, len, "%" PRIu64 "d %" PRIu64 "h", s / 86400, s / 3600 % 24);
}

void cli_time(uint64_t wall_ms, char out[24])
{
	time_t s = (time_t)(wall_ms / 1000);
	struct tm tm;

	gmtime_r(&s, &tm);
	strftime(out, 24, "%Y-%m-%dT%H:%M:%SZ", &tm);
}
