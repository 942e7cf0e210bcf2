/* clone_into CGROUP COMMAND…: runs COMMAND in a child that clone3 puts into CGROUP. */
#define _GNU_SOURCE
#include <err.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	if (argc < 3)
		errx(2, "arguments");
	int cgroup = open(argv[1], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (cgroup < 0)
		err(1, "%s", argv[1]);
	struct clone_args args = {
		.flags = CLONE_INTO_CGROUP,
		.exit_signal = SIGCHLD,
		.cgroup = cgroup,
	};
	long child = syscall(SYS_clone3, &args, sizeof args);
	if (child < 0)
		err(1, "clone3");
	if (child == 0) {
		execvp(argv[2], argv + 2);
		err(1, "exec");
	}
	waitpid(child, NULL, 0);
	return 0;
}
