/* Every way to exec, and what the new program finds.
 *
 * sensor_processes_exec HOW … PATH ARGV… execs PATH; run with any other words it tells the truth
 * about itself. */
#include "sensor_processes_truth.c"
#include <grp.h>
#include <linux/capability.h>
#include <pthread.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/xattr.h>

static void tell(char **argv)
{
	char link[4096] = "", name[16] = "";
	say_who("self");
	say_credentials("after");
	for (int fd = 0; fd < 3; fd++) {
		char key[4];
		snprintf(key, sizeof key, "fd%d", fd);
		say_object(key, fd);
	}
	int executable = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	if (executable < 0 || readlink("/proc/self/exe", link, sizeof link - 1) < 0)
		err(1, "/proc/self/exe");
	say_object("executable", executable);
	prctl(PR_GET_NAME, name);
	const char *given[] = { (const char *)getauxval(AT_EXECFN), NULL };
	const char *path[] = { link, NULL };
	const char *comm[] = { name, NULL };
	say_bytes("given", given);
	say_bytes("path", path);
	say_bytes("comm", comm);
	say_bytes("argv", (const char *const *)argv);
	say_bytes("environment", (const char *const *)environ);
}

static void run(const char *path, char **argv)
{
	say_credentials("before");
	fflush(stdout);
	execv(path, argv);
	err(1, "%s", path);
}

static void become_user(void)
{
	if (setgroups(0, NULL) || setresgid(1000, 1000, 1000) || setresuid(1000, 1000, 1000))
		err(1, "uid 1000");
}

/* cap_net_raw+ep */
static void give_capability(const char *path)
{
	struct vfs_cap_data data = {
		.magic_etc = VFS_CAP_REVISION_2 | VFS_CAP_FLAGS_EFFECTIVE,
		.data[0].permitted = 1 << CAP_NET_RAW,
	};
	if (setxattr(path, "security.capability", &data, sizeof data, 0))
		err(1, "%s", path);
}

static void *run_there(void *argv)
{
	printf("caller=%d\n", own_tid());
	run(*(char **)argv, (char **)argv + 1);
	return NULL;
}

static void run_in_thread(char **argv)
{
	pthread_t thread;
	if (pthread_create(&thread, NULL, run_there, argv) || pthread_join(thread, NULL))
		errx(1, "a thread");
}

static void run_descriptor(int fd, char **argv)
{
	say_credentials("before");
	fflush(stdout);
	fexecve(fd, argv, environ);
	err(1, "fexecve");
}

static int open_program(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		err(1, "%s", path);
	return fd;
}

static int in_memory(const char *name, const char *path)
{
	char block[65536];
	ssize_t length;
	int from = open_program(path), to = memfd_create(name, MFD_CLOEXEC);
	while ((length = read(from, block, sizeof block)) > 0)
		if (write(to, block, length) != length)
			err(1, "memfd");
	return to;
}

static void run_deleted(char **argv)
{
	char path[32];
	int fd = open_program(argv[0]);
	if (unlink(argv[0]))
		err(1, "%s", argv[0]);
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	run(path, argv + 1);
}

/* COUNT variables, and after them those that are given. */
static void run_with_environment(const char *self, int count, char **last)
{
	char *argv[] = { (char *)self, "who", NULL };
	int given = 0;
	while (last[given])
		given++;
	char **variables = calloc(count + given + 1, sizeof *variables);
	for (int i = 0; i < count; i++)
		if (asprintf(&variables[i], "VARIABLE%05d=%d", i, i) < 0)
			err(1, "memory");
	memcpy(variables + count, last, given * sizeof *last);
	say_credentials("before");
	fflush(stdout);
	execve(self, argv, variables);
	err(1, "exec");
}

/* Execs that fail, each in its own way. */
static void fail(const char *directory)
{
	char path[4096], *argv[] = { "x", NULL };
	snprintf(path, sizeof path, "%s/nothing", directory);
	execv(path, argv);
	execv(directory, argv);
	/* No format that the kernel knows. */
	snprintf(path, sizeof path, "%s/text", directory);
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0755);
	if (fd < 0 || write(fd, "text\n", 5) != 5)
		err(1, "%s", path);
	close(fd);
	execv(path, argv);
	printf("error=%d\n", errno);
	plain_call(SYS_execve, (unsigned long)"/proc/self/exe", 1, 0, 0, 0);
}

int main(int argc, char **argv)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	const char *how = argc < 3 ? "" : argv[1];
	char **rest = argv + 2;
	if (!strcmp(how, "run")) {
		run(rest[0], rest + 1);
	} else if (!strcmp(how, "in")) {
		if (chdir(rest[0]))
			err(1, "%s", rest[0]);
		run(rest[1], rest + 2);
	} else if (!strcmp(how, "as_user")) {
		become_user();
		run(rest[0], rest + 1);
	} else if (!strcmp(how, "as_user_without_new_privileges")) {
		become_user();
		if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
			err(1, "prctl");
		run(rest[0], rest + 1);
	} else if (!strcmp(how, "with_capability")) {
		give_capability(rest[0]);
		become_user();
		run(rest[0], rest + 1);
	} else if (!strcmp(how, "thread")) {
		run_in_thread(rest);
	} else if (!strcmp(how, "descriptor")) {
		run_descriptor(open_program(rest[0]), rest + 1);
	} else if (!strcmp(how, "memfd")) {
		run_descriptor(in_memory(rest[0], rest[1]), rest + 2);
	} else if (!strcmp(how, "deleted")) {
		run_deleted(rest);
	} else if (!strcmp(how, "environment")) {
		run_with_environment(rest[0], atoi(rest[1]), rest + 2);
	} else if (!strcmp(how, "standard_streams")) {
		/* 0 closes on exec, 2 is closed. */
		fcntl(0, F_SETFD, FD_CLOEXEC);
		close(2);
		run(rest[0], rest + 1);
	} else if (!strcmp(how, "fail")) {
		fail(rest[0]);
		tell(argv);
	} else {
		tell(argv);
	}
	return 0;
}
