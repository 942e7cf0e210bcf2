/* Calls that set ids, capabilities and namespaces: sensor_processes_rights CASE. Calls are numbered
 * from 0; each tells the credentials before and after. */
#include "sensor_processes_truth.c"
#include <linux/capability.h>
#include <linux/securebits.h>
#include <pthread.h>
#include <sched.h>

#define UNCHANGED 0xffffffffUL

static int number;

/* A call with COUNT arguments that matter. */
static void set(int count, int call, unsigned long a, unsigned long b, unsigned long c)
{
	char key[8], before[32], after[32];
	snprintf(key, sizeof key, "%d", number++);
	snprintf(before, sizeof before, "%s.before", key);
	snprintf(after, sizeof after, "%s.after", key);
	say_credentials(before);
	long result = plain_call(call, a, b, c, 0, 0);
	say_call(key, 0, call, result, count, a, b, c);
	say_credentials(after);
}

static void set_by_int80(int count, int call, unsigned a, unsigned b, unsigned c)
{
	char key[8], before[32], after[32];
	snprintf(key, sizeof key, "%d", number++);
	snprintf(before, sizeof before, "%s.before", key);
	snprintf(after, sizeof after, "%s.after", key);
	say_credentials(before);
	long result = int80(call, a, b, c);
	say_call(key, 1, call, result, count, (unsigned long)a, (unsigned long)b,
		 (unsigned long)c);
	say_credentials(after);
}

static void set_capabilities(unsigned inheritable)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2];
	if (syscall(SYS_capget, &header, data))
		err(1, "capget");
	data[0].inheritable = inheritable;
	set(2, SYS_capset, (unsigned long)&header, (unsigned long)data, 0);
}

static void groups(void)
{
	gid_t some[] = { 5, 6 };
	set(2, SYS_setgroups, 2, (unsigned long)some, 0);
	set(2, SYS_setregid, 100, 101, 0);
	set(2, SYS_setregid, UNCHANGED, 102, 0);
	set(3, SYS_setresgid, 201, 202, 203);
	set(3, SYS_setresgid, UNCHANGED, UNCHANGED, 204);
	set(1, SYS_setfsgid, 301, 0, 0);
	set(1, SYS_setgid, 400, 0, 0);
}

static void capabilities(void)
{
	set_capabilities(1 << CAP_NET_BIND_SERVICE | 1 << CAP_NET_RAW);
	set(3, SYS_prctl, PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_NET_BIND_SERVICE);
	set(3, SYS_prctl, PR_CAP_AMBIENT, PR_CAP_AMBIENT_LOWER, CAP_NET_BIND_SERVICE);
	set(3, SYS_prctl, PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_NET_RAW);
	set(2, SYS_prctl, PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0);
	set(2, SYS_prctl, PR_CAPBSET_DROP, CAP_SYS_BOOT, 0);
	set(2, SYS_prctl, PR_SET_SECUREBITS, SECBIT_NO_CAP_AMBIENT_RAISE, 0);
	/* Not while that bit is set. */
	set(3, SYS_prctl, PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_NET_BIND_SERVICE);
}

static void users(void)
{
	set(1, SYS_setfsuid, 1000, 0, 0);
	set(1, SYS_setfsuid, 0, 0, 0);
	set(2, SYS_setreuid, UNCHANGED, 1000, 0);
	set(2, SYS_setreuid, UNCHANGED, 0, 0);
	set(3, SYS_setresuid, 1001, 1002, 0);
	set(3, SYS_setresuid, UNCHANGED, 0, UNCHANGED);
	set(1, SYS_setuid, 1000, 0, 0);
	/* None of these may a user. */
	set(1, SYS_setuid, 0, 0, 0);
	set(1, SYS_setgid, 5, 0, 0);
	set(3, SYS_setresuid, 0, 0, 0);
	set(2, SYS_setreuid, 0, 0, 0);
	set(2, SYS_setgroups, 0, 0, 0);
	set(2, SYS_prctl, PR_CAPBSET_DROP, CAP_SYS_BOOT, 0);
}

static void by_int80(void)
{
	set_by_int80(3, 208, -1, 1000, -1); /* setresuid32 */
	set_by_int80(3, 208, -1, 0, -1);
	set_by_int80(3, 210, 7, 8, 9);	    /* setresgid32 */
	set_by_int80(1, 213, 1000, 0, 0);   /* setuid32 */
	set_by_int80(1, 213, 0, 0, 0);
}

/* The 16-bit calls of the 32-bit ABI. */
static void by_int80_16(void)
{
	set_by_int80(3, 170, 7, 8, 9);	     /* setresgid16 */
	set_by_int80(3, 164, 0, 1000, 0);    /* setresuid16 */
	set_by_int80(2, 70, 0xffff, 0, 0);   /* setreuid16 */
	set_by_int80(1, 23, 1000, 0, 0);     /* setuid16 */
}

static void *in_thread(void *unused)
{
	set(3, SYS_setresgid, 11, 12, 13);
	set(3, SYS_setresuid, 21, 22, 23);
	return unused;
}

static void thread(void)
{
	pthread_t thread;
	if (pthread_create(&thread, NULL, in_thread, NULL) || pthread_join(thread, NULL))
		errx(1, "a thread");
	/* The leader's own stay as they are. */
	set(1, SYS_setfsgid, 31, 0, 0);
}

/* uid 1000 becomes root in a namespace of its own. */
static void namespace(void)
{
	set(3, SYS_setresgid, 1000, 1000, 1000);
	set(3, SYS_setresuid, 1000, 1000, 1000);
	if (prctl(PR_SET_DUMPABLE, 1, 0, 0, 0))
		err(1, "prctl");
	outside = 1000;
	long result = plain_call(SYS_unshare, CLONE_NEWUSER, 0, 0, 0, 0);
	say_call("unshare", 0, SYS_unshare, result, 1, (unsigned long)CLONE_NEWUSER);
	write_text("/proc/self/setgroups", "deny");
	write_text("/proc/self/gid_map", "0 1000 1");
	write_text("/proc/self/uid_map", "0 1000 1");
	set(3, SYS_setresuid, 0, 0, 0);
	set(3, SYS_setresgid, 0, 0, 0);
	set(2, SYS_prctl, PR_CAPBSET_DROP, CAP_SYS_BOOT, 0);
	/* Not mapped. */
	set(1, SYS_setuid, 5, 0, 0);
	result = plain_call(SYS_unshare, CLONE_NEWUSER | CLONE_NEWUTS, 0, 0, 0, 0);
	say_call("again", 0, SYS_unshare, result, 1,
		 (unsigned long)(CLONE_NEWUSER | CLONE_NEWUTS));
	set(2, SYS_prctl, PR_CAPBSET_DROP, CAP_SYS_TIME, 0);
}

int main(int argc, char **argv)
{
	if (argc < 2)
		errx(2, "arguments");
	/* A test that hangs is no help. */
	alarm(20);
	setvbuf(stdout, NULL, _IOLBF, 0);
	const char *what = argv[1];
	if (!strcmp(what, "groups"))
		groups();
	else if (!strcmp(what, "capabilities"))
		capabilities();
	else if (!strcmp(what, "users"))
		users();
	else if (!strcmp(what, "int80"))
		by_int80();
	else if (!strcmp(what, "int80_16"))
		by_int80_16();
	else if (!strcmp(what, "thread"))
		thread();
	else if (!strcmp(what, "namespace"))
		namespace();
	else
		errx(2, "unknown case %s", what);
	say_who("self");
	printf("calls=%d\n", number);
	return 0;
}
