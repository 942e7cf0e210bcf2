/* How processes begin and end: sensor_processes_life CASE [CGROUP]. */
#include "sensor_processes_truth.c"
#include <linux/sched.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <sys/mman.h>

static char *const nothing[] = { "true", NULL };

static int clone_with(unsigned long flags)
{
	fflush(stdout);
	int child = plain_call(SYS_clone, flags | SIGCHLD, 0, 0, 0, 0);
	if (child < 0)
		errx(1, "clone: %d", child);
	return child;
}

static void by_vfork(void)
{
	int child = vfork();
	if (child == 0) {
		execv("/bin/true", nothing);
		_exit(1);
	}
	say_ended("child", child);
}

static void by_spawn(void)
{
	int child;
	if (posix_spawn(&child, "/bin/true", NULL, NULL, nothing, environ))
		errx(1, "posix_spawn");
	say_ended("child", child);
}

static void into_cgroup(const char *cgroup)
{
	struct stat made;
	if (mkdir(cgroup, 0755) || stat(cgroup, &made))
		err(1, "%s", cgroup);
	struct clone_args args = {
		.flags = CLONE_INTO_CGROUP,
		.exit_signal = SIGCHLD,
		.cgroup = open(cgroup, O_RDONLY | O_DIRECTORY | O_CLOEXEC),
	};
	int child = syscall(SYS_clone3, &args, sizeof args);
	if (child == 0)
		_exit(0);
	printf("cgroup=%lu\n", made.st_ino);
	say_ended("child", child);
	if (rmdir(cgroup))
		err(1, "%s", cgroup);
}

/* The child of one in the middle has the first as its parent. */
static void for_the_parent(void)
{
	int *shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int middle = start_child();
	if (middle == 0) {
		say_who("middle");
		int child = clone_with(CLONE_PARENT);
		if (child == 0)
			_exit(0);
		*shared = child;
		_exit(0);
	}
	say_ended("middle", middle);
	say_ended("child", *shared);
}

static void sharing_files(void)
{
	int child = clone_with(CLONE_FILES);
	if (child == 0)
		_exit(0);
	say_ended("child", child);
}

static void *do_nothing(void *unused)
{
	return unused;
}

/* Threads, and a process that a thread forks. */
static void *fork_here(void *unused)
{
	say_who("thread");
	int child = start_child();
	if (child == 0)
		_exit(0);
	say_ended("child", child);
	return unused;
}

static void run_thread(void *(*function)(void *))
{
	pthread_t thread;
	if (pthread_create(&thread, NULL, function, NULL) || pthread_join(thread, NULL))
		errx(1, "a thread");
}

static void threads(void)
{
	for (int i = 0; i < 8; i++)
		run_thread(do_nothing);
	run_thread(fork_here);
}

/* One pid, four processes. */
static void reuse(void)
{
	int pid = start_child();
	if (pid == 0)
		_exit(0);
	say_ended("0", pid);
	for (int i = 1; i < 4; i++) {
		/* Not within one tick of the clock. */
		usleep(20000);
		struct clone_args args = {
			.exit_signal = SIGCHLD,
			.set_tid = (unsigned long)&pid,
			.set_tid_size = 1,
		};
		int child = syscall(SYS_clone3, &args, sizeof args);
		if (child == 0)
			_exit(0);
		if (child != pid)
			err(1, "clone3: %d instead of %d", child, pid);
		char key[4];
		snprintf(key, sizeof key, "%d", i);
		say_ended(key, pid);
	}
}

static void burst(void)
{
	printf("children=");
	for (int i = 0; i < 300; i++) {
		int child = start_child();
		if (child == 0)
			_exit(0);
		printf(i ? " %d" : "%d", child);
		if (i % 2)
			while (waitpid(-1, NULL, 0) > 0)
				;
	}
	printf("\n");
}

static void *open_and_open(void *unused)
{
	for (;;) {
		close(open("/dev/null", O_RDONLY | O_CLOEXEC));
		/* The ring has to hold it. */
		usleep(50);
	}
	return unused;
}

static void killed(void)
{
	int child = start_child();
	if (child == 0) {
		pthread_t thread;
		for (int i = 0; i < 3; i++)
			pthread_create(&thread, NULL, open_and_open, NULL);
		open_and_open(NULL);
	}
	usleep(50000);
	if (kill(child, SIGKILL))
		err(1, "kill");
	say_ended("child", child);
}

static void *outlive(void *leader)
{
	unsigned long long start;
	while (stat_of(*(int *)leader, &start) != 'Z')
		usleep(1000);
	usleep(30000);
	say_who("last");
	printf("alive=%llu\n", boot_time());
	fflush(stdout);
	syscall(SYS_exit, 0);
	return NULL;
}

static void leader_first(void)
{
	static int leader;
	pthread_t thread;
	leader = getpid();
	if (pthread_create(&thread, NULL, outlive, &leader))
		errx(1, "a thread");
	syscall(SYS_exit, 0);
}

static void foreign(void)
{
	if (unshare(CLONE_NEWPID))
		err(1, "unshare");
	int child = start_child();
	if (child == 0) {
		if (getpid() != 1)
			errx(1, "not the first");
		say_who("child");
		int grandchild = start_child();
		if (grandchild == 0) {
			say_who("grandchild");
			fflush(stdout);
			execv("/bin/true", nothing);
			_exit(1);
		}
		waitpid(grandchild, NULL, 0);
		_exit(0);
	}
	say_ended("child", child);
}

int main(int argc, char **argv)
{
	if (argc < 2)
		errx(2, "arguments");
	/* A test that hangs is no help. */
	alarm(20);
	setvbuf(stdout, NULL, _IOLBF, 0);
	const char *what = argv[1];
	say_who("self");
	if (!strcmp(what, "fork")) {
		int child = start_child();
		if (child == 0)
			_exit(7);
		say_ended("child", child);
	} else if (!strcmp(what, "vfork")) {
		by_vfork();
	} else if (!strcmp(what, "spawn")) {
		by_spawn();
	} else if (!strcmp(what, "into_cgroup")) {
		into_cgroup(argv[2]);
	} else if (!strcmp(what, "for_the_parent")) {
		for_the_parent();
	} else if (!strcmp(what, "sharing_files")) {
		sharing_files();
	} else if (!strcmp(what, "threads")) {
		threads();
	} else if (!strcmp(what, "reuse")) {
		reuse();
	} else if (!strcmp(what, "burst")) {
		burst();
	} else if (!strcmp(what, "killed")) {
		killed();
	} else if (!strcmp(what, "leader_first")) {
		leader_first();
	} else if (!strcmp(what, "foreign")) {
		foreign();
	} else {
		errx(2, "unknown case %s", what);
	}
	return 0;
}
