/* sensor_sockets_compat CASE: the same by 32-bit system calls, direct ones and socketcall(2). */
#include "sensor_sockets_story.c"

enum { READ = 3, WRITE = 4, CLOSE = 6, SOCKETCALL = 102, WRITEV = 146, PIPE2 = 331, SOCKET = 359,
       CONNECT = 362, SENDTO = 369, SENDMSG = 370, RECVFROM = 371, RECVMSG = 372 };

/* Memory below 4 GiB, and what is free of it. */
static char *low, *unused;

static long int80(long number, long a, long b, long c, long d, long e, long f)
{
	long result;
	__asm__ volatile("mov %%rbp, %%r12\n\tmov %7, %%ebp\n\tint $0x80\n\tmov %%r12, %%rbp"
			 : "=a"(result)
			 : "a"(number), "b"(a), "c"(b), "d"(c), "S"(d), "D"(e), "r"((int)f)
			 : "r8", "r9", "r10", "r11", "r12", "memory");
	return (int)result;
}

static unsigned place(const void *bytes, size_t length)
{
	char *at = unused;
	memcpy(at, bytes, length);
	unused += (length + 15) & ~15UL;
	return (unsigned)(unsigned long)at;
}

static long by_socketcall(unsigned which, unsigned a, unsigned b, unsigned c, unsigned d, unsigned e,
			  unsigned f)
{
	unsigned arguments[6] = { a, b, c, d, e, f };
	return int80(SOCKETCALL, which, place(arguments, sizeof arguments), 0, 0, 0, 0);
}

static long must(long result)
{
	if (result < 0) {
		errno = -result;
		err(1, "int 0x80");
	}
	return result;
}

static void prepare(void)
{
	low = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
	if (low == MAP_FAILED)
		err(1, "mmap");
	unused = low + 8192;
}

static void dialogue(int use_socketcall)
{
	prepare();
	int waiting = listener("4");
	Address at = name_of(waiting);
	unsigned address = place(&at, at.length), text = place("hello", 5);
	long call = use_socketcall ? SOCKETCALL : SOCKET;
	abi = 1;
	int here = must(use_socketcall ? by_socketcall(1, AF_INET, SOCK_STREAM, 0, 0, 0, 0)
				       : int80(SOCKET, AF_INET, SOCK_STREAM, 0, 0, 0, 0));
	tell("socket", call, here, here, "arguments=");
	long result = must(use_socketcall ? by_socketcall(3, here, address, at.length, 0, 0, 0)
					  : int80(CONNECT, here, address, at.length, 0, 0, 0));
	connected(use_socketcall ? SOCKETCALL : CONNECT, here, &at, result);
	int there;
	if (use_socketcall) {
		there = must(by_socketcall(5, waiting, 0, 0, 0, 0, 0));
		tell("accept", SOCKETCALL, there, there, "arguments=%d", waiting);
		sent(SOCKETCALL, here, must(by_socketcall(9, here, text, 5, 0, 0, 0)));
		sent(SOCKETCALL, here, must(by_socketcall(11, here, text, 4, 0, 0, 0)));
		received(SOCKETCALL, there, must(by_socketcall(10, there, text, 3, 0, 0, 0)));
		received(SOCKETCALL, there, must(by_socketcall(12, there, text, 6, 0, 0, 0)));
	} else {
		abi = 0;
		there = t_accept(waiting);
		abi = 1;
		sent(SENDTO, here, must(int80(SENDTO, here, text, 5, 0, 0, 0)));
		sent(WRITE, here, must(int80(WRITE, here, text, 4, 0, 0, 0)));
		unsigned vector[4] = { text, 2, text, 3 };
		unsigned parts = place(vector, sizeof vector);
		sent(WRITEV, here, must(int80(WRITEV, here, parts, 2, 0, 0, 0)));
		received(RECVFROM, there, must(int80(RECVFROM, there, text, 3, 0, 0, 0)));
		received(READ, there, must(int80(READ, there, text, 5, 0, 0, 0)));
	}
	result = int80(CLOSE, here, 0, 0, 0, 0, 0);
	tell("close", CLOSE, here, result, "arguments=%d", here);
}

static void direct(void) { dialogue(0); }
static void socketcall(void) { dialogue(1); }

/* Datagrams with addresses: socketcall's sendto and sendmsg, then the direct ones. */
static void datagrams(void)
{
	prepare();
	Address a, b;
	udp_receiver("4", &a);
	udp_receiver("4", &b);
	int here = t_socket(AF_INET, SOCK_DGRAM, 0);
	unsigned to_a = place(&a, a.length), to_b = place(&b, b.length), text = place("hello", 5);
	unsigned vector[2] = { text, 5 };
	unsigned parts = place(vector, sizeof vector);
	unsigned header_a[7] = { to_a, a.length, parts, 1 }, header_b[7] = { to_b, b.length, parts, 1 };
	unsigned message_a = place(header_a, sizeof header_a), message_b = place(header_b, sizeof header_b);
	abi = 1;
	sent_to(SOCKETCALL, here, must(by_socketcall(11, here, text, 5, 0, to_a, a.length)), &a);
	pause_ms(3);
	sent_to(SOCKETCALL, here, must(by_socketcall(16, here, message_b, 0, 0, 0, 0)), &b);
	pause_ms(3);
	sent_to(SENDTO, here, must(int80(SENDTO, here, text, 4, 0, to_a, a.length)), &a);
	pause_ms(3);
	sent_to(SENDMSG, here, must(int80(SENDMSG, here, message_b, 0, 0, 0, 0)), &b);
	abi = 0;
	t_close(here);
}

/* Descriptors arrive in a 32-bit message header. */
static void passing(int use_socketcall)
{
	prepare();
	int ends[2], fds[2], numbers[2];
	t_pipe(0, fds);
	t_socketpair(SOCK_STREAM, ends);
	char control[64] __attribute__((aligned(8))) = { 0 };
	struct iovec part = { "take", 4 };
	struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1, .msg_control = control,
				  .msg_controllen = CMSG_SPACE(sizeof fds) };
	*CMSG_FIRSTHDR(&message) = (struct cmsghdr){ CMSG_LEN(sizeof fds), SOL_SOCKET, SCM_RIGHTS };
	memcpy(CMSG_DATA(CMSG_FIRSTHDR(&message)), fds, sizeof fds);
	sent(SYS_sendmsg, ends[0], MUST(syscall(SYS_sendmsg, ends[0], &message, 0)));

	char empty[64] = { 0 };
	unsigned bytes = place(empty, 16), room = place(empty, 64);
	unsigned vector[2] = { bytes, 16 };
	unsigned header[7] = { 0, 0, place(vector, sizeof vector), 1, room, 64, 0 };
	unsigned at = place(header, sizeof header);
	abi = 1;
	long call = use_socketcall ? SOCKETCALL : RECVMSG;
	long result = must(use_socketcall ? by_socketcall(17, ends[1], at, 0, 0, 0, 0)
					  : int80(RECVMSG, ends[1], at, 0, 0, 0, 0));
	received(call, ends[1], result);
	/* A 32-bit control header is 12 bytes long. */
	memcpy(numbers, (char *)(unsigned long)room + 12, sizeof numbers);
	for (int which = 0; which < 2; which++)
		tell("received_descriptor", call, numbers[which], result, "arguments=%d,%d many=0",
		     numbers[which], ends[1]);
}

static void passing_direct(void) { passing(0); }
static void passing_socketcall(void) { passing(1); }

static const struct told_case cases[] = {
	{ "direct", direct }, { "socketcall", socketcall }, { "datagrams", datagrams },
	{ "passing_direct", passing_direct }, { "passing_socketcall", passing_socketcall },
	{ NULL, NULL },
};

int main(int argc, char **argv)
{
	return run_case(cases, argc, argv);
}
