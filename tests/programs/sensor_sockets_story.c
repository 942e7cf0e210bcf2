/* What the sensor_sockets programs share: calls that tell what they did. Included, not compiled.
 *
 * A line is `WHAT key=value …`; it says what the kernel says of the descriptor after the call. Lines
 * are kept in memory and written to standard output at the end, so that telling is not traffic. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#pragma GCC diagnostic ignored "-Wunused-function"
#pragma GCC diagnostic ignored "-Wunused-variable"

/* A system call's result, or its error below zero. */
#define RESULT(call) ({ \
	long result_ = (call); \
	result_ < 0 ? -(long)errno : result_; \
})
#define MUST(call) ({ \
	long must_ = (call); \
	if (must_ < 0) \
		err(1, "line %d: %s", __LINE__, #call); \
	must_; \
})

typedef struct {
	union {
		struct sockaddr any;
		struct sockaddr_in v4;
		struct sockaddr_in6 v6;
		struct sockaddr_un path;
	};
	socklen_t length;
} Address;

struct told_case {
	const char *name;
	void (*run)(void);
};

static char story[8 << 20];
static size_t told;
static pthread_mutex_t telling = PTHREAD_MUTEX_INITIALIZER;
static int tainted, ring, shared, abi;

static unsigned long now(void)
{
	struct timespec time;
	clock_gettime(CLOCK_BOOTTIME, &time);
	return time.tv_sec * 1000000000UL + time.tv_nsec;
}

static void pause_ms(long ms)
{
	nanosleep(&(struct timespec){ 0, ms * 1000000 }, NULL);
}

static void add_list(const char *format, va_list list)
{
	int count = vsnprintf(story + told, sizeof story - told, format, list);
	if (count < 0 || (size_t)count >= sizeof story - told)
		errx(1, "too long a story");
	told += count;
}

static void __attribute__((format(printf, 1, 2))) add(const char *format, ...)
{
	va_list list;
	va_start(list, format);
	add_list(format, list);
	va_end(list);
}

static void add_address(const char *key, const Address *of)
{
	unsigned char bytes[16] = { 0 };
	unsigned short port = 0;
	if (of && of->any.sa_family == AF_INET) {
		memcpy(bytes, &of->v4.sin_addr, 4);
		port = ntohs(of->v4.sin_port);
	} else if (of && of->any.sa_family == AF_INET6) {
		memcpy(bytes, &of->v6.sin6_addr, 16);
		port = ntohs(of->v6.sin6_port);
	}
	add(" %s=", key);
	for (int at = 0; at < 16; at++)
		add("%02x", bytes[at]);
	add("-%u", port);
}

static int option(int fd, int name)
{
	int value = -1;
	socklen_t length = sizeof value;
	MUST(getsockopt(fd, SOL_SOCKET, name, &value, &length));
	return value;
}

static void describe(int fd)
{
	struct stat at;
	if (fd < 0 || fstat(fd, &at)) {
		add(" mode=0");
		return;
	}
	add(" inode=%lu device=%u rdev=%u mode=%u links=%lu owner=%u cloexec=%d", at.st_ino,
	    major(at.st_dev) << 20 | minor(at.st_dev), major(at.st_rdev) << 20 | minor(at.st_rdev),
	    at.st_mode, at.st_nlink, at.st_uid, fcntl(fd, F_GETFD) & FD_CLOEXEC);
	if (!S_ISSOCK(at.st_mode))
		return;
	int family = option(fd, SO_DOMAIN), protocol = option(fd, SO_PROTOCOL);
	Address local = { .length = sizeof local }, remote = { .length = sizeof remote };
	getsockname(fd, &local.any, &local.length);
	int connected = !getpeername(fd, &remote.any, &remote.length);
	/* A netlink socket always has a peer, the kernel, and never that state. */
	int state = option(fd, SO_ACCEPTCONN) ? 10 : connected && family != AF_NETLINK ? 1 : 7;
	struct tcp_info info;
	socklen_t length = sizeof info;
	if (protocol == IPPROTO_TCP && !getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length))
		state = info.tcpi_state;
	add(" family=%d type=%d protocol=%d state=%d", family, option(fd, SO_TYPE), protocol, state);
	int internet = family == AF_INET || family == AF_INET6;
	add_address("local", internet ? &local : NULL);
	add_address("remote", internet && connected ? &remote : NULL);
}

/* One line; `fd` is the descriptor that is described. */
static void __attribute__((format(printf, 5, 6)))
tell(const char *what, long call, int fd, long result, const char *format, ...)
{
	unsigned long at = now();
	pthread_mutex_lock(&telling);
	add("%s pid=%d tid=%ld uid=%d euid=%d call=%ld abi=%d ring=%d tainted=%d shared=%d"
	    " fd=%d result=%ld at=%lu", what, getpid(), syscall(SYS_gettid), getuid(), geteuid(),
	    call, abi, ring, tainted, shared, fd, result, at);
	describe(fd);
	add(" ");
	va_list list;
	va_start(list, format);
	add_list(format, list);
	va_end(list);
	add("\n");
	pthread_mutex_unlock(&telling);
}

/* The first line of a process. */
static void begin(void)
{
	char stat[1024];
	int fd = MUST(open("/proc/self/stat", O_RDONLY));
	long length = MUST(read(fd, stat, sizeof stat - 1));
	close(fd);
	stat[length] = 0;
	unsigned long ticks;
	/* The fields from the third on; the start is the 22nd. */
	if (sscanf(strrchr(stat, ')') + 1, " %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s"
		   " %*s %*s %*s %*s %*s %*s %lu", &ticks) != 1)
		errx(1, "stat");
	told = 0;
	tell("begin", 0, -1, 0, "ticks=%lu", ticks);
}

static void write_out(void)
{
	for (size_t at = 0; at < told;)
		at += MUST(syscall(SYS_write, 1, story + at, told - at));
	told = 0;
}

/* A child with a story of its own. */
static pid_t forked(void)
{
	pid_t child = MUST(fork());
	if (!child)
		begin();
	return child;
}

static void finish(pid_t child)
{
	if (!child) {
		write_out();
		_exit(0);
	}
	int status;
	MUST(waitpid(child, &status, 0));
	if (status && !(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL))
		errx(1, "a child failed");
}

static Address loopback(const char *how, unsigned short port)
{
	Address made = { 0 };
	if (*how == '4') {
		made.v4.sin_family = AF_INET;
		made.v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
		made.v4.sin_port = htons(port);
		made.length = sizeof made.v4;
	} else {
		made.v6.sin6_family = AF_INET6;
		inet_pton(AF_INET6, *how == 'm' ? "::ffff:127.0.0.1" : "::1", &made.v6.sin6_addr);
		made.v6.sin6_port = htons(port);
		made.length = sizeof made.v6;
	}
	return made;
}

static Address unix_address(const char *name, int abstract)
{
	Address made = { .path.sun_family = AF_UNIX };
	int count = snprintf(made.path.sun_path + abstract, sizeof made.path.sun_path - 1,
			     "%s-%d", name, getpid());
	made.length = offsetof(struct sockaddr_un, sun_path) + abstract + count + !abstract;
	return made;
}

static Address name_of(int fd)
{
	Address found = { .length = sizeof found };
	MUST(getsockname(fd, &found.any, &found.length));
	return found;
}

static int t_socket(int family, int type, int protocol)
{
	int fd = MUST(syscall(SYS_socket, family, type, protocol));
	tell("socket", SYS_socket, fd, fd, "arguments=");
	return fd;
}

static long t_bind(int fd, const Address *to)
{
	long result = RESULT(syscall(SYS_bind, fd, &to->any, to->length));
	tell("bind", SYS_bind, fd, result, "arguments=%d", fd);
	return result;
}

static long t_listen(int fd, int backlog)
{
	long result = RESULT(syscall(SYS_listen, fd, backlog));
	tell("listen", SYS_listen, fd, result, "arguments=%d", fd);
	return result;
}

/* Adds an address to the line that was told last. */
static void also(const char *key, const Address *of)
{
	told--;
	add_address(key, of);
	add("\n");
}

/* Tells of a connect, and of the TCP socket that began it. */
static void connected(long call, int fd, const Address *to, long result)
{
	tell("connect", call, fd, result, "arguments=%u", ring ? ~0U : (unsigned)fd);
	also("to", to);
	int began = result == 0 || result == -EINPROGRESS || result == -ECONNREFUSED;
	if (began && option(fd, SO_PROTOCOL) == IPPROTO_TCP) {
		tell("connecting", 0, fd, 0, "arguments=7,2");
		also("to", to);
	}
}

static long t_connect(int fd, const Address *to)
{
	long result = RESULT(syscall(SYS_connect, fd, &to->any, to->length));
	connected(SYS_connect, fd, to, result);
	return result;
}

static int t_accept(int listener)
{
	int fd = MUST(syscall(SYS_accept, listener, NULL, NULL));
	tell("accept", SYS_accept, fd, fd, "arguments=%d", listener);
	return fd;
}

static int t_accept4(int listener, int flags)
{
	int fd = MUST(syscall(SYS_accept4, listener, NULL, NULL, flags));
	tell("accept", SYS_accept4, fd, fd, "arguments=%d", listener);
	return fd;
}

static void t_close(int fd)
{
	long result = RESULT(syscall(SYS_close, fd));
	tell("close", SYS_close, fd, result, "arguments=%d", fd);
}

static int t_dup2(int from, int to)
{
	int fd = MUST(syscall(SYS_dup2, from, to));
	tell("dup", SYS_dup2, fd, fd, "arguments=%d", from);
	return fd;
}

static int t_dup(int from)
{
	int fd = MUST(syscall(SYS_dup, from));
	tell("dup", SYS_dup, fd, fd, "arguments=%d", from);
	return fd;
}

static void t_socketpair(int type, int ends[2])
{
	MUST(syscall(SYS_socketpair, AF_UNIX, type, 0, ends));
	for (int at = 0; at < 2; at++)
		tell("socketpair", SYS_socketpair, ends[at], 0, "arguments=%d,%d", ends[at], ends[!at]);
}

static void t_pipe(int flags, int ends[2])
{
	MUST(syscall(SYS_pipe2, ends, flags));
	for (int at = 0; at < 2; at++)
		tell("pipe", SYS_pipe2, ends[at], 0, "arguments=%d,%d", ends[at], ends[!at]);
}

/* Tells that `times` calls each moved `result` bytes, if they did. */
static long moved_times(const char *what, long call, int fd, long result, long bytes, int times)
{
	if (result > 0)
		tell(what, call, fd, result, "bytes=%ld times=%d", bytes, times);
	else
		tell("nothing", call, fd, result, "bytes=0");
	return result;
}

static long sent(long call, int fd, long result)
{
	return moved_times("sent", call, fd, result, result, 1);
}

static long received(long call, int fd, long result)
{
	return moved_times("received", call, fd, result, result, 1);
}

/* A send that names its receiver. */
static long sent_to(long call, int fd, long result, const Address *to)
{
	sent(call, fd, result);
	also("given", to);
	return result;
}

static long t_send(int fd, const char *text)
{
	return sent(SYS_sendto, fd, RESULT(syscall(SYS_sendto, fd, text, strlen(text), MSG_NOSIGNAL, NULL, 0)));
}

static long t_sendto(int fd, const char *text, const Address *to)
{
	return sent_to(SYS_sendto, fd,
		       RESULT(syscall(SYS_sendto, fd, text, strlen(text), 0, &to->any, to->length)), to);
}

static long t_recv(int fd)
{
	static char bytes[1 << 17];
	return received(SYS_recvfrom, fd,
			RESULT(syscall(SYS_recvfrom, fd, bytes, sizeof bytes, 0, NULL, NULL)));
}

static long t_write(int fd, const char *text)
{
	return sent(SYS_write, fd, RESULT(syscall(SYS_write, fd, text, strlen(text))));
}

static long t_read(int fd)
{
	static char bytes[1 << 17];
	return received(SYS_read, fd, RESULT(syscall(SYS_read, fd, bytes, sizeof bytes)));
}

/* A listening socket at a free port. */
static int listener(const char *how)
{
	Address at = loopback(how, 0);
	int fd = t_socket(at.any.sa_family, SOCK_STREAM, 0);
	MUST(t_bind(fd, &at));
	MUST(t_listen(fd, 4));
	return fd;
}

/* Both ends of a TCP connection; the listener is closed. */
static void tcp_pair(const char *how, int ends[2])
{
	int waiting = listener(how);
	Address at = name_of(waiting);
	ends[0] = t_socket(at.any.sa_family, SOCK_STREAM, 0);
	MUST(t_connect(ends[0], &at));
	ends[1] = t_accept(waiting);
	t_close(waiting);
}

/* A UDP socket bound to a free port. */
static int udp_receiver(const char *how, Address *at)
{
	*at = loopback(how, 0);
	int fd = t_socket(at->any.sa_family, SOCK_DGRAM, 0);
	MUST(t_bind(fd, at));
	*at = name_of(fd);
	return fd;
}

/* A file of eight bytes without a name. */
static int some_file(void)
{
	char name[] = "/tmp/sensor-sockets-XXXXXX";
	int fd = MUST(mkstemp(name));
	MUST(unlink(name));
	MUST(t_write(fd, "12345678"));
	MUST(lseek(fd, 0, SEEK_SET));
	return fd;
}

/* A process that has opened a secret. */
static void open_secret(void)
{
	int fd = MUST(open("/etc/shadow", O_RDONLY));
	tainted = 1;
	t_close(fd);
}

/* Runs the case that the argument names. */
static int run_case(const struct told_case *cases, int argc, char **argv)
{
	if (argc != 2)
		errx(2, "arguments");
	for (; cases->name; cases++) {
		if (strcmp(cases->name, argv[1]))
			continue;
		begin();
		cases->run();
		write_out();
		return 0;
	}
	errx(2, "no case %s", argv[1]);
}
