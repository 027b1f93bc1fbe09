/* lib/privs_filter.c - the system calls that a sealed process may make
 *
 * A list of what is allowed, since a list of what is not would have to be extended
 * with every kernel.  It is made for robustness nevertheless: the groups hold whole
 * families, also the calls of them that nobody makes today, and what is on no list
 * gets ENOSYS, upon which the C library and others fall back to what they did before
 * there was that call (clone3() to clone(), io_uring to epoll).  Names that this
 * libseccomp does not know yet are passed over.
 */
#include "lib/privs_private.h"

#include <errno.h>
#include <linux/fs.h>
#include <sched.h>
#include <seccomp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>
#include "lib/err.h"

static const char *const allowed[] = {
	/* memory; mmap and mprotect have conditions */
	"brk", "madvise", "membarrier", "mincore", "mlock", "mlock2", "mremap", "msync",
	"munlock", "munmap",
	/* threads, time, signals; clone, kill, prctl, sched_setscheduler have conditions */
	"alarm", "arch_prctl", "clock_getres", "clock_gettime", "clock_nanosleep", "exit",
	"exit_group", "futex", "futex_waitv", "get_robust_list", "getcpu", "getitimer",
	"getrandom", "gettimeofday", "nanosleep", "pause", "restart_syscall", "rseq",
	"rt_sigaction", "rt_sigpending", "rt_sigprocmask", "rt_sigreturn", "rt_sigsuspend",
	"rt_sigtimedwait", "sched_get_priority_max", "sched_get_priority_min",
	"sched_getaffinity", "sched_getattr", "sched_getparam", "sched_getscheduler",
	"sched_setaffinity", "sched_setparam", "sched_yield", "set_robust_list",
	"set_tid_address", "setitimer", "sigaltstack", "sigreturn", "time", "timer_create",
	"timer_delete", "timer_getoverrun", "timer_gettime", "timer_settime", "times",
	/* who and where we are */
	"getegid", "geteuid", "getgid", "getgroups", "getpgid", "getpgrp", "getpid", "getppid",
	"getpriority", "getresgid", "getresuid", "getrlimit", "getrusage", "getsid", "gettid",
	"getuid", "ioprio_get", "ioprio_set", "setpriority", "sysinfo", "ugetrlimit", "uname",
	/* files */
	"access", "chdir", "chmod", "close", "close_range", "copy_file_range", "creat", "dup",
	"dup2", "dup3", "faccessat", "faccessat2", "fadvise64", "fadvise64_64", "fallocate",
	"fchdir", "fchmod", "fchmodat", "fcntl", "fcntl64", "fdatasync", "flock", "fstat",
	"fstat64", "fstatat64", "fstatfs", "fstatfs64", "fsync", "ftruncate", "ftruncate64",
	"futimesat", "getcwd", "getdents", "getdents64", "link", "linkat", "llseek", "_llseek",
	"lseek", "lstat", "lstat64", "mkdir", "mkdirat", "newfstatat", "open", "openat",
	"openat2", "pread64", "preadv", "preadv2", "pwrite64", "pwritev", "pwritev2", "read",
	"readahead", "readlink", "readlinkat", "readv", "rename", "renameat", "renameat2",
	"rmdir", "sendfile", "sendfile64", "splice", "stat", "stat64", "statfs", "statfs64",
	"statx", "sync_file_range", "sync_file_range2", "syncfs", "tee", "truncate",
	"truncate64", "umask", "unlink", "unlinkat", "utime", "utimensat", "utimes", "write",
	"writev",
	/* events; ioctl has conditions */
	"epoll_create", "epoll_create1", "epoll_ctl", "epoll_pwait", "epoll_pwait2",
	"epoll_wait", "eventfd", "eventfd2", "inotify_add_watch", "inotify_init",
	"inotify_init1", "inotify_rm_watch", "pipe", "pipe2", "poll", "ppoll", "pselect6",
	"select", "_newselect", "signalfd", "signalfd4", "timerfd_create", "timerfd_gettime",
	"timerfd_settime",
	/* sockets; socket and socketpair have conditions */
	"accept", "accept4", "bind", "connect", "getpeername", "getsockname", "getsockopt",
	"listen", "recv", "recvfrom", "recvmmsg", "recvmsg", "send", "sendmmsg", "sendmsg",
	"sendto", "setsockopt", "shutdown",
	NULL
};

static const char *const sanitizer_allowed[] = {
	"clone", "kill", "personality", "prctl", "process_vm_readv", "ptrace", "tgkill", "tkill",
	"wait4", "waitid", NULL
};

/* What only an intruder asks for. */
static const char *const forbidden[] = {
	"execve", "execveat", "fork", "vfork",
	"kcmp", "pidfd_getfd", "pidfd_open", "pidfd_send_signal", "process_madvise",
	"process_vm_readv", "process_vm_writev", "ptrace", "rt_sigqueueinfo",
	"rt_tgsigqueueinfo", "tkill",
	"setfsgid", "setfsuid", "setgid", "setgroups", "setregid", "setresgid", "setresuid",
	"setreuid", "setuid", "capset", "seccomp", "personality",
	"setns", "unshare", "chroot", "pivot_root", "mount", "umount", "umount2", "fsconfig",
	"fsmount", "fsopen", "fspick", "mount_setattr", "move_mount", "open_tree",
	"open_by_handle_at", "name_to_handle_at", "mknod", "mknodat", "chown", "fchown",
	"fchownat", "lchown", "quotactl", "quotactl_fd", "swapon", "swapoff",
	"bpf", "perf_event_open", "userfaultfd", "io_uring_enter", "io_uring_register",
	"io_uring_setup", "init_module", "finit_module", "delete_module", "kexec_load",
	"kexec_file_load", "add_key", "keyctl", "request_key", "fanotify_init",
	"lookup_dcookie", "memfd_create", "memfd_secret", "modify_ldt", "iopl", "ioperm",
	"adjtimex", "clock_adjtime", "clock_settime", "settimeofday", "stime", "acct", "reboot",
	"setdomainname", "sethostname", "syslog", "vhangup", "uselib", "setrlimit",
	"migrate_pages", "move_pages", "mbind", "set_mempolicy",
	NULL
};

/* Of files, terminals, sockets and network interfaces, as the libraries ask them. */
static const unsigned long ioctls[] = {
	FIOCLEX, FIONCLEX, FIONBIO, FIOASYNC, FIONREAD, FIOQSIZE, TCGETS, TIOCGWINSZ, TIOCOUTQ,
	FS_IOC_GETFLAGS, FS_IOC_GETVERSION, FICLONE, FICLONERANGE, SIOCATMARK, SIOCGIFADDR,
	SIOCGIFBRDADDR, SIOCGIFCONF, SIOCGIFDSTADDR, SIOCGIFFLAGS, SIOCGIFHWADDR, SIOCGIFINDEX,
	SIOCGIFMTU, SIOCGIFNAME, SIOCGIFNETMASK,
};

static const unsigned long prctls[] = {
	PR_GET_NAME, PR_SET_NAME, PR_GET_DUMPABLE, PR_GET_NO_NEW_PRIVS, PR_GET_SECCOMP,
	PR_GET_TIMERSLACK, PR_SET_TIMERSLACK, PR_CAPBSET_READ, PR_SET_VMA,
};

#define NAMESPACES (CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | \
                    CLONE_NEWPID | CLONE_NEWNET)
#define NO(e) SCMP_ACT_ERRNO(e)

/* The first error is kept and nothing is added after it. */
struct filter {
	scmp_filter_ctx ctx;
	int rc;
};

/* Argument number arg compares so with value, or its bits under a mask do. */
static struct scmp_arg_cmp is(unsigned arg, enum scmp_compare how, uint64_t value)
{
	return (struct scmp_arg_cmp){ arg, how, value, 0 };
}

static struct scmp_arg_cmp masked(unsigned arg, uint64_t mask, uint64_t value)
{
	return (struct scmp_arg_cmp){ arg, SCMP_CMP_MASKED_EQ, mask, value };
}

static void add(struct filter *f, uint32_t action, const char *name, unsigned n,
                const struct scmp_arg_cmp *conditions)
{
	int call = seccomp_syscall_resolve_name(name);

	if (f->rc == 0 && call != __NR_SCMP_ERROR)
		f->rc = seccomp_rule_add_array(f->ctx, action, call, n, conditions);
}

static void when(struct filter *f, uint32_t action, const char *name, struct scmp_arg_cmp c)
{
	add(f, action, name, 1, &c);
}

static void add_list(struct filter *f, uint32_t action, const char *const *names)
{
	for (; *names != NULL; names++)
		add(f, action, *names, 0, NULL);
}

static void add_values(struct filter *f, const char *name, unsigned arg,
                       const unsigned long *values, size_t n)
{
	for (size_t i = 0; i < n; i++)
		when(f, SCMP_ACT_ALLOW, name, is(arg, SCMP_CMP_EQ, values[i]));
}

static bool family_allowed(int family)
{
	return family == AF_UNIX || family == AF_INET || family == AF_INET6;
}

/* Netlink is how the C library learns of addresses and routes. */
static void add_sockets(struct filter *f)
{
	const struct scmp_arg_cmp route[] = {
		is(0, SCMP_CMP_EQ, AF_NETLINK), is(2, SCMP_CMP_EQ, 0),
	};
	const struct scmp_arg_cmp other[] = {
		is(0, SCMP_CMP_EQ, AF_NETLINK), is(2, SCMP_CMP_NE, 0),
	};

	for (int family = 0; family < 64; family++) {
		if (family != AF_NETLINK)
			when(f, family_allowed(family) ? SCMP_ACT_ALLOW : NO(EPERM), "socket",
			     is(0, SCMP_CMP_EQ, (uint64_t)family));
	}
	when(f, NO(EPERM), "socket", is(0, SCMP_CMP_GE, 64));
	add(f, SCMP_ACT_ALLOW, "socket", 2, route);
	add(f, NO(EPERM), "socket", 2, other);
	when(f, SCMP_ACT_ALLOW, "socketpair", is(0, SCMP_CMP_EQ, AF_UNIX));
	when(f, NO(EPERM), "socketpair", is(0, SCMP_CMP_NE, AF_UNIX));
}

/* Threads, yes; processes and namespaces, no. */
static void add_clone(struct filter *f)
{
	when(f, SCMP_ACT_ALLOW, "clone",
	     masked(0, CLONE_THREAD | NAMESPACES, CLONE_THREAD));
	when(f, NO(EPERM), "clone", masked(0, CLONE_THREAD, 0));
	for (uint64_t bit = 1; bit <= 1ull << 31; bit <<= 1) {
		if (bit & NAMESPACES)
			when(f, NO(EPERM), "clone", masked(0, bit, bit));
	}
}

/* No page is ever both written and run: new code comes from files only. */
static void add_memory(struct filter *f)
{
	static const uint64_t both = PROT_WRITE | PROT_EXEC, each[] = { 0, PROT_WRITE, PROT_EXEC };
	static const char *const maps[] = { "mmap", "mmap2" };

	for (size_t m = 0; m < ARRAY_LEN(maps); m++) {
		for (size_t i = 0; i < ARRAY_LEN(each); i++)
			when(f, SCMP_ACT_ALLOW, maps[m],
			     masked(2, both, each[i]));
		when(f, NO(EPERM), maps[m], masked(2, both, both));
	}
	when(f, SCMP_ACT_ALLOW, "mprotect", masked(2, PROT_EXEC, 0));
	when(f, NO(EPERM), "mprotect", masked(2, PROT_EXEC, PROT_EXEC));
}

static void add_signals(struct filter *f)
{
	static const char *const calls[] = { "kill", "tgkill" };
	uint64_t self = (uint64_t)getpid();

	for (size_t i = 0; i < ARRAY_LEN(calls); i++) {
		when(f, SCMP_ACT_ALLOW, calls[i], is(0, SCMP_CMP_EQ, self));
		when(f, NO(EPERM), calls[i], is(0, SCMP_CMP_NE, self));
	}
}

/* The threads of ZeroMQ set the policy that they have, and abort when they cannot. */
static void add_scheduling(struct filter *f)
{
	static const unsigned long usual[] = { SCHED_OTHER, SCHED_BATCH, SCHED_IDLE };

	add_values(f, "sched_setscheduler", 1, usual, ARRAY_LEN(usual));
}

/* Limits can be read, of this process and of others, but not set. */
static void add_limits(struct filter *f)
{
	when(f, SCMP_ACT_ALLOW, "prlimit64", is(2, SCMP_CMP_EQ, 0));
	when(f, NO(EPERM), "prlimit64", is(2, SCMP_CMP_NE, 0));
}

static bool has(const char *const *names, const char *name)
{
	while (*names != NULL && strcmp(*names, name) != 0)
		names++;
	return *names != NULL;
}

static void add_all(struct filter *f)
{
	add_list(f, SCMP_ACT_ALLOW, allowed);
	add_sockets(f);
	add_memory(f);
	add_scheduling(f);
	add_limits(f);
	add_values(f, "ioctl", 1, ioctls, ARRAY_LEN(ioctls));
	if (PRIVS_SANITIZER) {
		add_list(f, SCMP_ACT_ALLOW, sanitizer_allowed);
	} else {
		add_clone(f);
		add_signals(f);
		add_values(f, "prctl", 0, prctls, ARRAY_LEN(prctls));
	}
	for (const char *const *name = forbidden; *name != NULL; name++) {
		if (!PRIVS_SANITIZER || !has(sanitizer_allowed, *name))
			add(f, NO(EPERM), *name, 0, NULL);
	}
}

int privs_filter_load(void)
{
	struct filter f = { .ctx = seccomp_init(NO(ENOSYS)) };

	if (f.ctx == NULL)
		return -ENOMEM;
	f.rc = seccomp_attr_set(f.ctx, SCMP_FLTATR_CTL_TSYNC, 1);
	if (f.rc == 0)
		f.rc = seccomp_attr_set(f.ctx, SCMP_FLTATR_CTL_OPTIMIZE, 2);
	add_all(&f);
	if (f.rc == 0)
		f.rc = seccomp_load(f.ctx);
	seccomp_release(f.ctx);
	return f.rc;
}
