/* sensor_sockets_passing CASE: gives descriptors to itself or to a child; says which arrived. */
#include "sensor_sockets_story.c"
#include <sys/prctl.h>

/* Tells of the descriptors in the control data of a message received on `by`. */
static void arrived(long call, int by, long result, struct msghdr *message)
{
	for (struct cmsghdr *part = CMSG_FIRSTHDR(message); part; part = CMSG_NXTHDR(message, part)) {
		if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS)
			continue;
		int count = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (int at = 0; at < count; at++) {
			int fd = ((int *)CMSG_DATA(part))[at];
			tell("received_descriptor", call, fd, result, "arguments=%d,%d many=%d", fd, by,
			     count > 100);
		}
	}
}

static char control[8192] __attribute__((aligned(8)));

/* Sends `count` descriptors by turns of `fds`. */
static void give(int by, const int *fds, int of, int count)
{
	struct iovec part = { "take", 4 };
	struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1, .msg_control = control,
				  .msg_controllen = CMSG_SPACE(count * sizeof(int)) };
	struct cmsghdr *first = CMSG_FIRSTHDR(&message);
	first->cmsg_level = SOL_SOCKET;
	first->cmsg_type = SCM_RIGHTS;
	first->cmsg_len = CMSG_LEN(count * sizeof(int));
	for (int at = 0; at < count; at++)
		((int *)CMSG_DATA(first))[at] = fds[at % of];
	sent(SYS_sendmsg, by, MUST(syscall(SYS_sendmsg, by, &message, 0)));
}

static void take(int by, int flags)
{
	char bytes[16];
	struct iovec part = { bytes, sizeof bytes };
	struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1, .msg_control = control,
				  .msg_controllen = sizeof control };
	long result = MUST(syscall(SYS_recvmsg, by, &message, flags));
	received(SYS_recvmsg, by, result);
	arrived(SYS_recvmsg, by, result, &message);
}

/* A socket, a pipe's end and a file. */
static void three(int fds[3])
{
	int ends[2];
	t_pipe(0, ends);
	fds[0] = t_socket(AF_INET, SOCK_DGRAM, 0);
	fds[1] = ends[1];
	fds[2] = some_file();
}

static void pass(int type, int count)
{
	int ends[2], fds[3];
	three(fds);
	t_socketpair(type, ends);
	give(ends[0], fds, 3, count);
	take(ends[1], 0);
}

static void one(void) { pass(SOCK_STREAM, 1); }
static void few(void) { pass(SOCK_STREAM, 3); }
static void few_by_datagram(void) { pass(SOCK_DGRAM, 3); }
static void most(void) { pass(SOCK_STREAM, 253); }

/* Sender's credentials stand in front of the descriptors. */
static void with_credentials(void)
{
	int ends[2], fds[3], on = 1;
	three(fds);
	t_socketpair(SOCK_STREAM, ends);
	MUST(setsockopt(ends[1], SOL_SOCKET, SO_PASSCRED, &on, sizeof on));
	give(ends[0], fds, 3, 3);
	take(ends[1], 0);
}

static void closing_on_exec(void)
{
	int ends[2], fds[3];
	three(fds);
	t_socketpair(SOCK_SEQPACKET, ends);
	give(ends[0], fds, 3, 3);
	take(ends[1], MSG_CMSG_CLOEXEC);
}

/* Room for fewer than were sent: the others are gone. */
static void too_many(void)
{
	int ends[2], fds[3];
	char bytes[16], little[CMSG_SPACE(sizeof(int))];
	struct iovec part = { bytes, sizeof bytes };
	struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1, .msg_control = little,
				  .msg_controllen = CMSG_LEN(sizeof(int)) };
	three(fds);
	t_socketpair(SOCK_STREAM, ends);
	give(ends[0], fds, 3, 3);
	long result = MUST(syscall(SYS_recvmsg, ends[1], &message, 0));
	received(SYS_recvmsg, ends[1], result);
	arrived(SYS_recvmsg, ends[1], result, &message);
}

/* Only the second of two messages brings one. */
static void in_second_message(void)
{
	int ends[2], fds[3];
	char bytes[2][16], room[2][64] __attribute__((aligned(8)));
	struct iovec parts[2] = { { bytes[0], 16 }, { bytes[1], 16 } };
	struct mmsghdr messages[2];
	three(fds);
	t_socketpair(SOCK_DGRAM, ends);
	MUST(t_send(ends[0], "plain"));
	give(ends[0], fds, 3, 1);
	for (int at = 0; at < 2; at++)
		messages[at].msg_hdr = (struct msghdr){ .msg_iov = &parts[at], .msg_iovlen = 1,
							.msg_control = room[at], .msg_controllen = 64 };
	long result = MUST(syscall(SYS_recvmmsg, ends[1], messages, 2, 0, NULL));
	moved_times("received", SYS_recvmmsg, ends[1], result, 9, 1);
	arrived(SYS_recvmmsg, ends[1], result, &messages[1].msg_hdr);
}

static void by_child(void)
{
	int ends[2], fds[3];
	three(fds);
	t_socketpair(SOCK_STREAM, ends);
	give(ends[0], fds, 3, 3);
	pid_t child = forked();
	if (!child)
		take(ends[1], 0);
	finish(child);
}

/* pidfd_getfd takes what nobody sent. */
static void taken(void)
{
	int ends[2], fds[3], go[2];
	three(fds);
	t_pipe(0, go);
	t_socketpair(SOCK_STREAM, ends);
	pid_t child = forked();
	if (!child) {
		int own = t_socket(AF_INET6, SOCK_STREAM, 0);
		MUST(t_bind(own, &(Address){ .v6.sin6_family = AF_INET6, .length = sizeof(struct sockaddr_in6) }));
		char number = own;
		sent(SYS_write, ends[1], MUST(syscall(SYS_write, ends[1], &number, 1L)));
		t_read(go[0]);
		finish(child);
	}
	char number;
	received(SYS_read, ends[0], MUST(syscall(SYS_read, ends[0], &number, 1L)));
	int pidfd = MUST(syscall(SYS_pidfd_open, child, 0));
	int fd = MUST(syscall(SYS_pidfd_getfd, pidfd, (int)number, 0));
	tell("received_descriptor", SYS_pidfd_getfd, fd, fd, "arguments=%d,%d many=0", fd, pidfd);
	MUST(t_write(go[1], "go"));
	finish(child);
}

static const struct told_case cases[] = {
	{ "one", one }, { "few", few }, { "few_by_datagram", few_by_datagram }, { "most", most },
	{ "with_credentials", with_credentials }, { "closing_on_exec", closing_on_exec },
	{ "too_many", too_many }, { "in_second_message", in_second_message },
	{ "by_child", by_child }, { "taken", taken }, { NULL, NULL },
};

int main(int argc, char **argv)
{
	return run_case(cases, argc, argv);
}
