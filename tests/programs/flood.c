/* flood SECONDS [ROUNDS [flags]]: copies a socket's descriptor and closes that on every processor for so long, and at
   least so often; or has the socket close on exec and not, which is less work for each event. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static double now(void)
{
	struct timespec time;
	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec + time.tv_nsec / 1e9;
}

static int original;

static void copy_and_close(void)
{
	close(dup(original));
}

static void set_flags(void)
{
	fcntl(original, F_SETFD, FD_CLOEXEC);
	fcntl(original, F_SETFD, 0);
}

static void work(int processor, double seconds, long least, void (*once)(void))
{
	long rounds = 0;
	double end = now() + seconds;
	cpu_set_t set;
	CPU_ZERO(&set);
	CPU_SET(processor, &set);
	sched_setaffinity(0, sizeof set, &set);
	do {
		for (int i = 0; i < 1000; i++)
			once();
		rounds += 1000;
	} while (now() < end || rounds < least);
}

int main(int argc, char **argv)
{
	double seconds = argc > 1 ? atof(argv[1]) : 1;
	long least = argc > 2 ? atol(argv[2]) : 0;
	void (*once)(void) = argc > 3 ? set_flags : copy_and_close;
	original = socket(AF_INET, SOCK_STREAM, 0);
	long processors = sysconf(_SC_NPROCESSORS_ONLN);
	for (int i = 1; i < processors; i++)
		if (fork() == 0) {
			work(i, seconds, least, once);
			return 0;
		}
	work(0, seconds, least, once);
	while (wait(NULL) > 0)
		;
	return 0;
}
