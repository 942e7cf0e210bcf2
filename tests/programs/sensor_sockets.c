/* sensor_sockets CASE: makes sockets and pipes, connects, binds, accepts; says what it did. */
#include "sensor_sockets_story.c"
#include <linux/if_ether.h>
#include <linux/netlink.h>

/* A short dialogue over a connection. */
static void talk(int ends[2])
{
	MUST(t_send(ends[0], "hello"));
	MUST(t_recv(ends[1]));
	MUST(t_send(ends[1], "yes"));
	MUST(t_recv(ends[0]));
	t_close(ends[0]);
	t_close(ends[1]);
}

static void tcp(const char *how)
{
	int ends[2];
	tcp_pair(how, ends);
	talk(ends);
}

static void tcp4(void) { tcp("4"); }
static void tcp6(void) { tcp("6"); }

/* An IPv6 socket that connects to an IPv4 one. */
static void mapped6(void)
{
	int waiting = listener("4"), ends[2];
	Address at = loopback("m", ntohs(name_of(waiting).v4.sin_port));
	ends[0] = t_socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
	MUST(t_connect(ends[0], &at));
	ends[1] = t_accept(waiting);
	talk(ends);
}

static void udp_connected(const char *how)
{
	Address at;
	int there = udp_receiver(how, &at);
	int here = t_socket(at.any.sa_family, SOCK_DGRAM, 0);
	MUST(t_connect(here, &at));
	MUST(t_send(here, "hello"));
	MUST(t_send(here, "again"));
	MUST(t_recv(there));
	t_close(here);
	t_close(there);
}

static void udp4_connected(void) { udp_connected("4"); }
static void udp6_connected(void) { udp_connected("6"); }

static void udp_sendto(const char *how)
{
	Address a, b;
	udp_receiver(how, &a);
	udp_receiver(how, &b);
	int here = t_socket(a.any.sa_family, SOCK_DGRAM, 0);
	MUST(t_sendto(here, "one", &a));
	pause_ms(3);
	MUST(t_sendto(here, "three", &b));
	pause_ms(3);
	MUST(t_sendto(here, "seventy", &b));
	pause_ms(3);
	MUST(t_sendto(here, "back", &a));
	t_close(here);
}

static void udp4_sendto(void) { udp_sendto("4"); }
static void udp6_sendto(void) { udp_sendto("6"); }

static void udp_sendmsg(const char *how)
{
	Address at[2];
	for (int to = 0; to < 2; to++)
		udp_receiver(how, &at[to]);
	int here = t_socket(at[0].any.sa_family, SOCK_DGRAM, 0);
	for (int to = 0; to < 2; to++) {
		struct iovec parts[2] = { { "one", 3 }, { "three", 5 } };
		struct msghdr message = { &at[to].any, at[to].length, parts, 2, NULL, 0, 0 };
		sent_to(SYS_sendmsg, here, RESULT(syscall(SYS_sendmsg, here, &message, 0)), &at[to]);
		pause_ms(3);
	}
	t_close(here);
}

static void udp4_sendmsg(void) { udp_sendmsg("4"); }
static void udp6_sendmsg(void) { udp_sendmsg("6"); }

/* One send to each of two in one call; the record may tell either. */
static void udp_sendmmsg(void)
{
	Address at;
	udp_receiver("4", &at);
	int here = t_socket(AF_INET, SOCK_DGRAM, 0);
	struct iovec part = { "hello", 5 };
	struct mmsghdr messages[2] = {
		{ { &at.any, at.length, &part, 1, NULL, 0, 0 }, 0 },
		{ { &at.any, at.length, &part, 1, NULL, 0, 0 }, 0 },
	};
	long result = MUST(syscall(SYS_sendmmsg, here, messages, 2, 0));
	moved_times("sent", SYS_sendmmsg, here, result, messages[0].msg_len + messages[1].msg_len, 1);
	also("given", &at);
	t_close(here);
}

static void unix_stream(int abstract)
{
	Address at = unix_address("/tmp/sensor-sockets", abstract);
	int waiting = t_socket(AF_UNIX, SOCK_STREAM, 0), ends[2];
	MUST(t_bind(waiting, &at));
	MUST(t_listen(waiting, 1));
	ends[0] = t_socket(AF_UNIX, SOCK_STREAM, 0);
	MUST(t_connect(ends[0], &at));
	ends[1] = t_accept(waiting);
	if (!abstract)
		unlink(at.path.sun_path);
	talk(ends);
}

static void unix_path(void) { unix_stream(0); }
static void unix_abstract(void) { unix_stream(1); }

static void unix_datagram(void)
{
	Address at = unix_address("sensor-sockets-datagram", 1);
	int there = t_socket(AF_UNIX, SOCK_DGRAM, 0), here = t_socket(AF_UNIX, SOCK_DGRAM, 0);
	MUST(t_bind(there, &at));
	MUST(t_sendto(here, "hello", &at));
	MUST(t_recv(there));
	t_close(here);
	t_close(there);
}

static void pairs(void)
{
	int types[] = { SOCK_STREAM, SOCK_DGRAM | SOCK_CLOEXEC, SOCK_SEQPACKET | SOCK_NONBLOCK };
	for (int at = 0; at < 3; at++) {
		int ends[2];
		t_socketpair(types[at], ends);
		talk(ends);
	}
}

static void pipes(void)
{
	int old[2], closing[2];
	MUST(syscall(SYS_pipe, old));
	for (int at = 0; at < 2; at++)
		tell("pipe", SYS_pipe, old[at], 0, "arguments=%d,%d", old[at], old[!at]);
	t_pipe(O_CLOEXEC | O_NONBLOCK, closing);
	MUST(t_write(old[1], "hello"));
	MUST(t_read(old[0]));
	MUST(t_write(closing[1], "hi"));
	MUST(t_read(closing[0]));
	t_close(old[0]);
	t_close(closing[1]);
}

static void accept4_flags(void)
{
	int waiting = listener("6");
	Address at = name_of(waiting);
	for (int flags = 0; flags < 2; flags++) {
		MUST(t_connect(t_socket(AF_INET6, SOCK_STREAM, 0), &at));
		t_accept4(waiting, flags ? SOCK_CLOEXEC | SOCK_NONBLOCK : 0);
	}
	fcntl(waiting, F_SETFL, O_NONBLOCK);
	if (RESULT(syscall(SYS_accept4, waiting, NULL, NULL, 0)) != -EAGAIN)
		errx(1, "somebody connected");
}

/* Nobody takes the connection of a listener that is full, so the second connect stays under way. */
static void nonblocking(const char *how)
{
	Address at = loopback(how, 0);
	int waiting = t_socket(at.any.sa_family, SOCK_STREAM, 0);
	MUST(t_bind(waiting, &at));
	MUST(t_listen(waiting, 0));
	at = name_of(waiting);
	MUST(t_connect(t_socket(at.any.sa_family, SOCK_STREAM, 0), &at));
	int here = t_socket(at.any.sa_family, SOCK_STREAM | SOCK_NONBLOCK, 0);
	long result = t_connect(here, &at);
	if (result != -EINPROGRESS)
		errx(1, "connect: %ld", result);
}

static void nonblocking4(void) { nonblocking("4"); }
static void nonblocking6(void) { nonblocking("6"); }

static void refused(const char *how)
{
	int waiting = listener(how);
	Address at = name_of(waiting);
	t_close(waiting);
	int here = t_socket(at.any.sa_family, SOCK_STREAM, 0);
	long result = t_connect(here, &at);
	if (result != -ECONNREFUSED)
		errx(1, "connect: %ld", result);
}

static void refused4(void) { refused("4"); }
static void refused6(void) { refused("6"); }

static void wrong_descriptors(void)
{
	int ends[2];
	Address at = loopback("4", 9), elsewhere = at;
	elsewhere.v4.sin_addr.s_addr = htonl(0x08080808);
	t_pipe(0, ends);
	long results[] = { t_connect(1000, &at), t_bind(1000, &at), t_listen(1000, 1),
			   t_connect(ends[0], &at), t_bind(t_socket(AF_INET, SOCK_STREAM, 0), &elsewhere) };
	long wanted[] = { -EBADF, -EBADF, -EBADF, -ENOTSOCK, -EADDRNOTAVAIL };
	for (int at = 0; at < 5; at++) {
		if (results[at] != wanted[at])
			errx(1, "%d: %ld", at, results[at]);
	}
	/* These leave no record. */
	syscall(SYS_socket, 99, 1, 0);
	syscall(SYS_close, 1000);
	syscall(SYS_dup2, 1000, 3);
	syscall(SYS_accept, 1000, NULL, NULL);
	syscall(SYS_socketpair, AF_INET, SOCK_STREAM, 0, ends);
	syscall(SYS_pipe2, ends, 1);
}

/* Sockets of families whose ends are not told. */
static void families(void)
{
	t_socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE);
	t_socket(AF_NETLINK, SOCK_DGRAM, NETLINK_AUDIT);
	t_socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_GENERIC);
	t_socket(AF_INET, SOCK_RAW, IPPROTO_ICMP);
	t_socket(AF_INET, SOCK_RAW, IPPROTO_RAW);
	t_socket(AF_INET6, SOCK_RAW, IPPROTO_ICMPV6);
	t_socket(AF_PACKET, SOCK_RAW, htons(ETH_P_ALL));
	t_socket(AF_PACKET, SOCK_DGRAM, 0);
	t_socket(AF_UNIX, SOCK_SEQPACKET, 0);
	t_socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, IPPROTO_TCP);
}

/* Not every call is root's. */
static void as_nobody(void)
{
	MUST(syscall(SYS_setresuid, 1234, 65534, 0));
	tcp("4");
}

static void duplicates(void)
{
	int ends[2];
	tcp_pair("4", ends);
	t_dup(ends[0]);
	t_dup2(ends[0], 40);
	MUST(syscall(SYS_dup3, ends[1], 41, O_CLOEXEC));
	tell("dup", SYS_dup3, 41, 41, "arguments=%d", ends[1]);
	MUST(syscall(SYS_fcntl, ends[1], F_DUPFD, 50));
	tell("dup", SYS_fcntl, 50, 50, "arguments=%d", ends[1]);
	MUST(syscall(SYS_fcntl, 0, F_DUPFD_CLOEXEC, 60));
	tell("dup", SYS_fcntl, 60, 60, "arguments=0");
}

/* TCP Fast Open connects without connect(2). */
static void fast_open(void)
{
	int waiting = listener("4");
	Address at = name_of(waiting);
	int here = t_socket(AF_INET, SOCK_STREAM, 0);
	long result = MUST(syscall(SYS_sendto, here, "hello", 5L, MSG_FASTOPEN, &at.any, at.length));
	/* The address may be told as given or as the kernel's: they are the same. */
	sent(SYS_sendto, here, result);
	also("maybe_given", &at);
	tell("connecting", 0, here, 0, "arguments=7,2");
	also("to", &at);
	MUST(t_recv(t_accept(waiting)));
	t_close(here);
}

static const struct told_case cases[] = {
	{ "tcp4", tcp4 }, { "tcp6", tcp6 }, { "mapped6", mapped6 },
	{ "udp4_connected", udp4_connected }, { "udp6_connected", udp6_connected },
	{ "udp4_sendto", udp4_sendto }, { "udp6_sendto", udp6_sendto },
	{ "udp4_sendmsg", udp4_sendmsg }, { "udp6_sendmsg", udp6_sendmsg },
	{ "udp_sendmmsg", udp_sendmmsg },
	{ "unix_path", unix_path }, { "unix_abstract", unix_abstract },
	{ "unix_datagram", unix_datagram }, { "pairs", pairs }, { "pipes", pipes },
	{ "accept4_flags", accept4_flags }, { "nonblocking4", nonblocking4 },
	{ "nonblocking6", nonblocking6 }, { "refused4", refused4 }, { "refused6", refused6 },
	{ "wrong_descriptors", wrong_descriptors }, { "families", families },
	{ "as_nobody", as_nobody }, { "duplicates", duplicates }, { "fast_open", fast_open },
	{ NULL, NULL },
};

int main(int argc, char **argv)
{
	return run_case(cases, argc, argv);
}
