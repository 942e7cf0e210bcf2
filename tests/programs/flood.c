/* flood SECONDS [ROUNDS]: opens and closes a file on every processor for so long, and at least so
   often. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static double now(void)
{
	struct timespec time;
	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec + time.tv_nsec / 1e9;
}

static void work(int processor, double seconds, long least)
{
	long rounds = 0;
	double end = now() + seconds;
	cpu_set_t set;
	CPU_ZERO(&set);
	CPU_SET(processor, &set);
	sched_setaffinity(0, sizeof set, &set);
	do {
		for (int i = 0; i < 1000; i++)
			close(open("/dev/null", O_RDONLY));
		rounds += 1000;
	} while (now() < end || rounds < least);
}

int main(int argc, char **argv)
{
	double seconds = argc > 1 ? atof(argv[1]) : 1;
	long least = argc > 2 ? atol(argv[2]) : 0;
	long processors = sysconf(_SC_NPROCESSORS_ONLN);
	for (int i = 1; i < processors; i++)
		if (fork() == 0) {
			work(i, seconds, least);
			return 0;
		}
	work(0, seconds, least);
	while (wait(NULL) > 0)
		;
	return 0;
}
