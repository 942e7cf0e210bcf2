/* snapshot DIRECTORY MODE: gets into a state that a snapshot is to find, says in DIRECTORY/truth what
 * /proc does not, and stays in it. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <err.h>
#include <fcntl.h>
#include <grp.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static FILE *truth;

static int checked(int result, const char *what)
{
	if (result < 0)
		err(1, "%s", what);
	return result;
}

static void *sleep_on(void *unused)
{
	while (pause())
		;
	return unused;
}

static void told(void)
{
	if (fclose(truth) || rename("truth.new", "truth"))
		err(1, "truth");
}

static void threads(int count)
{
	pthread_t thread;
	while (count-- > 0)
		if (pthread_create(&thread, NULL, sleep_on, NULL))
			errx(1, "pthread_create");
}

static unsigned long inode(int descriptor)
{
	struct stat found;
	checked(fstat(descriptor, &found), "fstat");
	return found.st_ino;
}

static void peers(int one, int other)
{
	fprintf(truth, "peer %d %lu\npeer %d %lu\n", one, inode(other), other, inode(one));
}

static int port(int descriptor)
{
	struct sockaddr_in found;
	socklen_t length = sizeof found;
	checked(getsockname(descriptor, (void *)&found, &length), "getsockname");
	return ntohs(found.sin_port);
}

static void tcp(int family)
{
	struct sockaddr_in v4 = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct sockaddr_in6 v6 = { .sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT };
	struct sockaddr *address = family == AF_INET ? (void *)&v4 : (void *)&v6;
	socklen_t length = family == AF_INET ? sizeof v4 : sizeof v6;
	int listener = checked(socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket");
	checked(bind(listener, address, length), "bind");
	checked(listen(listener, 4), "listen");
	v4.sin_port = v6.sin6_port = htons(port(listener));
	int client = checked(socket(family, SOCK_STREAM, 0), "socket");
	checked(connect(client, address, length), "connect");
	int server = checked(accept(listener, NULL, NULL), "accept");
	fprintf(truth, "tcp %d %d 0\n", listener, port(listener));
	fprintf(truth, "tcp %d %d %d\n", client, port(client), port(server));
	fprintf(truth, "tcp %d %d %d\n", server, port(server), port(client));
	if (family == AF_INET) {
		checked(dup2(client, 0), "dup2");
		checked(dup2(client, 1), "dup2");
	}
}

static void unix_sockets(void)
{
	int pair[2];
	checked(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), "socketpair");
	peers(pair[0], pair[1]);
	checked(socketpair(AF_UNIX, SOCK_DGRAM, 0, pair), "socketpair");
	peers(pair[0], pair[1]);
	struct sockaddr_un name = { .sun_family = AF_UNIX, .sun_path = "named" };
	int listener = checked(socket(AF_UNIX, SOCK_SEQPACKET, 0), "socket");
	checked(bind(listener, (void *)&name, sizeof name), "bind");
	checked(listen(listener, 4), "listen");
	int client = checked(socket(AF_UNIX, SOCK_SEQPACKET, 0), "socket");
	checked(connect(client, (void *)&name, sizeof name), "connect");
	int server = checked(accept(listener, NULL, NULL), "accept");
	peers(client, server);
	int early = checked(socket(AF_UNIX, SOCK_SEQPACKET, 0), "socket");
	checked(connect(early, (void *)&name, sizeof name), "connect");
	fprintf(truth, "peer %d 0\npeer %d 0\n", early, listener);
	/* Opened as a name, not as a socket. */
	checked(open("named", O_PATH), "named");
}

static void hold(void)
{
	int ends[2];
	tcp(AF_INET);
	tcp(AF_INET6);
	unix_sockets();
	checked(pipe2(ends, O_CLOEXEC), "pipe");
	checked(mkfifo("fifo", 0600), "mkfifo");
	checked(open("fifo", O_RDWR | O_CLOEXEC), "fifo");
	checked(open("/dev/null", O_RDONLY), "/dev/null");
	for (int count = 0; count < 150; count++)
		checked(dup(ends[0]), "dup");
}

static void hold_many(int count)
{
	int ends[2];
	struct rlimit limit = { count + 100, count + 100 };
	checked(setrlimit(RLIMIT_NOFILE, &limit), "setrlimit");
	checked(pipe(ends), "pipe");
	while (count-- > 0)
		checked(dup(ends[0]), "dup");
}

static void secrets(void)
{
	fprintf(truth, "read %d\n", checked(open(".aws/credentials", O_RDONLY), "credentials"));
	checked(open("ordinary", O_RDONLY), "ordinary");
}

static void drop(void)
{
	checked(setgroups(0, NULL), "setgroups");
	checked(setresgid(65534, 65533, 65532), "setresgid");
	checked(setresuid(65534, 65533, 65532), "setresuid");
}

static void children(int count)
{
	while (count-- > 0) {
		int child = checked(fork(), "fork");
		if (child == 0)
			sleep_on(NULL);
		fprintf(truth, "child %d\n", child);
	}
}

static void churn(void)
{
	told();
	signal(SIGCHLD, SIG_IGN);
	for (;;)
		if (fork() == 0)
			_exit(0);
}

int main(int argc, char **argv)
{
	if (argc < 3)
		errx(2, "arguments");
	checked(chdir(argv[1]), argv[1]);
	truth = fopen("truth.new", "we");
	if (!truth)
		err(1, "truth.new");
	const char *mode = argv[2];
	int number = argc > 3 ? atoi(argv[3]) : 0;
	if (!strcmp(mode, "hold"))
		hold();
	else if (!strcmp(mode, "hold-many"))
		hold_many(number);
	else if (!strcmp(mode, "secrets"))
		secrets();
	else if (!strcmp(mode, "write-secrets"))
		checked(open(".aws/credentials", O_WRONLY), "credentials");
	else if (!strcmp(mode, "drop"))
		drop();
	else if (!strcmp(mode, "threads"))
		threads(number);
	else if (!strcmp(mode, "children"))
		children(number);
	else if (!strcmp(mode, "churn"))
		churn();
	else if (!strcmp(mode, "leave")) {
		threads(3);
		told();
		pthread_exit(NULL);
	} else if (strcmp(mode, "wait"))
		errx(2, "%s", mode);
	told();
	sleep_on(NULL);
}
