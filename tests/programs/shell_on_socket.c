/* A shell whose input and output are one TCP connection, by a choice of calls.
 *
 * shell_on_socket HOW 4|6 connect PORT [SCRIPT] | shell_on_socket HOW 4|6 accept
 *
 * With "accept" the chosen port is printed. Loopback only. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <err.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static union {
	struct sockaddr any;
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
} address;
static socklen_t length;

static void fill(const char *family, unsigned short port)
{
	if (*family == '6') {
		address.v6.sin6_family = AF_INET6;
		address.v6.sin6_addr = in6addr_loopback;
		address.v6.sin6_port = htons(port);
		length = sizeof address.v6;
	} else {
		address.v4.sin_family = AF_INET;
		address.v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
		address.v4.sin_port = htons(port);
		length = sizeof address.v4;
	}
}

static int listener(void)
{
	int fd = socket(address.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || bind(fd, &address.any, length) || listen(fd, 1))
		err(1, "listen");
	if (getsockname(fd, &address.any, &length))
		err(1, "getsockname");
	printf("%d\n", ntohs(address.any.sa_family == AF_INET6 ? address.v6.sin6_port
							       : address.v4.sin_port));
	fflush(stdout);
	return fd;
}

static void to_peer(int fd)
{
	if (connect(fd, &address.any, length))
		err(1, "connect");
}

static void check(int got, int wanted)
{
	if (got != wanted)
		err(1, "descriptor %d instead of %d", got, wanted);
}

static long high_dup2(int from, int to)
{
	long result;
	__asm__ volatile("syscall"
			 : "=a"(result)
			 : "a"(1L << 32 | SYS_dup2), "D"((long)from), "S"((long)to)
			 : "rcx", "r11", "memory");
	return result;
}

/* The 32-bit entry of a 64-bit kernel; pointers have to lie below 4 GiB. */
static long int80(long number, long a, long b, long c)
{
	long result;
	__asm__ volatile("int $0x80"
			 : "=a"(result)
			 : "a"(number), "b"(a), "c"(b), "d"(c)
			 : "r8", "r9", "r10", "r11", "memory");
	return (int)result;
}

/* Makes, connects and redirects a socket with 32-bit calls alone, from a process that then goes on as
 * a shell without another exec of ours in between. */
static void all_by_int80(int use_socketcall)
{
	unsigned *low = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
	if (low == MAP_FAILED)
		err(1, "mmap");
	memcpy(low + 16, &address, length);
	unsigned sockaddr = (unsigned)(unsigned long)(low + 16);
	long fd;
	if (use_socketcall) {
		low[0] = address.any.sa_family, low[1] = SOCK_STREAM, low[2] = 0;
		fd = int80(102, 1, (unsigned)(unsigned long)low, 0);
		low[0] = fd, low[1] = sockaddr, low[2] = length;
		check(int80(102, 3, (unsigned)(unsigned long)low, 0), 0);
	} else {
		fd = int80(359, address.any.sa_family, SOCK_STREAM, 0);
		check(int80(362, fd, sockaddr, length), 0);
	}
	for (int to = 0; to <= 2; to++)
		check(int80(63, fd, to, 0), to);
	check(int80(6, fd, 0, 0), 0);
}

/* Empties a copy of the descriptor table; the process's own stays as it is. */
static void *close_all(void *unused)
{
	if (syscall(SYS_close_range, 0, ~0U, 2 /* CLOSE_RANGE_UNSHARE */))
		abort();
	return unused;
}

static void redirect(const char *how, int fd)
{
	if (!strcmp(how, "dup2") || !strcmp(how, "child") || !strcmp(how, "late") ||
	    !strcmp(how, "linker") || !strcmp(how, "script")) {
		for (int to = 0; to <= 2; to++)
			check(dup2(fd, to), to);
	} else if (!strcmp(how, "reversed")) {
		for (int to = 2; to >= 0; to--)
			check(dup2(fd, to), to);
	} else if (!strcmp(how, "dup3")) {
		for (int to = 0; to <= 2; to++)
			check(dup3(fd, to, 0), to);
	} else if (!strcmp(how, "fdupfd")) {
		for (int to = 0; to <= 2; to++) {
			close(to);
			check(fcntl(fd, F_DUPFD, to), to);
		}
	} else if (!strcmp(how, "close_dup")) {
		for (int to = 0; to <= 2; to++) {
			close(to);
			check(dup(fd), to);
		}
	} else if (!strcmp(how, "high_number")) {
		for (int to = 0; to <= 2; to++)
			check(high_dup2(fd, to), to);
	} else if (!strcmp(how, "private_table")) {
		for (int to = 0; to <= 2; to++)
			check(dup2(fd, to), to);
		pthread_t thread;
		if (pthread_create(&thread, NULL, close_all, NULL))
			errx(1, "pthread_create");
		pthread_join(thread, NULL);
	} else {
		errx(2, "unknown way %s", how);
	}
}

int main(int argc, char **argv)
{
	if (argc < 4)
		errx(2, "arguments");
	const char *how = argv[1];
	int accepting = !strcmp(argv[3], "accept");
	fill(argv[2], accepting ? 0 : atoi(argv[4]));
	if (!strcmp(how, "child")) {
		/* The child connects and redirects before it execs; the parent waits. */
		pid_t child = fork();
		if (child < 0)
			err(1, "fork");
		if (child > 0) {
			waitpid(child, NULL, 0);
			return 0;
		}
	}
	int fd;
	if (!strncmp(how, "int80", 5)) {
		all_by_int80(!strcmp(how, "int80_socketcall"));
		execl("/bin/sh", "sh", NULL);
	}
	if (accepting) {
		fd = accept(listener(), NULL, NULL);
	} else if (!strcmp(how, "direct")) {
		/* The socket itself lands on 0. */
		close(0);
		fd = socket(address.any.sa_family, SOCK_STREAM, 0);
		check(fd, 0);
		to_peer(fd);
		check(dup2(fd, 1), 1);
		execl("/bin/sh", "sh", NULL);
	} else {
		fd = socket(address.any.sa_family, SOCK_STREAM, 0);
		if (strcmp(how, "late"))
			to_peer(fd);
	}
	if (fd < 0)
		err(1, "socket");
	redirect(how, fd);
	if (!strcmp(how, "late"))
		to_peer(fd);
	if (fd > 2)
		close(fd);
	if (!strcmp(how, "script"))
		execl("/bin/sh", "sh", argv[5], NULL);
	if (!strcmp(how, "linker"))
		execl("/lib64/ld-linux-x86-64.so.2", "x", "/bin/sh", NULL);
	execl("/bin/sh", "sh", NULL);
	err(1, "exec");
}
