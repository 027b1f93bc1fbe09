/* lib/cli.h - command-line tools with subcommands: a table of commands, one way to parse
 *
 * cli_main() reads the options that stand before the command, finds the command by
 * its words and runs it; cli_parse() reads a command's own options and
 * arguments.  Wrong usage is told on standard error with the command's usage
 * line, exit 64.  Data goes to standard output and nothing else does.
 */
#ifndef LIB_CLI_H
#define LIB_CLI_H

#include <stdbool.h>
#include <stdint.h>
#include "lib/err.h"

struct cli;

struct cli_command {
	const char *words; /* "account add"; NULL ends a table */
	const char *args;  /* "NAME [--state STATE]": for the usage line */
	const char *help;  /* what it does; more lines may follow for its --help */
	int (*run)(struct cli *c, int argc, char **argv); /* argv[0] is its last word;
	                    * returns an exit code of sysexits.h */
};

struct cli_spec {
	const char *name;    /* "hfctl" */
	const char *purpose; /* one line */
	const struct cli_command *commands;
};

/* What a command's run function gets. */
struct cli {
	const struct cli_spec *spec;
	const struct cli_command *command;
	const char *conf_path; /* -c, else $HOLDFAST_CONF, else the system's file */
	bool json;             /* --json: JSON lines on standard output */
	void *state;           /* the tool's own */
};

enum cli_kind { CLI_FLAG, CLI_TEXT, CLI_NUMBER, CLI_DURATION };

/* An option of a command, --NAME or --NAME VALUE. */
struct cli_option {
	const char *name;   /* without --; NULL ends a table */
	enum cli_kind kind;
	void *value;        /* bool *, const char **, uint64_t *, uint64_t * (ms): as kind */
	bool *given;        /* NULL, or set to true when it was given */
};

/* Run the command that argv names.  Returns the exit code. */
int cli_main(const struct cli_spec *spec, void *state, int argc, char **argv);

/* Read options and between least and most arguments.  args gets pointers into argv,
 * NULL-ended: room for most + 1.  ERR_SYNTAX: usage was printed, return 64.  ERR_NOENT: --help was
 * printed, return 0. */
enum err cli_parse(struct cli *c, const struct cli_option *options, int argc, char **argv,
                   const char **args, const int least_most[2]) MUST_CHECK;

/* Exit code for a failed cli_parse(). */
int cli_parse_exit(enum err err);

/* "hfctl: text" on standard error; returns code. */
int cli_fail(const struct cli *c, int code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* "3d 4h", "12s": how long ago, for tables; at least 16 bytes. */
void cli_age(uint64_t ms, char *out, unsigned long len);
/* "2026-11-24T08:31:00Z". */
void cli_time(uint64_t wall_ms, char out[24]);

#endif
