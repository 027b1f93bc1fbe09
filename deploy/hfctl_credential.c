/* deploy/hfctl_credential.c - hfctl credential ... and address ...
 *
 * SCRAM-SHA-256 keys (RFC 5802, 3; RFC 7677) are derived here, so that the
 * password never leaves this process.
 */
#include "deploy/hfctl.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <termios.h>
#include <unistd.h>
#include "lib/net.h"

enum { SALT_LEN = 16, KEY_LEN = 32, ITERATIONS = 4096, LOGIN_MAX = 255, PASSWORD_MAX = 255 };

struct scram_keys {
	unsigned char salt[SALT_LEN], stored[KEY_LEN], server[KEY_LEN];
};

static bool derive(const char *password, struct scram_keys *k)
{
	unsigned char salted[KEY_LEN], client[KEY_LEN];
	unsigned len = KEY_LEN;
	bool good;

	good = RAND_bytes(k->salt, SALT_LEN) == 1 &&
	       PKCS5_PBKDF2_HMAC(password, (int)strlen(password), k->salt, SALT_LEN, ITERATIONS,
	                         EVP_sha256(), KEY_LEN, salted) == 1 &&
	       HMAC(EVP_sha256(), salted, KEY_LEN, (const unsigned char *)"Client Key", 10,
	            client, &len) != NULL &&
	       EVP_Digest(client, KEY_LEN, k->stored, &len, EVP_sha256(), NULL) == 1 &&
	       HMAC(EVP_sha256(), salted, KEY_LEN, (const unsigned char *)"Server Key", 10,
	            k->server, &len) != NULL;
	OPENSSL_cleanse(salted, sizeof(salted));
	OPENSSL_cleanse(client, sizeof(client));
	return good;
}

/* One line, without echo when it comes from a terminal. */
static bool read_password(FILE *f, char *out, size_t size)
{
	struct termios quiet, before;
	bool tty = isatty(fileno(f)) && tcgetattr(fileno(f), &before) == 0;
	bool good;

	if (tty) {
		fputs("password: ", stderr);
		quiet = before;
		quiet.c_lflag &= ~(tcflag_t)ECHO;
		tcsetattr(fileno(f), TCSAFLUSH, &quiet);
	}
	good = fgets(out, (int)size, f) != NULL;
	if (tty) {
		tcsetattr(fileno(f), TCSAFLUSH, &before);
		fputc('\n', stderr);
	}
	if (good)
		out[strcspn(out, "\r\n")] = '\0';
	return good && out[0] != '\0';
}

static int put_credential(struct cli *c, const char *login, Holdfast__Principal *p)
{
	Holdfast__CredentialPut put = HOLDFAST__CREDENTIAL_PUT__INIT;
	Holdfast__Frame frame = HOLDFAST__FRAME__INIT;
	int code = hfctl_open(c);

	if (code != EX_OK)
		return code;
	put.login = pb_str(login);
	put.principal = p;
	put.remove = p == NULL;
	put.by = pb_str(tool_user());
	frame.body_case = HOLDFAST__FRAME__BODY_CREDENTIAL_PUT;
	frame.credential_put = &put;
	return hfctl_act(c, login, strlen(login), &frame);
}

static bool login_good(struct cli *c, const char *login)
{
	if (login[0] != '\0' && strlen(login) <= LOGIN_MAX)
		return true;
	(void)cli_fail(c, 0, "a login is 1 to %d bytes", LOGIN_MAX);
	return false;
}

int cmd_credential_add(struct cli *c, int argc, char **argv)
{
	bool from_stdin = false;
	const struct cli_option options[] = {
		{ "password-stdin", CLI_FLAG, &from_stdin, NULL }, { NULL, CLI_FLAG, NULL, NULL },
	};
	Holdfast__Principal p = HOLDFAST__PRINCIPAL__INIT;
	char password[PASSWORD_MAX + 2];
	struct scram_keys keys;
	const char *args[3];
	enum err err = cli_parse(c, options, argc, argv, args, (int[]){ 2, 2 });
	bool good;

	if (err != ERR_OK)
		return cli_parse_exit(err);
	if (!hfctl_account_name(c, args[0]) || !login_good(c, args[1]))
		return EX_DATAERR;
	if (!from_stdin && !isatty(STDIN_FILENO))
		return cli_fail(c, EX_USAGE, "no terminal to ask at; use --password-stdin");
	if (!read_password(stdin, password, sizeof(password)))
		return cli_fail(c, EX_DATAERR, "no password was given");
	good = derive(password, &keys);
	OPENSSL_cleanse(password, sizeof(password));
	if (!good)
		return cli_fail(c, EX_SOFTWARE, "the keys could not be derived");
	p.known = true;
	p.account = pb_str(args[0]);
	p.salt = pb_bytes(keys.salt, SALT_LEN);
	p.iterations = ITERATIONS;
	p.stored_key = pb_bytes(keys.stored, KEY_LEN);
	p.server_key = pb_bytes(keys.server, KEY_LEN);
	return put_credential(c, args[1], &p);
}

int cmd_credential_remove(struct cli *c, int argc, char **argv)
{
	const char *args[2];
	enum err err = cli_parse(c, NULL, argc, argv, args, (int[]){ 1, 1 });

	if (err != ERR_OK)
		return cli_parse_exit(err);
	return login_good(c, args[0]) ? put_credential(c, args[0], NULL) : EX_DATAERR;
}

/* ---- address */

/* Every instance of policy keeps the networks, so each is told. */
static int put_source(struct cli *c, int argc, char **argv, bool remove)
{
	Holdfast__SourcePut put = HOLDFAST__SOURCE_PUT__INIT;
	Holdfast__Frame frame = HOLDFAST__FRAME__INIT;
	struct bus_to to = { HOLDFAST__ROLE__ROLE_POLICY, 0 };
	struct net n;
	const char *args[3];
	enum err err = cli_parse(c, NULL, argc, argv, args, (int[]){ 2, 2 });
	int code;

	if (err != ERR_OK)
		return cli_parse_exit(err);
	if (!hfctl_account_name(c, args[0]))
		return EX_DATAERR;
	if (net_parse(args[1], &n) != ERR_OK)
		return cli_fail(c, EX_DATAERR, "\"%s\" is no address or network", args[1]);
	put.account = pb_str(args[0]);
	put.ip = pb_bytes(n.addr, n.len);
	put.prefix = n.prefix;
	put.remove = remove;
	put.by = pb_str(tool_user());
	frame.body_case = HOLDFAST__FRAME__BODY_SOURCE_PUT;
	frame.source_put = &put;
	code = hfctl_open(c);
	for (; code == EX_OK && to.instance < tool_instances(hfctl_tool(c), to.stage);
	     to.instance++) {
		struct tool_answer a;

		code = hfctl_ask(c, to, &frame, HOLDFAST__FRAME__BODY_DONE, &a);
		if (code != EX_OK)
			return code;
		code = hfctl_done_code(c, a.frame->done);
		tool_answer_free(&a);
	}
	return code;
}

int cmd_address_allow(struct cli *c, int argc, char **argv)
{
	return put_source(c, argc, argv, false);
}

int cmd_address_remove(struct cli *c, int argc, char **argv)
{
	return put_source(c, argc, argv, true);
}
