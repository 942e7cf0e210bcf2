/* sensor_sockets_ring CASE: connects, accepts and moves bytes by an io_uring; says what it did. */
#include "sensor_sockets_story.c"
#include <linux/io_uring.h>

/* Newer than some headers. */
enum { OP_BIND = 56, OP_LISTEN = 57 };

#define SHARED(type, pointer) ((_Atomic type *)(pointer))

static struct {
	int fd;
	unsigned setup;
	char *rings;
	struct io_uring_params params;
	struct io_uring_sqe *entries;
} queue;

/* What every request of the case is to have. */
static unsigned char how;
/* Use the registered file of the same number instead of the descriptor. */
static int fixed;

static void set_up(unsigned flags)
{
	queue.params = (struct io_uring_params){ .flags = flags, .sq_thread_idle = 50 };
	queue.setup = flags;
	queue.fd = MUST(syscall(SYS_io_uring_setup, 8, &queue.params));
	size_t bytes = queue.params.cq_off.cqes + queue.params.cq_entries * sizeof(struct io_uring_cqe);
	queue.rings = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, queue.fd,
			   IORING_OFF_SQ_RING);
	queue.entries = mmap(NULL, 8 * sizeof *queue.entries, PROT_READ | PROT_WRITE,
			     MAP_SHARED | MAP_POPULATE, queue.fd, IORING_OFF_SQES);
	if (queue.rings == MAP_FAILED || queue.entries == MAP_FAILED)
		err(1, "mmap");
	/* An io_uring's threads share the descriptor table. */
	shared = 1;
}

/* Runs one request to its end; its result. */
static long run(struct io_uring_sqe request)
{
	struct io_sqring_offsets *sq = &queue.params.sq_off;
	struct io_cqring_offsets *cq = &queue.params.cq_off;
	unsigned tail = *SHARED(unsigned, queue.rings + sq->tail), at = tail & 7;
	request.flags |= how | (fixed ? IOSQE_FIXED_FILE : 0);
	queue.entries[at] = request;
	((unsigned *)(queue.rings + sq->array))[at] = at;
	*SHARED(unsigned, queue.rings + sq->tail) = tail + 1;
	long result = 0;
	for (int more = 1, submit = 1; more; submit = 0) {
		unsigned flags = IORING_ENTER_GETEVENTS;
		if (*SHARED(unsigned, queue.rings + sq->flags) & IORING_SQ_NEED_WAKEUP)
			flags |= IORING_ENTER_SQ_WAKEUP;
		MUST(syscall(SYS_io_uring_enter, queue.fd, submit, 1, flags, NULL, 0L));
		unsigned head = *SHARED(unsigned, queue.rings + cq->head);
		for (; head != *SHARED(unsigned, queue.rings + cq->tail); head++) {
			struct io_uring_cqe *done = (struct io_uring_cqe *)(queue.rings + cq->cqes) +
						    (head & (queue.params.cq_entries - 1));
			if (!(done->flags & IORING_CQE_F_NOTIF))
				result = done->res;
			more = done->flags & IORING_CQE_F_MORE;
		}
		*SHARED(unsigned, queue.rings + cq->head) = head;
	}
	return result;
}

static long ok(long result)
{
	if (result < 0) {
		errno = -result;
		err(1, "io_uring");
	}
	return result;
}

/* A request for a descriptor, or for the registered file of its number. */
static long on(int opcode, int fd, const void *at, unsigned length)
{
	int is_file_call = opcode == IORING_OP_READ || opcode == IORING_OP_WRITE ||
			   opcode == IORING_OP_READV || opcode == IORING_OP_WRITEV;
	return ok(run((struct io_uring_sqe){ .opcode = opcode, .fd = fd, .addr = (unsigned long)at,
					     .len = length, .off = is_file_call ? -1ULL : 0 }));
}

static void ring_sent(int fd, long result)
{
	ring = 1;
	sent(0, fd, result);
	ring = 0;
}

static void ring_received(int fd, long result)
{
	ring = 1;
	received(0, fd, result);
	ring = 0;
}

static void ring_connect(const char *family)
{
	int waiting = listener(family);
	Address at = name_of(waiting);
	int here = t_socket(at.any.sa_family, SOCK_STREAM, 0);
	long result = ok(run((struct io_uring_sqe){ .opcode = IORING_OP_CONNECT, .fd = here,
						   .addr = (unsigned long)&at.any, .off = at.length }));
	ring = 1;
	connected(0, here, &at, result);
	ring = 0;
	t_accept(waiting);
}

static void connect4(void) { set_up(0); ring_connect("4"); }
static void connect6(void) { set_up(0); ring_connect("6"); }
static void connect_async(void) { set_up(0); how = IOSQE_ASYNC; ring_connect("4"); }
static void connect_thread(void) { set_up(IORING_SETUP_SQPOLL); ring_connect("4"); }

/* UDP: no handshake, no record of one. */
static void connect_udp(void)
{
	Address at;
	set_up(0);
	udp_receiver("4", &at);
	int here = t_socket(AF_INET, SOCK_DGRAM, 0);
	ok(run((struct io_uring_sqe){ .opcode = IORING_OP_CONNECT, .fd = here,
				      .addr = (unsigned long)&at.any, .off = at.length }));
	ring = 1;
	connected(0, here, &at, 0);
	ring = 0;
}

/* Nobody listens. */
static void connect_refused(void)
{
	set_up(0);
	int waiting = listener("4");
	Address at = name_of(waiting);
	t_close(waiting);
	int here = t_socket(AF_INET, SOCK_STREAM, 0);
	long result = run((struct io_uring_sqe){ .opcode = IORING_OP_CONNECT, .fd = here,
						 .addr = (unsigned long)&at.any, .off = at.length });
	if (result != -ECONNREFUSED)
		errx(1, "connect: %ld", result);
	ring = 1;
	connected(0, here, &at, result);
	ring = 0;
}

/* Every way to send on one socket, then every way to receive on the other. */
static void move(int type)
{
	int ends[2];
	char bytes[3][64];
	struct iovec parts[2] = { { "one", 3 }, { "three", 5 } }, room[2] = { { bytes[0], 2 }, { bytes[1], 3 } };
	struct msghdr out = { .msg_iov = parts, .msg_iovlen = 2 }, in = { .msg_iov = room, .msg_iovlen = 2 };
	if (type)
		t_socketpair(type, ends);
	else
		tcp_pair("4", ends);
	int from = fixed ? 0 : ends[0], to = fixed ? 1 : ends[1];
	if (fixed) {
		int files[2] = { t_dup(ends[0]), t_dup(ends[1]) };
		MUST(syscall(SYS_io_uring_register, queue.fd, IORING_REGISTER_FILES, files, 2));
		for (int at = 0; at < 2; at++)
			t_close(files[at]);
	}
	ring_sent(ends[0], on(IORING_OP_SEND, from, "hello", 5));
	ring_sent(ends[0], on(IORING_OP_SENDMSG, from, &out, 1));
	ring_sent(ends[0], on(IORING_OP_WRITE, from, "write", 5));
	ring_sent(ends[0], on(IORING_OP_WRITEV, from, parts, 2));
	if (!type)
		ring_sent(ends[0], on(IORING_OP_SEND_ZC, from, "copied", 6));
	ring_received(ends[1], on(IORING_OP_RECV, to, bytes[2], 4));
	ring_received(ends[1], on(IORING_OP_RECVMSG, to, &in, 1));
	ring_received(ends[1], on(IORING_OP_READ, to, bytes[2], 7));
	ring_received(ends[1], on(IORING_OP_READV, to, room, 2));
}

static void moves(void) { set_up(0); move(0); }
static void moves_unix(void) { set_up(0); move(SOCK_STREAM); }
static void moves_fixed(void) { set_up(0); fixed = 1; move(0); }
static void moves_async(void) { set_up(0); how = IOSQE_ASYNC; move(0); }
static void moves_thread(void) { set_up(IORING_SETUP_SQPOLL); move(0); }
static void moves_thread_fixed(void) { set_up(IORING_SETUP_SQPOLL); fixed = 1; move(0); }

/* Each call alone, as the first on its socket. */
static void each_first(void)
{
	struct iovec part = { "hello", 5 };
	struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1 };
	int calls[] = { IORING_OP_SENDMSG, IORING_OP_WRITE, IORING_OP_WRITEV, IORING_OP_SEND_ZC,
			IORING_OP_SENDMSG_ZC };
	const void *from[] = { &message, "hello", &part, "hello", &message };
	unsigned lengths[] = { 1, 5, 1, 5, 1 };
	set_up(0);
	for (int at = 0; at < 5; at++) {
		int ends[2];
		tcp_pair("4", ends);
		ring_sent(ends[0], on(calls[at], ends[0], from[at], lengths[at]));
	}
}

/* Pipes and files are counted, and not told at the first send. */
static void no_sockets(void)
{
	int fds[2], file = some_file();
	char bytes[64];
	set_up(0);
	t_pipe(0, fds);
	ring_sent(fds[1], on(IORING_OP_WRITE, fds[1], "hello", 5));
	ring_sent(fds[1], on(IORING_OP_WRITE, fds[1], "again", 5));
	ring_received(fds[0], on(IORING_OP_READ, fds[0], bytes, 8));
	ring_received(file, on(IORING_OP_READ, file, bytes, 8));
}

/* What fails or moves nothing is not counted. */
static void fails(void)
{
	char byte;
	int fds[2];
	set_up(0);
	t_pipe(0, fds);
	int lone = t_socket(AF_INET, SOCK_STREAM, 0);
	if (run((struct io_uring_sqe){ .opcode = IORING_OP_SEND, .fd = lone, .addr = (unsigned long)"x",
				       .len = 1, .msg_flags = MSG_NOSIGNAL }) >= 0)
		errx(1, "nobody is there");
	if (run((struct io_uring_sqe){ .opcode = IORING_OP_WRITE, .fd = fds[0], .addr = (unsigned long)"x",
				       .len = 1 }) >= 0)
		errx(1, "the wrong end");
	t_close(fds[1]);
	if (on(IORING_OP_READ, fds[0], &byte, 1))
		errx(1, "the end");
}

/* A tainted process tells every send. */
static void tainted_moves(void)
{
	int ends[2];
	set_up(0);
	tcp_pair("4", ends);
	open_secret();
	for (int at = 0; at < 4; at++) {
		ring_sent(ends[0], on(IORING_OP_SEND, ends[0], "secret", 6));
		pause_ms(5);
	}
}

static void accepts(void)
{
	set_up(0);
	int waiting = listener("4");
	Address at = name_of(waiting);
	for (int times = 0; times < 2; times++) {
		how = times ? IOSQE_ASYNC : 0;
		MUST(t_connect(t_socket(AF_INET, SOCK_STREAM, 0), &at));
		int fd = ok(run((struct io_uring_sqe){ .opcode = IORING_OP_ACCEPT, .fd = waiting,
						      .accept_flags = times ? SOCK_CLOEXEC : 0 }));
		ring = 1;
		tell("accept", 0, fd, fd, "arguments=4294967295");
		ring = 0;
	}
}

static void sockets(void)
{
	int families[] = { AF_INET, AF_INET6, AF_UNIX };
	set_up(0);
	for (int at = 0; at < 3; at++) {
		how = at == 1 ? IOSQE_ASYNC : 0;
		int fd = ok(run((struct io_uring_sqe){ .opcode = IORING_OP_SOCKET, .fd = families[at],
						      .off = SOCK_STREAM }));
		ring = 1;
		tell("socket", 0, fd, fd, "arguments=");
		ring = 0;
	}
}

/* By kernels from 6.11 on. */
static void binds(void)
{
	Address at = loopback("4", 0);
	set_up(0);
	int fd = t_socket(AF_INET, SOCK_STREAM, 0);
	long result = run((struct io_uring_sqe){ .opcode = OP_BIND, .fd = fd,
						 .addr = (unsigned long)&at.any, .off = at.length });
	if (result == -EINVAL)
		return;
	ok(result);
	ring = 1;
	tell("bind", 0, fd, 0, "arguments=4294967295");
	ok(run((struct io_uring_sqe){ .opcode = OP_LISTEN, .fd = fd, .len = 3 }));
	tell("listen", 0, fd, 0, "arguments=4294967295");
	ring = 0;
}

static const struct told_case cases[] = {
	{ "connect4", connect4 }, { "connect6", connect6 }, { "connect_async", connect_async },
	{ "connect_thread", connect_thread }, { "connect_udp", connect_udp },
	{ "connect_refused", connect_refused }, { "moves", moves }, { "moves_unix", moves_unix },
	{ "moves_fixed", moves_fixed }, { "moves_async", moves_async },
	{ "moves_thread", moves_thread }, { "moves_thread_fixed", moves_thread_fixed },
	{ "each_first", each_first }, { "no_sockets", no_sockets }, { "fails", fails },
	{ "tainted_moves", tainted_moves }, { "accepts", accepts }, { "sockets", sockets },
	{ "binds", binds }, { NULL, NULL },
};

int main(int argc, char **argv)
{
	return run_case(cases, argc, argv);
}
