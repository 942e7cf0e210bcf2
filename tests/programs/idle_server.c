/* idle_server PROCESSES CALLS EVENTS: so many processes which together make so many calls a second that nobody
   watches, and so many events (a socket is made and closed: two records). Says so when all are there, and
   ends all of them when its input does. With no calls and no events they sleep. */
#define _GNU_SOURCE
#include <err.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* How often each of them wakes in a second. */
#define WAKES 10

static void serve(double calls, double events, long number, long processes)
{
	struct timespec next;
	double calls_due = 0, events_due = (double)number / processes;
	clock_gettime(CLOCK_MONOTONIC, &next);
	/* Not all at once. */
	next.tv_nsec = number * (1000000000L / WAKES) / processes;
	for (;;) {
		next.tv_nsec += 1000000000L / WAKES;
		if (next.tv_nsec >= 1000000000L) {
			next.tv_sec++;
			next.tv_nsec -= 1000000000L;
		}
		clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &next, NULL);
		for (calls_due += calls / WAKES; calls_due >= 1; calls_due--)
			syscall(SYS_getppid);
		for (events_due += events / WAKES; events_due >= 1; events_due--)
			close(socket(AF_INET, SOCK_STREAM, 0));
	}
}

int main(int count, char **arguments)
{
	if (count != 4)
		errx(2, "idle_server PROCESSES CALLS EVENTS");
	long processes = atol(arguments[1]);
	double calls = atof(arguments[2]) / processes, events = atof(arguments[3]) / processes / 2;
	for (long number = 0; number < processes; number++) {
		pid_t child = fork();
		if (child < 0)
			err(1, "process %ld", number);
		if (child == 0) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			while (calls + events == 0)
				pause();
			serve(calls, events, number, processes);
		}
	}
	printf("ready\n");
	fflush(stdout);
	char byte;
	while (read(0, &byte, 1) > 0)
		;
	return 0;
}
