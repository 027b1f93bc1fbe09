/* lib/privs.c - from root to a user without powers, in every thread
 *
 * Capabilities belong to threads, and the system has no call that takes them from all
 * threads of a process.  But setresuid() of the C library is for all, and the kernel
 * takes every capability from a thread whose last user id of 0 goes.  So between the
 * two steps the saved user id, and it alone, stays 0.
 */
#include "lib/privs.h"

#include <dirent.h>
#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "lib/privs_private.h"

static enum err failed(char why[PRIVS_WHY], const char *what, int error)
{
	snprintf(why, PRIVS_WHY, "%s: %s", what, strerror(error));
	return ERR_IO;
}

/* --- becoming the user --- */

static enum err find_user(const char *name, struct passwd *pw, char *buf, size_t max,
                          char why[PRIVS_WHY])
{
	struct passwd *found = NULL;
	int rc = getpwnam_r(name, pw, buf, max, &found);

	if (rc != 0)
		return failed(why, "user database", rc);
	if (found != NULL)
		return ERR_OK;
	snprintf(why, PRIVS_WHY, "no user named %s", name);
	return ERR_NOENT;
}

/* Nothing that this process or a program it starts may ever get back. */
static int drop_bounding_set(void)
{
	for (unsigned long cap = 0; prctl(PR_CAPBSET_READ, cap, 0, 0, 0) >= 0; cap++) {
		if (prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) != 0)
			return -1;
	}
	return 0;
}

static int keep_bind_only(void)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {
		{ .effective = 1u << CAP_NET_BIND_SERVICE,
		  .permitted = 1u << CAP_NET_BIND_SERVICE },
	};

	return (int)syscall(SYS_capset, &head, data);
}

/* The kernel has cleared it with the change of user. */
static int set_dumpable(unsigned long yes)
{
	return prctl(PR_SET_DUMPABLE, yes, 0, 0, 0);
}

static enum err change(const struct passwd *pw, char why[PRIVS_WHY])
{
	if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) != 0 && errno != EINVAL)
		return failed(why, "ambient capabilities", errno);
	if (drop_bounding_set() != 0)
		return failed(why, "capability bounding set", errno);
	if (initgroups(pw->pw_name, pw->pw_gid) != 0)
		return failed(why, "initgroups", errno);
	if (setresgid(pw->pw_gid, pw->pw_gid, pw->pw_gid) != 0)
		return failed(why, "setresgid", errno);
	if (setresuid(pw->pw_uid, pw->pw_uid, 0) != 0)
		return failed(why, "setresuid", errno);
	if (keep_bind_only() != 0)
		return failed(why, "capset", errno);
	if (PRIVS_SANITIZER && set_dumpable(1) != 0)
		return failed(why, "PR_SET_DUMPABLE", errno);
	return ERR_OK;
}

enum err privs_become(const char *user, char why[PRIVS_WHY])
{
	struct passwd pw;
	char buf[4096];
	enum err err;

	if (user[0] == '\0')
		return ERR_OK;
	err = find_user(user, &pw, buf, sizeof(buf), why);
	if (err != ERR_OK)
		return err;
	if (getuid() == pw.pw_uid && geteuid() == pw.pw_uid)
		return ERR_OK;
	if (geteuid() != 0) {
		snprintf(why, PRIVS_WHY, "only root can become user %s", user);
		return ERR_PERM;
	}
	return change(&pw, why);
}

/* --- the store's directory --- */

static const char *user_name(uid_t uid, char buf[64])
{
	char room[4096];
	struct passwd pw, *found = NULL;

	if (getpwuid_r(uid, &pw, room, sizeof(room), &found) == 0 && found != NULL)
		snprintf(buf, 64, "%s", pw.pw_name);
	else
		snprintf(buf, 64, "uid %u", (unsigned)uid);
	return buf;
}

static enum err cannot_make(const char *data_dir, const char *dir, char why[PRIVS_WHY])
{
	char us[64];

	snprintf(why, PRIVS_WHY, "user %s may not make %s in %s", user_name(geteuid(), us),
	         strrchr(dir, '/') == NULL ? dir : strrchr(dir, '/') + 1, data_dir);
	return ERR_PERM;
}

enum err privs_check_dir(const char *data_dir, const char *dir, char why[PRIVS_WHY])
{
	struct stat st;
	char owner[64], us[64];

	if (stat(dir, &st) == 0) {
		if (st.st_uid == geteuid())
			return ERR_OK;
		snprintf(why, PRIVS_WHY, "%s belongs to user %s and we run as %s", dir,
		         user_name(st.st_uid, owner), user_name(geteuid(), us));
		return ERR_PERM;
	}
	/* A data_dir that is absent is made by whoever opens the store. */
	if (errno == ENOENT && (eaccess(data_dir, W_OK | X_OK) == 0 || errno == ENOENT))
		return ERR_OK;
	return cannot_make(data_dir, dir, why);
}

/* --- sealing --- */

static bool status_is_bare(const char *tid)
{
	char path[64], line[256];
	unsigned long long caps;
	bool bare = true;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/self/task/%.20s/status", tid);
	f = fopen(path, "re");
	if (f == NULL)
		return errno == ENOENT; /* the thread has ended */
	while (fgets(line, sizeof(line), f) != NULL) {
		if ((sscanf(line, "CapPrm: %llx", &caps) == 1 ||
		     sscanf(line, "CapEff: %llx", &caps) == 1 ||
		     sscanf(line, "CapBnd: %llx", &caps) == 1) && caps != 0)
			bare = false;
	}
	fclose(f);
	return bare;
}

/* The C library tells the threads that it made; was there another one? */
static enum err check_threads(char why[PRIVS_WHY])
{
	DIR *dir = opendir("/proc/self/task");
	const struct dirent *d;
	enum err err = ERR_OK;

	if (dir == NULL)
		return failed(why, "/proc/self/task", errno);
	while (err == ERR_OK && (d = readdir(dir)) != NULL) {
		if (d->d_name[0] == '.' || status_is_bare(d->d_name))
			continue;
		snprintf(why, PRIVS_WHY, "thread %.20s has kept capabilities", d->d_name);
		err = ERR_IO;
	}
	closedir(dir);
	return err;
}

static enum err drop_all(char why[PRIVS_WHY])
{
	uid_t real, effective, saved;

	if (getresuid(&real, &effective, &saved) != 0)
		return failed(why, "getresuid", errno);
	if (real == 0 || saved != 0)
		return ERR_OK;
	if (setresuid(real, real, real) != 0)
		return failed(why, "setresuid", errno);
	if (setresuid(-1, 0, -1) == 0) {
		snprintf(why, PRIVS_WHY, "root could be had back");
		return ERR_IO;
	}
	return check_threads(why);
}

enum err privs_seal(bool sandbox, char why[PRIVS_WHY])
{
	enum err err = drop_all(why);
	int rc;

	if (err != ERR_OK)
		return err;
	/* Memory holds mail and keys: no core file, and no other process of this user
	 * that looks into it. */
	if (set_dumpable(!sandbox || PRIVS_SANITIZER) != 0)
		return failed(why, "PR_SET_DUMPABLE", errno);
	if (!sandbox)
		return ERR_OK;
	rc = privs_filter_load();
	return rc == 0 ? ERR_OK : failed(why, "seccomp filter", -rc);
}
