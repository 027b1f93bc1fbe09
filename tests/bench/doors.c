/* doors: what a session costs before it sends anything; one thread, epoll.
 *
 * Opens sessions and closes them again, as fast as it goes (handshakes a second),
 * or opens a number of them and holds them (-i: memory of an idle session).
 * Prints JSON. See usage() for the options.
 */
#define _GNU_SOURCE
#include "wire.h"
#include <arpa/inet.h>
#include <getopt.h>
#include <signal.h>
#include <sys/epoll.h>

static void usage(void)
{
	fputs("doors [options]\n"
	      "  -h ADDR      target, an IPv4 address (127.0.0.1)\n"
	      "  -p PORT      target port (2525)\n"
	      "  -n N         sessions in all (1000)\n"
	      "  -c N         sessions on their way at once (16)\n"
	      "  -d SECS      open no new session after SECS (0: only -n counts)\n"
	      "  -t SECS      a step of a session may take SECS (30)\n"
	      "  -e MODE      plain, starttls or tls from the start (plain)\n"
	      "  -V VERSION   1.2 or 1.3 only (what both ends have)\n"
	      "  -r           resume: each handshake offers the ticket that came last\n"
	      "  -u USER:PASS AUTH PLAIN; %d in USER is the account number\n"
	      "  -U N         accounts to spread the sessions over (1)\n"
	      "  -S N         connect from 127.0.0.1, 127.0.1.1 ..., of N networks (any)\n"
	      "  -i           hold: open all N after EHLO (and AUTH), print a line, wait for the end\n"
	      "               of the standard input, then NOOP and QUIT on each, and print another\n"
	      "  -v           print the errors met, 20 at most\n"
	      "Without -i a session ends, without QUIT, with the first reply that it got through what\n"
	      "-e says: the greeting, or (starttls) the second answer to EHLO.\n", stderr);
	exit(64);
}

enum step { NONE, CONNECT, SHAKE, GREET, EHLO, STARTTLS, AUTH, OPEN, NOOP, QUIT };

struct door {
	struct wire w;
	enum step step;
	unsigned account;
	uint64_t since, shook;     /* the step's begin; the handshake's */
	char in[1024];
	size_t in_len;
};

static struct sockaddr_in target;
static struct door *door;
static SSL_CTX *ctx;
static SSL_SESSION *ticket;
static enum wire_mode mode;
static int ep, nsrc, resume, hold, verbose, shown, at_once = 16;
static uint64_t total = 1000;
static double step_limit = 30;
static const char *auth;
static unsigned naccounts = 1;

static uint64_t n_started, n_under_way, n_done, n_failed, n_open, n_lost, n_shaken, n_resumed,
	n_answered, n_ended;
static struct hist h_shake;

static void failed(struct door *d, const char *why)
{
	if (verbose && shown++ < 20)
		fprintf(stderr, "doors: step %d: %.200s\n", d->step, why);
	if (d->step >= OPEN) {
		n_lost++;
		n_open--;
	} else {
		n_failed++;
		n_under_way--;
	}
	wire_close(&d->w);
	d->step = NONE;
}

static void done(struct door *d)
{
	wire_close(&d->w);
	d->step = NONE;
	n_done++;
	n_under_way--;
}

static void go(struct door *d, enum step step)
{
	d->step = step;
	d->since = now_ns();
}

/* Lines of a client are short: the kernel takes them whole or the session is broken. */
static void say(struct door *d, const char *line, enum step next)
{
	size_t n = strlen(line);

	if (wire_send(&d->w, line, n) != (ssize_t)n)
		failed(d, "cannot write");
	else
		go(d, next);
}

static void start(struct door *d)
{
	int source = nsrc ? (int)(n_started % (uint64_t)nsrc) * 256 : -1;
	struct epoll_event e = { .events = EPOLLIN | EPOLLOUT, .data.ptr = d };

	n_started++;
	n_under_way++;
	d->in_len = 0;
	d->account = (unsigned)(n_started % naccounts);
	go(d, CONNECT);
	if (wire_connect(&d->w, &target, source))
		failed(d, strerror(errno));
	else if (epoll_ctl(ep, EPOLL_CTL_ADD, d->w.fd, &e) < 0)
		die("epoll_ctl");
}

static void watch(struct door *d, uint32_t events)
{
	struct epoll_event e = { .events = events, .data.ptr = d };

	epoll_ctl(ep, EPOLL_CTL_MOD, d->w.fd, &e);
}

static void secure(struct door *d)
{
	wire_secure(&d->w, ctx, resume ? ticket : NULL);
	go(d, SHAKE);
	d->shook = d->since;
	watch(d, EPOLLIN | EPOLLOUT);
}

static void shaken(struct door *d)
{
	n_shaken++;
	n_resumed += SSL_session_reused(d->w.ssl);
	hist_add(&h_shake, now_ns() - d->shook);
	watch(d, EPOLLIN);
	if (mode == WIRE_TLS)
		go(d, GREET);
	else
		say(d, "EHLO doors.test\r\n", EHLO);
}

static void say_auth(struct door *d)
{
	unsigned char plain[512] = { 0 };
	char line[1024] = "AUTH PLAIN ", user[256];
	const char *colon = strchr(auth, ':'), *mark = strstr(auth, "%d");
	size_t ul;

	if (mark && mark < colon)
		snprintf(user, sizeof user, "%.*s%u%.*s", (int)(mark - auth), auth, d->account,
			 (int)(colon - mark - 2), mark + 2);
	else
		snprintf(user, sizeof user, "%.*s", (int)(colon - auth), auth);
	ul = strlen(user);
	snprintf((char *)plain + 1, 255, "%s", user);
	snprintf((char *)plain + 2 + ul, 255, "%s", colon + 1);
	EVP_EncodeBlock((unsigned char *)line + 11, plain, (int)(2 + ul + strlen(colon + 1)));
	strcat(line, "\r\n");
	say(d, line, AUTH);
}

static void opened(struct door *d)
{
	go(d, OPEN);
	n_under_way--;
	n_open++;
}

static void on_reply(struct door *d, int code, const char *line)
{
	static const int wanted[] = { [GREET] = 220, [EHLO] = 250, [STARTTLS] = 220, [AUTH] = 235,
				      [NOOP] = 250, [QUIT] = 221 };

	if (d->step == OPEN || code != wanted[d->step]) {
		failed(d, line);
		return;
	}
	switch (d->step) {
	case GREET:
		if (hold || mode == WIRE_STARTTLS)
			say(d, "EHLO doors.test\r\n", EHLO);
		else
			done(d);
		return;
	case EHLO:
		if (mode == WIRE_STARTTLS && !d->w.ssl)
			say(d, "STARTTLS\r\n", STARTTLS);
		else if (!hold)
			done(d);
		else if (auth)
			say_auth(d);
		else
			opened(d);
		return;
	case STARTTLS:
		secure(d);
		return;
	case AUTH:
		opened(d);
		return;
	case NOOP:
		n_answered++;
		say(d, "QUIT\r\n", QUIT);
		return;
	case QUIT:
		n_ended++;
		n_open--;
		wire_close(&d->w);
		d->step = NONE;
		return;
	default:
		return;
	}
}

/* The lines that are there; stops where the session ended or began TLS. */
static void take_lines(struct door *d)
{
	size_t off = 0;
	char *nl;

	while (d->step != NONE && d->step != SHAKE &&
	       (nl = memchr(d->in + off, '\n', d->in_len - off))) {
		char *line = d->in + off;

		*nl = 0;
		off = (size_t)(nl - d->in) + 1;
		if (strlen(line) < 4 || line[3] != '-')
			on_reply(d, atoi(line), line);
	}
	memmove(d->in, d->in + off, d->in_len - off);
	d->in_len -= off;
}

static void on_input(struct door *d)
{
	ssize_t n;

	do {
		n = wire_recv(&d->w, d->in + d->in_len, sizeof d->in - 1 - d->in_len);
		if (n < 0 && errno == EAGAIN)
			return;
		if (n <= 0) {
			failed(d, n ? strerror(errno) : "closed by the server");
			return;
		}
		d->in_len += (size_t)n;
		take_lines(d);
	} while (d->step != NONE && d->step != SHAKE && wire_pending(&d->w));
}

static void on_event(struct door *d)
{
	ssize_t r;

	if (d->step == NONE)
		return;
	if (d->step == CONNECT) {
		int e = wire_error(&d->w);

		if (e) {
			failed(d, strerror(e));
			return;
		}
		if (mode == WIRE_TLS) {
			secure(d);
		} else {
			go(d, GREET);
			watch(d, EPOLLIN);
			return;
		}
	}
	if (d->step == SHAKE) {
		r = wire_shake(&d->w);
		if (r == 1)
			shaken(d);
		else if (r == 0 || errno != EAGAIN)
			failed(d, "handshake");
		else
			watch(d, SSL_want_write(d->w.ssl) ? EPOLLIN | EPOLLOUT : EPOLLIN);
		return;
	}
	on_input(d);
}

static int keep_ticket(SSL *ssl, SSL_SESSION *s)
{
	SSL_SESSION_free(ticket);
	ticket = s;
	return 1;
}

/* One turn of the loop; false when the standard input has ended. */
static int turn(int watch_stdin)
{
	struct epoll_event ev[256];
	static uint64_t swept;
	int alive = 1, n = epoll_wait(ep, ev, 256, 100);
	uint64_t now, limit = (uint64_t)(step_limit * 1e9);

	for (int i = 0; i < n; i++) {
		if (ev[i].data.ptr)
			on_event(ev[i].data.ptr);
		else if (watch_stdin)
			alive = 0;
	}
	now = now_ns();
	if (now - swept < 1000000000ULL)
		return alive;
	swept = now;
	for (uint64_t i = 0; i < (hold ? total : (uint64_t)at_once); i++)
		if (door[i].step != NONE && door[i].step != OPEN && now - door[i].since > limit)
			failed(&door[i], "no answer in time");
	return alive;
}

static void turn_over(uint64_t t_stop)
{
	for (;;) {
		uint64_t now = now_ns();
		int more = n_started < total && (!t_stop || now < t_stop);

		for (int i = 0; more && i < at_once; i++)
			if (door[i].step == NONE && n_started < total) {
				start(&door[i]);
				/* the first ticket is needed by all others */
				if (resume && !ticket)
					break;
			}
		if (!more && n_under_way == 0)
			return;
		turn(0);
	}
}

static void hold_all(void)
{
	struct epoll_event e = { .events = EPOLLIN };

	while (n_started < total || n_under_way > 0) {
		while (n_started < total && n_under_way < (uint64_t)at_once)
			start(&door[n_started]);
		turn(0);
	}
	printf("{\"sessions\":%" PRIu64 ",\"open\":%" PRIu64 ",\"failed\":%" PRIu64
	       ",\"handshakes\":%" PRIu64 "}\n", total, n_open, n_failed, n_shaken);
	fflush(stdout);
	/* a file or /dev/null is at its end, and epoll does not take it */
	if (epoll_ctl(ep, EPOLL_CTL_ADD, 0, &e) == 0)
		while (turn(1))
			continue;
	epoll_ctl(ep, EPOLL_CTL_DEL, 0, NULL);
	for (uint64_t i = 0; i < total; i++)
		if (door[i].step == OPEN)
			say(&door[i], "NOOP\r\n", NOOP);
	while (n_open > 0)
		turn(0);
	printf("{\"answered\":%" PRIu64 ",\"ended\":%" PRIu64 ",\"lost\":%" PRIu64 "}\n",
	       n_answered, n_ended, n_lost);
}

int main(int argc, char **argv)
{
	const char *host = "127.0.0.1";
	int port = 2525, c, version = 0;
	double duration = 0;
	uint64_t t0, t1;
	struct rlimit files;

	while ((c = getopt(argc, argv, "h:p:n:c:d:t:e:V:ru:U:S:iv")) != -1) {
		switch (c) {
		case 'h': host = optarg; break;
		case 'p': port = atoi(optarg); break;
		case 'n': total = strtoull(optarg, NULL, 10); break;
		case 'c': at_once = atoi(optarg); break;
		case 'd': duration = atof(optarg); break;
		case 't': step_limit = atof(optarg); break;
		case 'e':
			if (!wire_mode_of(optarg, &mode))
				usage();
			break;
		case 'V':
			version = !strcmp(optarg, "1.2") ? TLS1_2_VERSION : TLS1_3_VERSION;
			if (strcmp(optarg, "1.2") && strcmp(optarg, "1.3"))
				usage();
			break;
		case 'r': resume = 1; break;
		case 'u':
			auth = optarg;
			if (!strchr(auth, ':') || strlen(auth) > 200)
				usage();
			break;
		case 'U': naccounts = (unsigned)atoi(optarg); break;
		case 'S': nsrc = atoi(optarg); break;
		case 'i': hold = 1; break;
		case 'v': verbose = 1; break;
		default: usage();
		}
	}
	target.sin_family = AF_INET;
	target.sin_port = htons((uint16_t)port);
	if (inet_pton(AF_INET, host, &target.sin_addr) != 1 || at_once < 1 || total < 1 || naccounts < 1 ||
	    optind != argc)
		usage();
	if ((ntohl(target.sin_addr.s_addr) >> 24) != 127) {
		fputs("doors: only loopback targets\n", stderr);
		return 64;
	}
	signal(SIGPIPE, SIG_IGN);
	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max;
		setrlimit(RLIMIT_NOFILE, &files);
	}
	if (mode != WIRE_PLAIN) {
		ctx = wire_context(version);
		SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_CLIENT |
					       SSL_SESS_CACHE_NO_INTERNAL_STORE);
		if (resume)
			SSL_CTX_sess_set_new_cb(ctx, keep_ticket);
	}
	ep = epoll_create1(EPOLL_CLOEXEC);
	door = calloc(hold ? total : (uint64_t)at_once, sizeof *door);
	if (!door)
		die("calloc");
	t0 = now_ns();
	if (hold) {
		hold_all();
		return n_failed || n_lost;
	}
	turn_over(duration > 0 ? t0 + (uint64_t)(duration * 1e9) : 0);
	t1 = now_ns();
	printf("{\"sessions\":%" PRIu64 ",\"failed\":%" PRIu64 ",\"handshakes\":%" PRIu64
	       ",\"resumed\":%" PRIu64 ",\"wall_s\":%.4f,\"per_s\":%.1f,\"cpu_s\":%.3f,",
	       n_done, n_failed, n_shaken, n_resumed, (double)(t1 - t0) / 1e9,
	       (double)n_done * 1e9 / (double)(t1 - t0), cpu_seconds());
	hist_json(stdout, "handshake", &h_shake);
	puts("}");
	return n_failed != 0;
}
