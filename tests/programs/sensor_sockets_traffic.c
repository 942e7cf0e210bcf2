/* sensor_sockets_traffic CASE: moves bytes by a choice of calls; says how many. */
#include "sensor_sockets_story.c"
#include <linux/close_range.h>
#include <signal.h>
#include <sys/sendfile.h>

static void writes(void)
{
	int ends[2], file = some_file();
	struct iovec parts[2] = { { "one", 3 }, { "three", 5 } };
	tcp_pair("4", ends);
	MUST(t_write(ends[0], "hello"));
	sent(SYS_writev, ends[0], MUST(syscall(SYS_writev, ends[0], parts, 2)));
	sent(SYS_pwritev2, ends[1], MUST(syscall(SYS_pwritev2, ends[1], parts, 2, -1L, -1L, 0)));
	sent(SYS_pwrite64, file, MUST(syscall(SYS_pwrite64, file, "four", 4L, 100L)));
	sent(SYS_pwritev, file, MUST(syscall(SYS_pwritev, file, parts, 2, 200L, 0L)));
	t_close(file);
	t_close(ends[0]);
	t_close(ends[1]);
}

static void sends(void)
{
	int ends[2], on = 1;
	struct iovec parts[2] = { { "one", 3 }, { "three", 5 } };
	struct msghdr message = { .msg_iov = parts, .msg_iovlen = 2 };
	struct mmsghdr messages[3] = { { message, 0 }, { message, 0 }, { message, 0 } };
	for (int first = 0; first < 4; first++) {
		/* Each of them comes first once. */
		tcp_pair("4", ends);
		MUST(setsockopt(ends[0], SOL_SOCKET, SO_ZEROCOPY, &on, sizeof on));
		for (int at = 0; at < 4; at++) {
			switch ((first + at) % 4) {
			case 0:
				t_send(ends[0], "hello");
				break;
			case 1:
				sent(SYS_sendmsg, ends[0], MUST(syscall(SYS_sendmsg, ends[0], &message, 0)));
				break;
			case 2: {
				long result = MUST(syscall(SYS_sendmmsg, ends[0], messages, 3, 0));
				moved_times("sent", SYS_sendmmsg, ends[0], result, 3 * 8, 1);
				break;
			}
			case 3:
				sent(SYS_sendto, ends[0], MUST(syscall(SYS_sendto, ends[0], "zerocopy", 8L,
								       MSG_ZEROCOPY, NULL, 0L)));
			}
		}
		t_close(ends[0]);
		t_close(ends[1]);
	}
}

static void reads(void)
{
	char bytes[4], more[4];
	struct iovec parts[2] = { { bytes, 1 }, { more, 2 } };
	struct msghdr message = { .msg_iov = parts, .msg_iovlen = 2 };
	struct mmsghdr messages[3] = { { message, 0 }, { message, 0 }, { message, 0 } };
	int ends[2], file = some_file();
	t_socketpair(SOCK_DGRAM, ends);
	for (int at = 0; at < 8; at++)
		MUST(t_send(ends[0], "1234"));
	MUST(t_read(ends[1]));
	received(SYS_readv, ends[1], MUST(syscall(SYS_readv, ends[1], parts, 2)));
	MUST(t_recv(ends[1]));
	received(SYS_recvmsg, ends[1], MUST(syscall(SYS_recvmsg, ends[1], &message, 0)));
	long result = MUST(syscall(SYS_recvmmsg, ends[1], messages, 3, 0, NULL));
	moved_times("received", SYS_recvmmsg, ends[1], result, 3 * 3, 1);
	/* Peeking reads, too. */
	received(SYS_recvfrom, ends[1], MUST(syscall(SYS_recvfrom, ends[1], bytes, 4L, MSG_PEEK, NULL, NULL)));
	received(SYS_preadv2, ends[1], MUST(syscall(SYS_preadv2, ends[1], parts, 2, -1L, -1L, 0)));
	received(SYS_pread64, file, MUST(syscall(SYS_pread64, file, bytes, 2L, 1L)));
	received(SYS_preadv, file, MUST(syscall(SYS_preadv, file, parts, 2, 1L, 0L)));
	MUST(t_read(file));
	t_close(ends[1]);
	t_close(ends[0]);
	t_close(file);
}

static void between(long call, int from, int to, long result)
{
	sent(call, to, result);
	received(call, from, result);
}

static void in_kernel(void)
{
	int ends[2], fds[2], other[2], file = some_file(), copy = some_file();
	tcp_pair("4", ends);
	between(SYS_sendfile, file, ends[0], MUST(syscall(SYS_sendfile, ends[0], file, NULL, 5L)));
	MUST(lseek(file, 0, SEEK_SET));
	t_pipe(0, fds);
	between(SYS_splice, file, fds[1], MUST(syscall(SYS_splice, file, NULL, fds[1], NULL, 8L, 0)));
	between(SYS_splice, fds[0], ends[1], MUST(syscall(SYS_splice, fds[0], NULL, ends[1], NULL, 6L, 0)));
	t_pipe(0, other);
	between(SYS_tee, fds[0], other[1], MUST(syscall(SYS_tee, fds[0], other[1], 8L, 0)));
	MUST(lseek(file, 2, SEEK_SET));
	between(SYS_copy_file_range, file, copy,
		MUST(syscall(SYS_copy_file_range, file, NULL, copy, NULL, 3L, 0)));
	struct iovec part = { "pages", 5 };
	sent(SYS_vmsplice, other[1], MUST(syscall(SYS_vmsplice, other[1], &part, 1L, 0)));
	MUST(t_read(other[0]));
	t_close(file);
	t_close(copy);
	t_close(other[1]);
	t_close(fds[0]);
	t_close(ends[0]);
	t_close(ends[1]);
}

/* Calls that fail or move nothing leave no trace. */
static void nothing(void)
{
	int ends[2], fds[2], lone = t_socket(AF_INET, SOCK_STREAM, 0);
	char byte;
	t_socketpair(SOCK_DGRAM, ends);
	t_pipe(O_NONBLOCK, fds);
	if (t_send(lone, "nobody") >= 0 || t_recv(fds[0]) >= 0 || t_write(fds[0], "no") >= 0)
		errx(1, "a wrong call worked");
	if (received(SYS_read, fds[0], RESULT(syscall(SYS_read, fds[0], &byte, 1L))) != -EAGAIN)
		errx(1, "an empty pipe");
	t_close(fds[1]);
	if (received(SYS_read, fds[0], RESULT(syscall(SYS_read, fds[0], &byte, 1L))) != 0)
		errx(1, "the end of a pipe");
	if (sent(SYS_sendto, ends[0], RESULT(syscall(SYS_sendto, ends[0], "", 0L, 0, NULL, 0L))) != 0)
		errx(1, "an empty datagram");
	t_recv(ends[1]);
	sent(SYS_write, 1000, RESULT(syscall(SYS_write, 1000, "x", 1L)));
	t_close(lone);
	t_close(ends[0]);
}

static void replaced(void)
{
	int ends[2], others[2];
	tcp_pair("4", ends);
	t_socketpair(SOCK_STREAM, others);
	MUST(t_send(ends[0], "first"));
	t_dup2(others[0], ends[0]);
	MUST(t_send(ends[0], "second"));
	MUST(t_send(ends[0], "third"));
	t_close(ends[0]);
	/* The number again, by the lowest free one. */
	int again = t_socket(AF_INET, SOCK_DGRAM, 0);
	if (again != ends[0])
		errx(1, "another number");
	Address at;
	udp_receiver("4", &at);
	MUST(t_sendto(again, "fourth", &at));
}

static void duplicate(void)
{
	int ends[2];
	tcp_pair("4", ends);
	int copy = t_dup(ends[0]);
	MUST(t_send(ends[0], "original"));
	MUST(t_send(copy, "copy"));
	MUST(t_send(ends[0], "more"));
	t_close(ends[0]);
	MUST(t_send(copy, "still"));
	MUST(t_recv(ends[1]));
}

static void open_at_exit(void)
{
	int ends[2], fds[2];
	tcp_pair("6", ends);
	t_pipe(0, fds);
	MUST(t_send(ends[0], "hello"));
	MUST(t_recv(ends[1]));
	MUST(t_write(fds[1], "pipe"));
}

static void thousand(void)
{
	int ends[2];
	tcp_pair("4", ends);
	for (int at = 0; at < 1000; at++)
		MUST(syscall(SYS_sendto, ends[0], "seventy", 7L, 0, NULL, 0L));
	moved_times("sent", SYS_sendto, ends[0], 7, 7, 1000);
	for (int left = 7000; left;)
		left -= MUST(t_recv(ends[1]));
	t_close(ends[0]);
}

static pthread_barrier_t both;

static void *send_many(void *socket)
{
	int fd = *(int *)socket;
	char bytes[64];
	pthread_barrier_wait(&both);
	for (int at = 0; at < 20000; at++) {
		MUST(syscall(SYS_sendto, fd, "seventy", 7L, 0, NULL, 0L));
		MUST(syscall(SYS_recvfrom, ((int *)socket)[1], bytes, 7L, MSG_WAITALL, NULL, NULL));
	}
	moved_times("sent", SYS_sendto, fd, 7, 7, 20000);
	moved_times("received", SYS_recvfrom, ((int *)socket)[1], 7, 7, 20000);
	return NULL;
}

static void threads(void)
{
	int ends[2][2];
	pthread_t thread[2];
	shared = 1;
	pthread_barrier_init(&both, NULL, 2);
	for (int at = 0; at < 2; at++)
		t_socketpair(SOCK_STREAM, ends[at]);
	for (int at = 0; at < 2; at++) {
		if (pthread_create(&thread[at], NULL, send_many, ends[at]))
			errx(1, "pthread_create");
	}
	for (int at = 0; at < 2; at++)
		pthread_join(thread[at], NULL);
}

static void inherited(void)
{
	int ends[2];
	tcp_pair("4", ends);
	MUST(t_send(ends[0], "parent"));
	pid_t child = forked();
	if (!child) {
		MUST(t_send(ends[0], "child"));
		MUST(t_send(ends[0], "child again"));
	}
	finish(child);
	MUST(t_send(ends[0], "parent again"));
}

/* A child that is killed with descriptors open. */
static void killed(void)
{
	int ends[2];
	tcp_pair("4", ends);
	pid_t child = forked();
	if (!child) {
		MUST(t_send(ends[0], "last words"));
		write_out();
		kill(getpid(), SIGKILL);
	}
	finish(child);
}

static void three_hundred(void)
{
	for (int at = 0; at < 150; at++) {
		int ends[2];
		t_socketpair(at % 2 ? SOCK_STREAM : SOCK_DGRAM, ends);
		MUST(t_send(ends[0], "hello"));
		MUST(t_recv(ends[1]));
	}
}

static void range_closed(void)
{
	int ends[2], others[2];
	tcp_pair("4", ends);
	t_socketpair(SOCK_STREAM, others);
	MUST(t_send(ends[0], "hello"));
	MUST(t_recv(ends[1]));
	MUST(t_send(others[0], "hi"));
	MUST(syscall(SYS_close_range, 3, 1000, 0));
	tell("close_range", SYS_close_range, -1, 0, "arguments=3,1000");
	/* The numbers again. */
	t_socketpair(SOCK_STREAM, ends);
	MUST(t_send(ends[0], "afterwards"));
}

/* Another program, from which one descriptor is kept. */
static void exec(void)
{
	int ends[2];
	t_socketpair(SOCK_STREAM, ends);
	MUST(t_send(ends[0], "hello"));
	MUST(t_send(ends[1], "hi"));
	MUST(fcntl(ends[0], F_SETFD, FD_CLOEXEC));
	tell("exec", SYS_execve, -1, 0, "bytes=0");
	write_out();
	execl("/bin/true", "true", NULL);
	err(1, "exec");
}

static void tainted_five(void)
{
	int ends[2];
	tcp_pair("4", ends);
	MUST(t_send(ends[0], "before"));
	MUST(t_send(ends[0], "before again"));
	open_secret();
	for (int at = 0; at < 5; at++) {
		pause_ms(5);
		MUST(t_send(ends[0], "secret" + at));
	}
	/* What is no socket is not told at every write. */
	int fds[2];
	t_pipe(0, fds);
	for (int at = 0; at < 3; at++)
		MUST(t_write(fds[1], "pipe"));
	t_close(ends[0]);
}

static void tainted_child(void)
{
	int ends[2];
	tcp_pair("4", ends);
	open_secret();
	pid_t child = forked();
	if (!child) {
		for (int at = 0; at < 3; at++) {
			MUST(t_send(ends[0], "child"));
			pause_ms(5);
		}
	}
	finish(child);
}

/* Tells of many sends of which not all have a record. */
static void burst(int fd, int bytes, int times, unsigned long begun)
{
	moved_times("sent", SYS_sendto, fd, bytes, bytes, times);
	told--;
	add(" burst=%lu\n", now() - begun);
}

static void tainted_burst(void)
{
	int ends[2];
	open_secret();
	tcp_pair("4", ends);
	unsigned long begun = now();
	for (int at = 0; at < 1000; at++)
		MUST(syscall(SYS_sendto, ends[0], "seventy", 7L, 0, NULL, 0L));
	burst(ends[0], 7, 1000, begun);
	t_close(ends[0]);
}

/* Sends to two by turns, faster than they are told. */
static void burst_to_two(void)
{
	Address at[2];
	for (int to = 0; to < 2; to++)
		udp_receiver("4", &at[to]);
	int here = t_socket(AF_INET, SOCK_DGRAM, 0);
	unsigned long begun = now();
	for (int to = 0; to < 200; to++)
		MUST(syscall(SYS_sendto, here, "seventy", 7L, 0, &at[to % 2].any, (long)at[to % 2].length));
	burst(here, 7, 200, begun);
	also("one", &at[0]);
	also("other", &at[1]);
	t_close(here);
}

static void tainted_burst_to_two(void)
{
	open_secret();
	burst_to_two();
}

/* A tainted sender's third send, to the same receiver, is told as well. */
static void tainted_sendto(void)
{
	Address at;
	open_secret();
	udp_receiver("4", &at);
	int here = t_socket(AF_INET, SOCK_DGRAM, 0);
	for (int times = 0; times < 3; times++) {
		MUST(t_sendto(here, "datagram" + times, &at));
		pause_ms(5);
	}
	t_close(here);
}

static const struct told_case cases[] = {
	{ "writes", writes }, { "sends", sends }, { "reads", reads }, { "in_kernel", in_kernel },
	{ "nothing", nothing }, { "replaced", replaced }, { "duplicate", duplicate },
	{ "open_at_exit", open_at_exit }, { "thousand", thousand }, { "threads", threads },
	{ "inherited", inherited }, { "killed", killed }, { "three_hundred", three_hundred },
	{ "range_closed", range_closed }, { "exec", exec }, { "tainted_five", tainted_five },
	{ "tainted_child", tainted_child }, { "tainted_burst", tainted_burst },
	{ "burst_to_two", burst_to_two }, { "tainted_burst_to_two", tainted_burst_to_two },
	{ "tainted_sendto", tainted_sendto }, { NULL, NULL },
};

int main(int argc, char **argv)
{
	return run_case(cases, argc, argv);
}
