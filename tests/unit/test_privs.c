/* tests/unit/test_privs.c - what a process can do before and after it is sealed
 *
 * Each row forks a child, which may seal itself and then makes one call.  A call that
 * fails in the child that is not sealed with the very error that the seal should give
 * proves nothing, and its row is skipped: so it is for some of them when not root.
 */
#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/netlink.h>
#include <netdb.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>
#include "lib/privs.h"
#include "lib/privs_private.h"

enum { UNSEALED = 200, BROKEN };

static char dir[] = "/tmp/hf-privs-XXXXXX";

static int make_dir(void **state)
{
	assert_non_null(mkdtemp(dir));
	return chmod(dir, 0777);
}

static int remove_dir(void **state)
{
	return rmdir(dir);
}

/* How the child ended: its exit code, or minus the signal. */
static int in_child(int (*fn)(const void *), const void *arg)
{
	pid_t pid = fork();
	int status;

	assert_true(pid >= 0);
	if (pid == 0)
		_exit(fn(arg));
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

static void seal(void)
{
	char why[PRIVS_WHY];

	if (privs_seal(true, why) == ERR_OK)
		return;
	fprintf(stderr, "%s\n", why);
	_exit(UNSEALED);
}

/* --- what is refused --- */

static long call_execve(void) { return syscall(SYS_execve, NULL, NULL, NULL); }
static long call_execveat(void) { return syscall(SYS_execveat, -1, NULL, NULL, NULL, 0); }
static long call_ptrace(void) { return ptrace(PTRACE_PEEKUSER, getppid(), NULL, NULL); }
static long call_mount(void) { return syscall(SYS_mount, NULL, NULL, NULL, 0ul, NULL); }
static long call_setuid(void) { return (long)syscall(SYS_setuid, getuid()); }
static long call_setgroups(void) { return syscall(SYS_setgroups, 0, NULL); }
static long call_unshare(void) { return unshare(CLONE_NEWUTS); }
static long call_setns(void) { return syscall(SYS_setns, -1, 0); }
static long call_chroot(void) { return chroot("/"); }
static long call_bpf(void) { return syscall(SYS_bpf, -1, NULL, 0); }
static long call_perf(void) { return syscall(SYS_perf_event_open, NULL, 0, -1, -1, 0ul); }
static long call_userfaultfd(void) { return syscall(SYS_userfaultfd, -1); }
static long call_keyctl(void) { return syscall(SYS_keyctl, 0, -3, 0, 0, 0); }
static long call_init_module(void) { return syscall(SYS_init_module, NULL, 0ul, NULL); }
static long call_kexec(void) { return syscall(SYS_kexec_load, 0ul, ~0ul, NULL, ~0ul); }
static long call_io_uring(void) { return syscall(SYS_io_uring_setup, 0, NULL); }
static long call_memfd(void) { return syscall(SYS_memfd_create, "x", 0); }
static long call_chown(void) { return chown("/nonexistent", 1, 1); }
static long call_mknod(void) { return mknod("/nonexistent/x", S_IFCHR, 0); }
static long call_settime(void) { return syscall(SYS_clock_settime, -1, NULL); }
static long call_seccomp(void) { return syscall(SYS_seccomp, 99, 0, NULL); }
static long call_packet(void) { return socket(AF_PACKET, SOCK_DGRAM, 0); }
static long call_vsock(void) { return socket(AF_VSOCK, SOCK_STREAM, 0); }
static long call_alg(void) { return socket(AF_ALG, SOCK_SEQPACKET, 0); }
static long call_far_family(void) { return socket(70, SOCK_STREAM, 0); }
static long call_netfilter(void) { return socket(AF_NETLINK, SOCK_RAW, NETLINK_NETFILTER); }
static long call_kill_parent(void) { return kill(getppid(), 0); }
static long call_clone3(void) { return syscall(SYS_clone3, NULL, 0ul); }
static long call_landlock(void) { return syscall(444, NULL, 0ul, 1); }
static long call_unknown_ioctl(void) { return syscall(SYS_ioctl, 0, 0x5412ul, "x"); }

static long call_realtime(void)
{
	struct sched_param some = { 1 };

	return sched_setscheduler(0, SCHED_FIFO, &some);
}

static long call_fork(void)
{
	long pid = syscall(SYS_clone, (unsigned long)SIGCHLD, NULL, NULL, NULL, 0ul);

	if (pid == 0)
		_exit(0);
	return pid;
}

static long call_new_user_namespace(void)
{
	long pid = syscall(SYS_clone, (unsigned long)(SIGCHLD | CLONE_NEWUSER), NULL, NULL, NULL,
	                   0ul);

	if (pid == 0)
		_exit(0);
	return pid;
}

static long call_map_code(void)
{
	void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC,
	               MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return p == MAP_FAILED ? -1 : 0;
}

static long call_protect_code(void)
{
	void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return mprotect(p, 4096, PROT_READ | PROT_EXEC);
}

static long call_limit(void)
{
	struct rlimit r;

	return getrlimit(RLIMIT_NOFILE, &r) == 0 ? setrlimit(RLIMIT_NOFILE, &r) : -1;
}

enum { NOT_SANITIZED = 1 }; /* the leak check needs it, so only other builds refuse it */

static const struct refused {
	const char *name;
	long (*call)(void);
	int error;
	int flags;
} refused[] = {
	{ "running a program is refused", call_execve, EPERM, 0 },
	{ "running a program by descriptor is refused", call_execveat, EPERM, 0 },
	{ "making a process is refused", call_fork, EPERM, NOT_SANITIZED },
	{ "a user namespace is refused", call_new_user_namespace, EPERM, NOT_SANITIZED },
	{ "tracing is refused", call_ptrace, EPERM, NOT_SANITIZED },
	{ "signals to others are refused", call_kill_parent, EPERM, NOT_SANITIZED },
	{ "mounting is refused", call_mount, EPERM, 0 },
	{ "setting a user id is refused", call_setuid, EPERM, 0 },
	{ "setting groups is refused", call_setgroups, EPERM, 0 },
	{ "leaving a namespace is refused", call_unshare, EPERM, 0 },
	{ "entering a namespace is refused", call_setns, EPERM, 0 },
	{ "another root directory is refused", call_chroot, EPERM, 0 },
	{ "bpf is refused", call_bpf, EPERM, 0 },
	{ "perf is refused", call_perf, EPERM, 0 },
	{ "userfaultfd is refused", call_userfaultfd, EPERM, 0 },
	{ "kernel keys are refused", call_keyctl, EPERM, 0 },
	{ "kernel modules are refused", call_init_module, EPERM, 0 },
	{ "another kernel is refused", call_kexec, EPERM, 0 },
	{ "io_uring is refused", call_io_uring, EPERM, 0 },
	{ "files without a name are refused", call_memfd, EPERM, 0 },
	{ "giving files away is refused", call_chown, EPERM, 0 },
	{ "device files are refused", call_mknod, EPERM, 0 },
	{ "setting the clock is refused", call_settime, EPERM, 0 },
	{ "another filter is refused", call_seccomp, EPERM, 0 },
	{ "real-time scheduling is unknown", call_realtime, ENOSYS, 0 },
	{ "setting limits is refused", call_limit, EPERM, 0 },
	{ "packet sockets are refused", call_packet, EPERM, 0 },
	{ "vsock sockets are refused", call_vsock, EPERM, 0 },
	{ "crypto sockets are refused", call_alg, EPERM, 0 },
	{ "sockets of a family to come are refused", call_far_family, EPERM, 0 },
	{ "netfilter sockets are refused", call_netfilter, EPERM, 0 },
	{ "memory both written and run is refused", call_map_code, EPERM, 0 },
	{ "running what was written is refused", call_protect_code, EPERM, 0 },
	{ "clone3 is unknown, so that clone is used", call_clone3, ENOSYS, 0 },
	{ "a call on no list is unknown", call_landlock, ENOSYS, 0 },
	{ "typing into a terminal is unknown", call_unknown_ioctl, ENOSYS, 0 },
};

static int outcome(long (*call)(void))
{
	errno = 0;
	return call() >= 0 ? 0 : errno;
}

static int bare_outcome(const void *arg)
{
	return outcome(((const struct refused *)arg)->call);
}

static int sealed_outcome(const void *arg)
{
	seal();
	return outcome(((const struct refused *)arg)->call);
}

static void call_is_refused(void **state)
{
	const struct refused *row = *state;

	if ((row->flags & NOT_SANITIZED) && PRIVS_SANITIZER)
		skip();
	if (in_child(bare_outcome, row) == row->error)
		skip();
	assert_int_equal(in_child(sealed_outcome, row), row->error);
}

/* --- what goes on working --- */

static void *nothing(void *arg)
{
	return arg;
}

static int do_thread(void)
{
	pthread_t t;
	void *got = NULL;

	return pthread_create(&t, NULL, nothing, dir) == 0 && pthread_join(t, &got) == 0 &&
	       got == dir;
}

static int do_files(void)
{
	char a[64], b[64];
	int fd;

	snprintf(a, sizeof(a), "%s/a", dir);
	snprintf(b, sizeof(b), "%s/b", dir);
	fd = open(a, O_CREAT | O_RDWR, 0600);
	return fd >= 0 && write(fd, "x", 1) == 1 && fsync(fd) == 0 && fdatasync(fd) == 0 &&
	       posix_fallocate(fd, 0, 4096) == 0 && ftruncate(fd, 1) == 0 && close(fd) == 0 &&
	       rename(a, b) == 0 && unlink(b) == 0 && mkdir(a, 0700) == 0 && rmdir(a) == 0;
}

static int socket_works(int family, int type)
{
	struct sockaddr_in in = { .sin_family = AF_INET,
	                          .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(family, type | SOCK_CLOEXEC, 0);

	return fd >= 0 && (family != AF_INET || bind(fd, (struct sockaddr *)&in, sizeof(in)) == 0) &&
	       (family != AF_INET || type != SOCK_STREAM || listen(fd, 5) == 0) && close(fd) == 0;
}

static int do_sockets(void)
{
	int pair[2];

	return socket_works(AF_INET, SOCK_STREAM) && socket_works(AF_INET, SOCK_DGRAM) &&
	       socket_works(AF_INET6, SOCK_DGRAM) && socket_works(AF_UNIX, SOCK_STREAM) &&
	       socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0;
}

/* Looks at the interfaces by netlink. */
static int do_names(void)
{
	struct addrinfo hints = { .ai_flags = AI_ADDRCONFIG }, *res = NULL;
	int rc = getaddrinfo("localhost", "25", &hints, &res);

	if (rc == 0)
		freeaddrinfo(res);
	return rc == 0 && socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE) >= 0;
}

static int do_library(void)
{
	return dlopen("libutil.so.1", RTLD_NOW) != NULL;
}

static volatile sig_atomic_t signalled;

static void on_signal(int number)
{
	signalled = number;
}

static int do_signal(void)
{
	return signal(SIGUSR1, on_signal) != SIG_ERR && raise(SIGUSR1) == 0 && signalled == SIGUSR1;
}

static int do_limits(void)
{
	struct rlimit r;

	return getrlimit(RLIMIT_NOFILE, &r) == 0 && r.rlim_max > 0;
}

static int do_schedule(void)
{
	struct sched_param none = { 0 };

	return pthread_setschedparam(pthread_self(), SCHED_OTHER, &none) == 0;
}

static const struct works {
	const char *name;
	int (*run)(void);
} works[] = {
	{ "threads can be made", do_thread },
	{ "files can be written and renamed", do_files },
	{ "sockets of the internet and of this host work", do_sockets },
	{ "names can be looked up", do_names },
	{ "libraries can be loaded", do_library },
	{ "a process can signal itself", do_signal },
	{ "limits can be read", do_limits },
	{ "a thread can set the scheduling that it has", do_schedule },
};

static int sealed_run(const void *arg)
{
	seal();
	return ((const struct works *)arg)->run() ? 0 : BROKEN;
}

static void call_works(void **state)
{
	assert_int_equal(in_child(sealed_run, *state), 0);
}

static int abort_sealed(const void *arg)
{
	struct rlimit none = { 0, 0 };

	setrlimit(RLIMIT_CORE, &none);
	seal();
	abort();
}

static void abort_still_ends_by_its_signal(void **state)
{
	assert_int_equal(in_child(abort_sealed, NULL), -SIGABRT);
}

/* --- all threads --- */

struct sleeper {
	pthread_t thread;
	pthread_barrier_t go;
	int (*look)(void);
	int found;
};

static void *sleep_and_look(void *arg)
{
	struct sleeper *s = arg;

	pthread_barrier_wait(&s->go);
	pthread_barrier_wait(&s->go);
	s->found = s->look();
	return NULL;
}

static void sleeper_start(struct sleeper *s, int (*look)(void))
{
	s->look = look;
	pthread_barrier_init(&s->go, NULL, 2);
	if (pthread_create(&s->thread, NULL, sleep_and_look, s) != 0)
		_exit(BROKEN);
	pthread_barrier_wait(&s->go);
}

static int sleeper_end(struct sleeper *s)
{
	pthread_barrier_wait(&s->go);
	pthread_join(s->thread, NULL);
	pthread_barrier_destroy(&s->go);
	return s->found;
}

static int try_unshare(void)
{
	return prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1 && prctl(PR_GET_SECCOMP) == 2 &&
	       unshare(CLONE_NEWUTS) != 0 && errno == EPERM ? 0 : BROKEN;
}

static int seal_with_a_thread(const void *arg)
{
	struct sleeper s;

	sleeper_start(&s, try_unshare);
	seal();
	return sleeper_end(&s);
}

static void threads_of_before_are_sealed_too(void **state)
{
	assert_int_equal(in_child(seal_with_a_thread, NULL), 0);
}

static int seal_without_filter(const void *arg)
{
	char why[PRIVS_WHY];

	if (privs_seal(false, why) != ERR_OK)
		return UNSEALED;
	return prctl(PR_GET_SECCOMP) == 0 && prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 0 &&
	       prctl(PR_GET_DUMPABLE) == 1 ? 0 : BROKEN;
}

static void no_sandbox_is_no_filter(void **state)
{
	assert_int_equal(in_child(seal_without_filter, NULL), 0);
}

static int core_is_forbidden(const void *arg)
{
	seal();
	return prctl(PR_GET_DUMPABLE) == 0 ? 0 : BROKEN;
}

static void sealed_process_leaves_no_core(void **state)
{
	if (PRIVS_SANITIZER)
		skip();
	assert_int_equal(in_child(core_is_forbidden, NULL), 0);
}

/* --- becoming a user --- */

static void need_root(void)
{
	if (geteuid() != 0)
		skip();
}

static unsigned long long status_caps(const char *name)
{
	unsigned long long caps = ~0ull;
	char line[256];
	FILE *f = fopen("/proc/thread-self/status", "re");

	while (f != NULL && fgets(line, sizeof(line), f) != NULL) {
		if (strncmp(line, name, strlen(name)) == 0)
			caps = strtoull(line + strlen(name) + 1, NULL, 16);
	}
	if (f != NULL)
		fclose(f);
	return caps;
}

static int bind_low(void)
{
	struct sockaddr_in in = { .sin_family = AF_INET,
	                          .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), error = EADDRINUSE;

	for (int port = 1023; port > 0 && error == EADDRINUSE; port--) {
		in.sin_port = htons((uint16_t)port);
		error = bind(fd, (struct sockaddr *)&in, sizeof(in)) == 0 ? 0 : errno;
	}
	close(fd);
	return error;
}

static int become(const char *user)
{
	char why[PRIVS_WHY] = "";
	enum err err = privs_become(user, why);

	if (err != ERR_OK && why[0] == '\0')
		return BROKEN;
	return (int)err;
}

static int file_is_ours(void)
{
	char path[64];
	struct stat st;
	int fd;

	snprintf(path, sizeof(path), "%s/ours", dir);
	fd = open(path, O_CREAT | O_WRONLY, 0600);
	return fd >= 0 && fstat(fd, &st) == 0 && unlink(path) == 0 && st.st_uid == geteuid() &&
	       st.st_gid == getegid() && st.st_uid != 0 && st.st_gid != 0;
}

static int has_only_bind(void)
{
	return status_caps("CapEff:") == 1ull << CAP_NET_BIND_SERVICE &&
	       status_caps("CapPrm:") == 1ull << CAP_NET_BIND_SERVICE &&
	       status_caps("CapBnd:") == 0 && bind_low() == 0;
}

static int has_nothing(void)
{
	uid_t r, e, s;

	return getresuid(&r, &e, &s) == 0 && r != 0 && e == r && s == r &&
	       status_caps("CapEff:") == 0 && status_caps("CapPrm:") == 0 &&
	       status_caps("CapInh:") == 0 && status_caps("CapAmb:") == 0 &&
	       status_caps("CapBnd:") == 0 && bind_low() == EACCES &&
	       open("/etc/shadow", O_RDONLY) < 0 ? 0 : BROKEN;
}

static int become_nobody(const void *sandbox)
{
	struct sleeper s;
	char why[PRIVS_WHY];
	gid_t groups[64];

	if (become("nobody") != 0 || !has_only_bind() || !file_is_ours())
		return BROKEN;
	for (int i = getgroups(64, groups); i > 0; i--) {
		if (groups[i - 1] == 0)
			return BROKEN;
	}
	sleeper_start(&s, has_nothing);
	if (privs_seal(sandbox != NULL, why) != ERR_OK)
		return UNSEALED;
	return sleeper_end(&s) == 0 ? has_nothing() : BROKEN;
}

static void root_becomes_a_user_in_two_steps(void **state)
{
	need_root();
	assert_int_equal(in_child(become_nobody, dir), 0);
}

static void it_does_so_without_sandbox(void **state)
{
	need_root();
	assert_int_equal(in_child(become_nobody, NULL), 0);
}

static int become_from_nobody(const void *user)
{
	if (setgid(65534) != 0 || setuid(65534) != 0)
		return BROKEN;
	return become(user);
}

static void only_root_can_become_another(void **state)
{
	need_root();
	assert_int_equal(in_child(become_from_nobody, "root"), ERR_PERM);
	assert_int_equal(in_child(become_from_nobody, "nobody"), ERR_OK);
	assert_int_equal(in_child(become_from_nobody, ""), ERR_OK);
}

static int become_named(const void *user)
{
	return become(user);
}

static void unknown_user_is_an_error(void **state)
{
	assert_int_equal(in_child(become_named, "hf-no-such-user"), ERR_NOENT);
	assert_int_equal(in_child(become_named, ""), ERR_OK);
}

/* --- the store's directory --- */

struct dirs {
	const char *name; /* below dir; NULL: a data_dir that is absent */
	uid_t owner;
	mode_t mode;      /* of dir */
};

/* As nobody: may it keep its store there? */
static int check_as_nobody(const void *arg)
{
	const struct dirs *d = arg;
	char path[96], parent[64], why[PRIVS_WHY] = "";
	enum err err;

	snprintf(parent, sizeof(parent), d->name == NULL ? "%s/absent" : "%s", dir);
	snprintf(path, sizeof(path), "%s/%s", parent, d->name == NULL ? "x" : d->name);
	if (become("nobody") != 0)
		return BROKEN;
	err = privs_check_dir(parent, path, why);
	if (err != ERR_OK && (strstr(why, dir) == NULL || strstr(why, "nobody") == NULL))
		return BROKEN;
	return (int)err;
}

static void store_must_be_ours(void **state)
{
	static const struct dirs ours = { "ours", 65534, 0755 }, roots = { "roots", 0, 0777 },
	                         fresh = { "fresh", 0, 0777 }, shut = { "fresh", 0, 0755 },
	                         absent = { NULL, 0, 0777 };
	char path[64];

	need_root();
	snprintf(path, sizeof(path), "%s/ours", dir);
	assert_int_equal(mkdir(path, 0700), 0);
	assert_int_equal(chown(path, 65534, 65534), 0);
	assert_int_equal(in_child(check_as_nobody, &ours), ERR_OK);
	rmdir(path);
	snprintf(path, sizeof(path), "%s/roots", dir);
	assert_int_equal(mkdir(path, 0755), 0);
	assert_int_equal(in_child(check_as_nobody, &roots), ERR_PERM);
	rmdir(path);
	assert_int_equal(in_child(check_as_nobody, &fresh), ERR_OK);
	assert_int_equal(in_child(check_as_nobody, &absent), ERR_OK);
	assert_int_equal(chmod(dir, 0755), 0);
	assert_int_equal(in_child(check_as_nobody, &shut), ERR_PERM);
	assert_int_equal(chmod(dir, 0777), 0);
}

/* --- all --- */

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(abort_still_ends_by_its_signal),
	cmocka_unit_test(threads_of_before_are_sealed_too),
	cmocka_unit_test(no_sandbox_is_no_filter),
	cmocka_unit_test(sealed_process_leaves_no_core),
	cmocka_unit_test(root_becomes_a_user_in_two_steps),
	cmocka_unit_test(it_does_so_without_sandbox),
	cmocka_unit_test(only_root_can_become_another),
	cmocka_unit_test(unknown_user_is_an_error),
	cmocka_unit_test(store_must_be_ours),
};

int main(void)
{
	struct CMUnitTest all[ARRAY_LEN(tests) + ARRAY_LEN(refused) + ARRAY_LEN(works)];
	size_t n = ARRAY_LEN(tests);

	memcpy(all, tests, sizeof(tests));
	for (size_t i = 0; i < ARRAY_LEN(refused); i++)
		all[n++] = (struct CMUnitTest){ .name = refused[i].name,
		                                .test_func = call_is_refused,
		                                .initial_state = (void *)&refused[i] };
	for (size_t i = 0; i < ARRAY_LEN(works); i++)
		all[n++] = (struct CMUnitTest){ .name = works[i].name,
		                                .test_func = call_works,
		                                .initial_state = (void *)&works[i] };
	return cmocka_run_group_tests_name("privileges", all, make_dir, remove_dir);
}
