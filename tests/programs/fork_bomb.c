/* Fork bombs that end by themselves: `fork_bomb KIND`. Each process lives 20 s at the most, and one that may
 * not fork any more waits. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/wait.h>
#include <unistd.h>

static void fork_or_wait(int *is_child)
{
	pid_t child = fork();
	if (child < 0)
		for (;;)
			pause();
	*is_child = child == 0;
	if (child == 0)
		alarm(20);
}

/* Runs a copy of itself that lies in memory, under a name of its own. */
static void run_copy(char **arguments)
{
	char name[32];
	snprintf(name, sizeof name, "copy-%d", getpid());
	int own = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	int copy = memfd_create(name, MFD_CLOEXEC);
	while (sendfile(copy, own, NULL, 1 << 20) > 0)
		;
	fexecve(copy, arguments, environ);
	_exit(1);
}

int main(int count, char **arguments)
{
	const char *kind = count > 1 ? arguments[1] : "";
	int is_child = 0;
	/* A group of its own, for the signal to the workers. */
	setpgid(0, 0);
	alarm(20);
	if (!strcmp(kind, "spread")) {
		for (;;)
			fork_or_wait(&is_child);
	}
	if (!strcmp(kind, "slow")) {
		for (;;) {
			fork_or_wait(&is_child);
			usleep(200000);
		}
	}
	if (!strcmp(kind, "wide")) {
		for (;;) {
			fork_or_wait(&is_child);
			if (is_child)
				for (;;)
					pause();
		}
	}
	if (!strcmp(kind, "chain")) {
		for (int generation = 0; generation < 1000; generation++) {
			fork_or_wait(&is_child);
			if (!is_child)
				_exit(0);
		}
		return 0;
	}
	if (!strcmp(kind, "anew")) {
		fork_or_wait(&is_child);
		execv(arguments[0], arguments);
	}
	if (!strcmp(kind, "renamed")) {
		for (int child = 0; child < 2; child++) {
			fork_or_wait(&is_child);
			if (is_child) {
				usleep(150000);
				run_copy(arguments);
			}
		}
		for (;;)
			pause();
	}
	if (!strcmp(kind, "workers")) {
		/* An honest server: 300 workers, forked ahead, that wait. */
		for (int worker = 0; worker < 300; worker++) {
			fork_or_wait(&is_child);
			if (is_child)
				for (;;)
					pause();
		}
		usleep(300000);
		kill(0, 15);
	}
	return 1;
}
