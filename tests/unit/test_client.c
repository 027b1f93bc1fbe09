/* tests/unit/test_client.c - the SMTP client engine against scripted servers
 *
 * A row is what the server sends, chunk by chunk, and the transcript of what the
 * engine wants in return.  Each row is played in whole chunks and again byte by byte:
 * the transcripts must be the same.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <string.h>
#include "delivery/client.h"
#include "lib/err.h"

#define E_PIPE "250-mx\r\n250-PIPELINING\r\n250 SIZE 1000\r\n"
#define E_CHUNK "250-mx\r\n250-PIPELINING\r\n250 CHUNKING\r\n"
#define BMAIL "C MAIL FROM:<a@x.test>\nC RCPT TO:<b@y.test>\n"
#define E_PLAIN "250 mx\r\n"
#define HI "C EHLO us.test\nREADY\n"
#define MAIL1 "C MAIL FROM:<a@x.test> SIZE=10\nC RCPT TO:<b@y.test>\nC DATA\n"
#define MAIL2 "C MAIL FROM:<a@x.test> SIZE=10\nC RCPT TO:<b@y.test>\nC RCPT TO:<c@y.test>\nC DATA\n"

struct row {
	const char *name;
	const char *server[12];  /* "!" is a lost connection */
	unsigned    n_rcpt, mails;
	uint64_t    size;
	bool        tls, whole_only, eight_bit, utf8, utf8_optional, require_tls, chunking, half_line;
	const char *from;        /* NULL: a@x.test */
	const char *to;          /* the first recipient; NULL: b@y.test */
	unsigned    notify;
	const char *orcpt, *envid;
	Holdfast__DsnRet ret;
	const char *want;
};

static const struct row rows[] = {
	{ .name = "one mail, pipelined, and quit",
	  .server = { "220 hi\r\n", E_PIPE, "250 ok\r\n250 ok\r\n354 go\r\n", "250 2.0.0 queued\r\n",
	              "221 bye\r\n" }, .n_rcpt = 1, .mails = 1,
	  .want = HI MAIL1 "BODY\nC .\nDONE 250/9\nC QUIT\nCLOSE 221/0\n" },
	{ .name = "without PIPELINING each command waits for its reply",
	  .server = { "220 hi\r\n", E_PLAIN, "250 ok\r\n", "250 ok\r\n", "354 go\r\n", "250 ok\r\n" },
	  .n_rcpt = 1, .mails = 1,
	  .want = HI "C MAIL FROM:<a@x.test>\nC RCPT TO:<b@y.test>\nC DATA\nBODY\nC .\n"
	          "DONE 250/9\nC QUIT\n" },
	{ .name = "EHLO refused: HELO",
	  .server = { "220 hi\r\n", "502 what\r\n", "250 mx\r\n" }, .n_rcpt = 1, .mails = 1,
	  .want = "C EHLO us.test\nC HELO us.test\nREADY\nC MAIL FROM:<a@x.test>\n" },
	{ .name = "EHLO and HELO refused: over, at EHLO",
	  .server = { "220 hi\r\n", "502 what\r\n", "550 5.7.1 no\r\n" }, .n_rcpt = 1, .mails = 1,
	  .want = "C EHLO us.test\nC HELO us.test\nCLOSE 550/4\n" },
	{ .name = "EHLO put off: over",
	  .server = { "220 hi\r\n", "451 later\r\n" }, .n_rcpt = 1, .mails = 1,
	  .want = "C EHLO us.test\nCLOSE 451/4\n" },
	{ .name = "greeting 554: over at the greeting",
	  .server = { "554 5.7.1 go away\r\n" }, .n_rcpt = 1, .mails = 1,
	  .want = "CLOSE 554/3\n" },
	{ .name = "greeting of several lines",
	  .server = { "220-a\r\n220-b\r\n220 c\r\n" }, .n_rcpt = 1, .mails = 1,
	  .want = "C EHLO us.test\n" },
	{ .name = "banner of another protocol",
	  .server = { "SSH-2.0-OpenSSH_9.2\r\n" }, .n_rcpt = 1, .mails = 1,
	  .want = "CLOSE 0/3 nonsense\n" },
	{ .name = "reply with a bare LF",
	  .server = { "220 hi\n220 there\r\n" }, .n_rcpt = 1, .mails = 1,
	  .want = "CLOSE 0/3 nonsense\n" },
	{ .name = "codes differ within a reply",
	  .server = { "220 hi\r\n", "250-mx\r\n251 SIZE\r\n" }, .n_rcpt = 1, .mails = 1,
	  .want = "C EHLO us.test\nCLOSE 0/4 nonsense\n" },
	{ .name = "the second mail goes behind the body of the first",
	  .server = { "220 hi\r\n", E_PIPE, "250 ok\r\n250 ok\r\n354 go\r\n",
	              "250 one\r\n250 ok\r\n250 ok\r\n354 go\r\n", "250 two\r\n" },
	  .n_rcpt = 1, .mails = 2,
	  .want = HI MAIL1 "BODY\nC .\n" MAIL1 "DONE 250/9\nBODY\nC .\nDONE 250/9\nC QUIT\n" },
	{ .name = "first mail refused after the data, second goes on",
	  .server = { "220 hi\r\n", E_PIPE, "250 ok\r\n250 ok\r\n354 go\r\n",
	              "554 5.7.1 spam\r\n250 ok\r\n250 ok\r\n354 go\r\n", "250 two\r\n" },
	  .n_rcpt = 1, .mails = 2,
	  .want = HI MAIL1 "BODY\nC .\n" MAIL1 "DONE 554/9\nBODY\nC .\nDONE 250/9\nC QUIT\n" },
	{ .name = "one of two recipients refused",
	  .server = { "220 hi\r\n", E_PIPE, "250 ok\r\n250 ok\r\n550 5.1.1 who\r\n354 go\r\n",
	              "250 ok\r\n" }, .n_rcpt = 2, .mails = 1,
	  .want = HI MAIL2 "BODY\nC .\nDONE 250/9 550/7\nC QUIT\n" },
	{ .name = "all recipients refused, DATA refused",
	  .server = { "220 hi\r\n", E_PIPE, "250 ok\r\n550 5.1.1 a\r\n450 4.2.1 b\r\n554 none\r\n" },
	  .n_rcpt = 2, .mails = 1,
	  .want = HI MAIL2 "DONE 550/7 450/7\nC QUIT\n" },
	{ .name = "all recipients refused, DATA accepted: a lone dot",
	  .server = { "220 hi\r\n", E_PIPE, "250 ok\r\n550 5.1.1 a\r\n550 5.1.1 b\r\n354 go\r\n",
	              "554 nothing\r\n" }, .n_rcpt = 2, .mails = 1,
	  .want = HI MAIL2 "C .\nDONE 550/7 550/7\nC QUIT\n" },
	{ .name = "all refused without PIPELINING: no DATA, RSET before the next mail",
	  .server = { "220 hi\r\n", E_PLAIN, "250 ok\r\n", "550 5.1.1 a\r\n", "250 reset\r\n",
	              "250 ok\r\n" }, .n_rcpt = 1, .mails = 2,
	  .want = HI "C MAIL FROM:<a@x.test>\nC RCPT TO:<b@y.test>\nDONE 550/7\nC RSET\n"
	          "C MAIL FROM:<a@x.test>\nC RCPT TO:<b@y.test>\n" },
	{ .name = "all refused with PIPELINING: RSET leads the next group",
	  .server = { "220 hi\r\n", E_PIPE, "250 ok\r\n550 5.1.1 a\r\n503 none\r\n" },
	  .n_rcpt = 1, .mails = 2,
	  .want = HI MAIL1 "DONE 550/7\nC RSET\n" MAIL1 },
	{ .name = "MAIL refused: all recipients have that answer",
	  .server = { "220 hi\r\n", E_PIPE, "550 5.7.1 you\r\n503 no\r\n503 no\r\n503 no\r\n" },
	  .n_rcpt = 2, .mails = 1,
	  .want = HI MAIL2 "DONE 550/6 550/6\nC QUIT\n" },
	{ .name = "MAIL refused without PIPELINING",
	  .server = { "220 hi\r\n", E_PLAIN, "450 4.7.1 grey\r\n" }, .n_rcpt = 1, .mails = 1,
	  .want = HI "C MAIL FROM:<a@x.test>\nDONE 450/6\nC QUIT\n" },
	{ .name = "MAIL refused, yet recipients and DATA accepted: no empty mail is sent",
	  .server = { "220 hi\r\n", E_PIPE, "550 no\r\n250 ok\r\n354 go\r\n" },
	  .n_rcpt = 1, .mails = 1,
	  .want = HI MAIL1 "DONE 550/6\nCLOSE 0/8 nonsense\n" },
	{ .name = "DATA refused for an accepted recipient",
	  .server = { "220 hi\r\n", E_PIPE, "250 ok\r\n250 ok\r\n451 4.3.0 later\r\n" },
	  .n_rcpt = 1, .mails = 1,
	  .want = HI MAIL1 "DONE 451/8\nC QUIT\n" },
	{ .name = "250 to DATA is no delivery",
	  .server = { "220 hi\r\n", E_PIPE, "250 ok\r\n250 ok\r\n250 ok\r\n" },
	  .n_rcpt = 1, .mails = 1,
	  .want = HI MAIL1 "DONE 0/8\nCLOSE 0/8 nonsense\n" },
	{ .name = "354 to RCPT is nonsense",
	  .server = { "220 hi\r\n", E_PIPE, "250 ok\r\n354 go\r\n" }, .n_rcpt = 1, .mails = 1,
	  .want = HI MAIL1 "DONE 0/7\nCLOSE 0/7 nonsense\n" },
	{ .name = "354 after the message is nonsense",
	  .server = { "220 hi\r\n", E_PIPE, "250 ok\r\n250 ok\r\n354 go\r\n", "354 more\r\n" },
	  .n_rcpt = 1, .mails = 1,
	  .want = HI MAIL1 "BODY\nC .\nDONE 0/9 unsure\nCLOSE 0/9 nonsense\n" },
	{ .name = "421 at RCPT: what was refused stays refused, the rest is put off",
	  .server = { "220 hi\r\n", E_PIPE, "250 ok\r\n550 5.1.1 a\r\n421 4.3.2 down\r\n" },
	  .n_rcpt = 2, .mails = 1,
	  .want = HI MAIL2 "DONE 550/7 421/7\nCLOSE 421/7\n" },
	{ .name = "421 after the message, with a second mail waiting",
	  .server = { "220 hi\r\n", E_PIPE, "250 ok\r\n250 ok\r\n354 go\r\n", "421 4.3.2 down\r\n" },
	  .n_rcpt = 1, .mails = 2,
	  .want = HI MAIL1 "BODY\nC .\n" MAIL1 "DONE 421/9\nDONE 421/6\nCLOSE 421/9\n" },
	{ .name = "421 on an idle connection",
	  .server = { "220 hi\r\n", E_PIPE "421 idle\r\n" }, .n_rcpt = 1, .mails = 0,
	  .want = HI "CLOSE 421/6\n" },
	{ .name = "a reply that nothing asked for",
	  .server = { "220 hi\r\n", E_PIPE "250 surprise\r\n" }, .n_rcpt = 1, .mails = 0,
	  .want = HI "CLOSE 0/6 nonsense\n" },
	{ .name = "lost before the greeting",
	  .server = { "!" }, .n_rcpt = 1, .mails = 1, .want = "CLOSE 0/3\n" },
	{ .name = "lost in the middle of the envelope",
	  .server = { "220 hi\r\n", E_PIPE, "250 ok\r\n", "!" }, .n_rcpt = 2, .mails = 1,
	  .want = HI MAIL2 "DONE 0/7 0/7\nCLOSE 0/7\n" },
	{ .name = "lost after the message: it may have arrived",
	  .server = { "220 hi\r\n", E_PIPE, "250 ok\r\n250 ok\r\n354 go\r\n", "!" },
	  .n_rcpt = 1, .mails = 1,
	  .want = HI MAIL1 "BODY\nC .\nDONE 0/9 unsure\nCLOSE 0/9\n" },
	{ .name = "lost after QUIT: nobody minds",
	  .server = { "220 hi\r\n", E_PIPE, "250 ok\r\n250 ok\r\n354 go\r\n", "250 ok\r\n", "!" },
	  .n_rcpt = 1, .mails = 1,
	  .want = HI MAIL1 "BODY\nC .\nDONE 250/9\nC QUIT\nCLOSE 0/6\n" },
	{ .name = "half a reply, then lost",
	  .server = { "220 hi\r\n", E_PIPE, "250 ok\r\n250 ok\r\n354 go\r\n", "250 o", "!" },
	  .n_rcpt = 1, .mails = 1,
	  .want = HI MAIL1 "BODY\nC .\nDONE 0/9 unsure\nCLOSE 0/9\n" },
	{ .name = "STARTTLS, then EHLO again",
	  .server = { "220 hi\r\n", "250-mx\r\n250 STARTTLS\r\n", "220 go\r\n", E_PIPE },
	  .n_rcpt = 1, .mails = 1, .tls = true,
	  .want = "C EHLO us.test\nC STARTTLS\nSECURE\nC EHLO us.test\nREADY\n" MAIL1 },
	{ .name = "STARTTLS is not asked for where it is not wanted",
	  .server = { "220 hi\r\n", "250-mx\r\n250 STARTTLS\r\n" }, .n_rcpt = 1, .mails = 0,
	  .want = HI },
	{ .name = "STARTTLS refused: without",
	  .server = { "220 hi\r\n", "250-mx\r\n250 STARTTLS\r\n", "454 no\r\n" },
	  .n_rcpt = 1, .mails = 1, .tls = true,
	  .want = "C EHLO us.test\nC STARTTLS\nREADY\nC MAIL FROM:<a@x.test>\n" },
	{ .name = "replies sent ahead of the handshake end the connection",
	  .server = { "220 hi\r\n", "250-mx\r\n250 STARTTLS\r\n",
	              "220 go\r\n250 PIPELINING\r\n" },
	  .n_rcpt = 1, .mails = 1, .tls = true, .whole_only = true,
	  .want = "C EHLO us.test\nC STARTTLS\nCLOSE 0/5 nonsense\n" },
	{ .name = "half a reply ahead of the handshake ends it too",
	  .server = { "220 hi\r\n", "250-mx\r\n250 STARTTLS\r\n", "220 go\r\n2" },
	  .n_rcpt = 1, .mails = 1, .tls = true, .whole_only = true,
	  .want = "C EHLO us.test\nC STARTTLS\nCLOSE 0/5 nonsense\n" },
	{ .name = "larger than SIZE: not even asked",
	  .server = { "220 hi\r\n", E_PIPE }, .n_rcpt = 2, .mails = 1, .size = 1001,
	  .want = HI "DONE 552/6 552/6\nC QUIT\n" },
	{ .name = "8-bit body is declared where it can be",
	  .server = { "220 hi\r\n", "250-mx\r\n250 8BITMIME\r\n" }, .n_rcpt = 1, .mails = 1,
	  .eight_bit = true,
	  .want = HI "C MAIL FROM:<a@x.test> BODY=8BITMIME\n" },
	{ .name = "SMTPUTF8 is said where an address needs it",
	  .server = { "220 hi\r\n", "250-mx\r\n250 SMTPUTF8\r\n" }, .n_rcpt = 1, .mails = 1,
	  .from = "\xc3\xa4@x.test",
	  .want = HI "C MAIL FROM:<\xc3\xa4@x.test> SMTPUTF8\n" },
	{ .name = "an address that needs SMTPUTF8 where it is not offered",
	  .server = { "220 hi\r\n", E_PIPE }, .n_rcpt = 1, .mails = 1,
	  .from = "\xc3\xa4@x.test",
	  .want = HI "DONE 550/6\nC QUIT\n" },
	{ .name = "SMTPUTF8 of the message where it is not offered",
	  .server = { "220 hi\r\n", E_PIPE }, .n_rcpt = 1, .mails = 1, .utf8 = true,
	  .want = HI "DONE 550/6\nC QUIT\n" },
	{ .name = "SMTPUTF8 that is optional is left out where it is not offered",
	  .server = { "220 hi\r\n", E_PLAIN }, .n_rcpt = 1, .mails = 1, .utf8 = true,
	  .utf8_optional = true, .want = HI "C MAIL FROM:<a@x.test>\n" },
	{ .name = "SMTPUTF8 that is optional does not make up for an address that needs it",
	  .server = { "220 hi\r\n", E_PLAIN }, .n_rcpt = 1, .mails = 1, .to = "\xc3\xbc@y.test",
	  .utf8_optional = true, .want = HI "DONE 550/6\nC QUIT\n" },
	{ .name = "SMTPUTF8 of the message is said",
	  .server = { "220 hi\r\n", "250-mx\r\n250 SMTPUTF8\r\n" }, .n_rcpt = 1, .mails = 1,
	  .utf8 = true, .want = HI "C MAIL FROM:<a@x.test> SMTPUTF8\n" },
	{ .name = "only the domain is beyond ASCII: its A-label goes where SMTPUTF8 is not offered",
	  .server = { "220 hi\r\n", E_PLAIN, "250 ok\r\n" }, .n_rcpt = 1, .mails = 1,
	  .from = "a@b\xc3\xbc" "cher.test", .to = "b@B\xc3\x9c" "cher.test",
	  .want = HI "C MAIL FROM:<a@xn--bcher-kva.test>\nC RCPT TO:<b@xn--bcher-kva.test>\n" },
	{ .name = "only the domain is beyond ASCII: as it is where SMTPUTF8 is offered",
	  .server = { "220 hi\r\n", "250-mx\r\n250 SMTPUTF8\r\n", "250 ok\r\n" },
	  .n_rcpt = 1, .mails = 1, .to = "b@b\xc3\xbc" "cher.test",
	  .want = HI "C MAIL FROM:<a@x.test> SMTPUTF8\nC RCPT TO:<b@b\xc3\xbc" "cher.test>\n" },
	{ .name = "a domain that has no A-label fails without SMTPUTF8",
	  .server = { "220 hi\r\n", E_PIPE }, .n_rcpt = 1, .mails = 1,
	  .to = "b@\xe2\x80\xae.test", .want = HI "DONE 550/6\nC QUIT\n" },
	{ .name = "DSN parameters where DSN is offered",
	  .server = { "220 hi\r\n", "250-mx\r\n250 DSN\r\n", "250 ok\r\n", "250 ok\r\n" },
	  .n_rcpt = 2, .mails = 1, .ret = HOLDFAST__DSN_RET__RET_FULL, .envid = "QQ+2B1",
	  .notify = CLIENT_SUCCESS | CLIENT_FAILURE, .orcpt = "rfc822;o+2Bb@z.test",
	  .want = HI "C MAIL FROM:<a@x.test> RET=FULL ENVID=QQ+2B1\n"
	          "C RCPT TO:<b@y.test> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;o+2Bb@z.test\n"
	          "C RCPT TO:<c@y.test>\n" },
	{ .name = "DSN parameters are kept back where it is not",
	  .server = { "220 hi\r\n", E_PLAIN, "250 ok\r\n" }, .n_rcpt = 1, .mails = 1,
	  .ret = HOLDFAST__DSN_RET__RET_HDRS, .envid = "x", .notify = CLIENT_NEVER,
	  .orcpt = "rfc822;o@z.test",
	  .want = HI "C MAIL FROM:<a@x.test>\nC RCPT TO:<b@y.test>\n" },
	{ .name = "NOTIFY without ORCPT gets one made of the address",
	  .server = { "220 hi\r\n", "250-mx\r\n250 DSN\r\n", "250 ok\r\n" },
	  .n_rcpt = 1, .mails = 1, .to = "b+c=d@y.test", .notify = CLIENT_NEVER,
	  .want = HI "C MAIL FROM:<a@x.test>\n"
	          "C RCPT TO:<b+c=d@y.test> NOTIFY=NEVER ORCPT=rfc822;b+2Bc+3Dd@y.test\n" },
	{ .name = "ORCPT made of an address beyond ASCII is ASCII",
	  .server = { "220 hi\r\n", "250-mx\r\n250-SMTPUTF8\r\n250 DSN\r\n", "250 ok\r\n" },
	  .n_rcpt = 1, .mails = 1, .to = "\xc3\xbc+1@y.test", .notify = CLIENT_DELAY,
	  .want = HI "C MAIL FROM:<a@x.test> SMTPUTF8\nC RCPT TO:<\xc3\xbc+1@y.test> NOTIFY=DELAY"
	          " ORCPT=utf-8;\\x{FC}\\x{2B}1@y.test\n" },
	{ .name = "ORCPT without NOTIFY is passed on",
	  .server = { "220 hi\r\n", "250-mx\r\n250 DSN\r\n", "250 ok\r\n" },
	  .n_rcpt = 1, .mails = 1, .orcpt = "utf-8;\xc3\xbc@z.test",
	  .want = HI "C MAIL FROM:<a@x.test>\nC RCPT TO:<b@y.test> ORCPT=utf-8;\\x{FC}@z.test\n" },
	{ .name = "REQUIRETLS is said where it is offered",
	  .server = { "220 hi\r\n", "250-mx\r\n250 REQUIRETLS\r\n" }, .n_rcpt = 1, .mails = 1,
	  .require_tls = true, .want = HI "C MAIL FROM:<a@x.test> REQUIRETLS\n" },
	{ .name = "BDAT waits for the replies to the whole envelope",
	  .server = { "220 hi\r\n", E_CHUNK, "250 ok\r\n250 ok\r\n", "250 ok\r\n", "250 ok\r\n" },
	  .n_rcpt = 2, .mails = 1, .chunking = true,
	  .want = HI BMAIL "C RCPT TO:<c@y.test>\nC BDAT 10 LAST\nRAW\nDONE 250/9 250/9\nC QUIT\n" },
	{ .name = "BDAT of a body whose last line is open counts the line end that is added",
	  .server = { "220 hi\r\n", E_CHUNK, "250 ok\r\n250 ok\r\n" }, .half_line = true,
	  .n_rcpt = 1, .mails = 1, .chunking = true, .want = HI BMAIL "C BDAT 12 LAST\nRAW\n" },
	{ .name = "BDAT without PIPELINING",
	  .server = { "220 hi\r\n", "250-mx\r\n250 CHUNKING\r\n", "250 ok\r\n", "250 ok\r\n",
	              "250 ok\r\n" }, .n_rcpt = 1, .mails = 1, .chunking = true,
	  .want = HI "C MAIL FROM:<a@x.test>\nC RCPT TO:<b@y.test>\nC BDAT 10 LAST\nRAW\n"
	          "DONE 250/9\nC QUIT\n" },
	{ .name = "no BDAT where nobody wants the message, and RSET leads the next",
	  .server = { "220 hi\r\n", E_CHUNK, "250 ok\r\n550 5.1.1 no\r\n" },
	  .n_rcpt = 1, .mails = 2, .chunking = true,
	  .want = HI BMAIL "DONE 550/7\nC RSET\n" BMAIL },
	{ .name = "no BDAT where MAIL was refused, whatever RCPT says",
	  .server = { "220 hi\r\n", E_CHUNK, "550 no\r\n250 ok\r\n" },
	  .n_rcpt = 1, .mails = 2, .chunking = true,
	  .want = HI BMAIL "DONE 550/6\nC RSET\n" BMAIL },
	{ .name = "the mail behind a BDAT begins with RSET",
	  .server = { "220 hi\r\n", E_CHUNK, "250 ok\r\n250 ok\r\n",
	              "554 5.6.0 bad\r\n250 ok\r\n250 ok\r\n250 ok\r\n", "250 two\r\n" },
	  .n_rcpt = 1, .mails = 2, .chunking = true,
	  .want = HI BMAIL "C BDAT 10 LAST\nRAW\nC RSET\n" BMAIL "DONE 554/9\n"
	          "C BDAT 10 LAST\nRAW\nDONE 250/9\nC QUIT\n" },
	{ .name = "354 to BDAT is nonsense",
	  .server = { "220 hi\r\n", E_CHUNK, "250 ok\r\n250 ok\r\n", "354 go\r\n" },
	  .n_rcpt = 1, .mails = 1, .chunking = true,
	  .want = HI BMAIL "C BDAT 10 LAST\nRAW\nDONE 0/9 unsure\nCLOSE 0/9 nonsense\n" },
	{ .name = "lost behind a BDAT: it may have arrived",
	  .server = { "220 hi\r\n", E_CHUNK, "250 ok\r\n250 ok\r\n", "!" },
	  .n_rcpt = 1, .mails = 1, .chunking = true,
	  .want = HI BMAIL "C BDAT 10 LAST\nRAW\nDONE 0/9 unsure\nCLOSE 0/9\n" },
	{ .name = "CHUNKING is not used where it is not wanted",
	  .server = { "220 hi\r\n", E_CHUNK }, .n_rcpt = 1, .mails = 1,
	  .want = HI BMAIL "C DATA\n" },
	{ .name = "null sender",
	  .server = { "220 hi\r\n", E_PLAIN }, .n_rcpt = 1, .mails = 1, .from = "",
	  .want = HI "C MAIL FROM:<>\n" },
	{ .name = "lower-case keywords and a lone 250",
	  .server = { "220\r\n", "250-mx\r\n250 pipelining\r\n" }, .n_rcpt = 1, .mails = 1,
	  .want = HI "C MAIL FROM:<a@x.test>\nC RCPT TO:<b@y.test>\nC DATA\n" },
	{ .name = "nothing after the end is read",
	  .server = { "554 no\r\n220 hi\r\n250 ok\r\n" }, .n_rcpt = 1, .mails = 1,
	  .want = "CLOSE 554/3\n" },
};

struct play {
	const struct row *row;
	struct client *c;
	struct client_rcpt rcpt[2];
	struct buf said;
	unsigned started;
	bool closed;
};

static void say_commands(struct play *p)
{
	struct buf *out = client_out(p->c);
	const char *at = buf_str(out), *end;

	for (; (end = strstr(at, "\r\n")) != NULL; at = end + 2)
		if (end > at)
			buf_addf(&p->said, "C %.*s\n", (int)(end - at), at);
	assert_int_equal(*at, '\0'); /* only whole lines are sent */
	buf_reset(out);
}

static void start_some(struct play *p)
{
	const struct row *r = p->row;

	while (client_can_start(p->c) && p->started < r->mails) {
		p->started++;
		client_start(p->c, &(struct client_mail){
			.mail_from = r->from != NULL ? r->from : "a@x.test", .rcpt = p->rcpt,
			.n_rcpt = r->n_rcpt, .size = r->size != 0 ? r->size : 10,
			.eight_bit = r->eight_bit, .utf8 = r->utf8, .ret = r->ret,
			.utf8_optional = r->utf8_optional,
			.require_tls = r->require_tls, .ends_in_crlf = !r->half_line,
			.envid = r->envid });
	}
}

static void say_done(struct play *p)
{
	const struct client_result *res = client_results(p->c);

	buf_adds(&p->said, "DONE");
	for (unsigned i = 0; i < p->row->n_rcpt; i++) {
		buf_addf(&p->said, " %d/%d", res[i].code, (int)res[i].stage);
		assert_int_equal(strlen(client_text(p->c, &res[i])), res[i].text_len);
	}
	buf_adds(&p->said, client_unsure(p->c) ? " unsure\n" : "\n");
	client_next(p->c);
	if (p->started == p->row->mails && client_open(p->c) == 0)
		client_quit(p->c);
}

static void drive(struct play *p)
{
	for (;;) {
		enum client_act act = client_step(p->c);

		say_commands(p);
		switch (act) {
		case CL_WAIT: {
			unsigned before = p->started;

			start_some(p);
			say_commands(p);
			if (p->started == before)
				return;
			break;
		}
		case CL_SECURE:
			buf_adds(&p->said, "SECURE\n");
			client_secured(p->c, true, NULL);
			break;
		case CL_READY:
			buf_adds(&p->said, "READY\n");
			break;
		case CL_BODY:
			buf_adds(&p->said, client_body_is_raw(p->c) ? "RAW\n" : "BODY\n");
			client_body_sent(p->c);
			break;
		case CL_DONE:
			say_done(p);
			break;
		case CL_CLOSE:
			if (!p->closed)
				buf_addf(&p->said, "CLOSE %d/%d%s\n", client_why(p->c)->code,
				         (int)client_why(p->c)->stage,
				         client_protocol_error(p->c) ? " nonsense" : "");
			p->closed = true;
			return;
		}
	}
}

static void feed(struct play *p, const char *chunk, bool by_byte)
{
	size_t len = strlen(chunk), step = by_byte ? 1 : len;

	if (strcmp(chunk, "!") == 0) {
		client_lost(p->c, "connection lost");
		drive(p);
		return;
	}
	for (size_t i = 0; i < len; i += step) {
		assert_true(client_feed(p->c, chunk + i, step));
		drive(p);
	}
}

static void play(const struct row *r, bool by_byte)
{
	struct play p = { .row = r, .rcpt = {
		{ r->to != NULL ? r->to : "b@y.test", r->notify, r->orcpt }, { "c@y.test", 0, "" } } };

	p.c = client_new(&(struct client_conf){ "us.test", r->tls, r->chunking });
	for (size_t i = 0; i < ARRAY_LEN(r->server) && r->server[i] != NULL; i++)
		feed(&p, r->server[i], by_byte);
	assert_string_equal(buf_str(&p.said), r->want);
	client_free(&p.c);
	buf_free(&p.said);
}

static void row_gives_transcript(void **state)
{
	const struct row *r = *state;

	play(r, false);
	if (!r->whole_only)
		play(r, true);
}

static void feed_all(struct client *c, const char *text)
{
	assert_true(client_feed(c, text, strlen(text)));
}

static void handshake_that_fails_ends_at_tls(void **state)
{
	struct client *c = client_new(&(struct client_conf){ .hostname = "us.test", .starttls = true });

	feed_all(c, "220 hi\r\n250-mx\r\n250 STARTTLS\r\n");
	assert_int_equal(client_step(c), CL_WAIT);
	feed_all(c, "220 go\r\n");
	assert_int_equal(client_step(c), CL_SECURE);
	assert_int_equal(client_waits(c), CLW_TLS);
	client_secured(c, false, "certificate is made of wood");
	assert_int_equal(client_step(c), CL_CLOSE);
	assert_int_equal(client_why(c)->stage, HOLDFAST__SMTP_STAGE__STAGE_TLS);
	assert_string_equal(client_why_text(c), "certificate is made of wood");
	client_free(&c);
}

static void input_without_end_is_refused(void **state)
{
	struct client *c = client_new(&(struct client_conf){ .hostname = "us.test" });
	char junk[4096];
	bool taken = true;
	unsigned n = 0;

	memset(junk, 'x', sizeof(junk));
	while (taken && n++ < 100)
		taken = client_feed(c, junk, sizeof(junk));
	assert_false(taken);
	client_lost(c, "replies without end");
	assert_int_equal(client_step(c), CL_CLOSE);
	client_free(&c);
}

static void reply_text_and_enhanced_code_are_kept(void **state)
{
	struct play p = { .row = &rows[0], .rcpt = { { "b@y.test", 0, "" } } };
	const struct client_result *res;

	p.c = client_new(&(struct client_conf){ .hostname = "us.test" });
	feed(&p, "220 hi\r\n", false);
	feed(&p, E_PIPE, false);
	feed_all(p.c, "250 ok\r\n550-5.1.1 no such\r\n550 5.1.1 user\r\n503 no\r\n");
	assert_int_equal(client_step(p.c), CL_DONE);
	res = client_results(p.c);
	assert_string_equal(res[0].enhanced, "5.1.1");
	assert_non_null(strstr(client_text(p.c, &res[0]), "no such"));
	assert_non_null(strstr(client_text(p.c, &res[0]), "user"));
	client_free(&p.c);
	buf_free(&p.said);
}

int main(void)
{
	struct CMUnitTest tests[ARRAY_LEN(rows) + 3];
	size_t n = ARRAY_LEN(rows);

	for (size_t i = 0; i < n; i++)
		tests[i] = (struct CMUnitTest){
			.name = rows[i].name,
			.test_func = row_gives_transcript,
			.initial_state = (void *)(uintptr_t)&rows[i],
		};
	tests[n++] = (struct CMUnitTest)cmocka_unit_test(handshake_that_fails_ends_at_tls);
	tests[n++] = (struct CMUnitTest)cmocka_unit_test(input_without_end_is_refused);
	tests[n++] = (struct CMUnitTest)cmocka_unit_test(reply_text_and_enhanced_code_are_kept);
	return cmocka_run_group_tests_name("client", tests, NULL, NULL);
}
