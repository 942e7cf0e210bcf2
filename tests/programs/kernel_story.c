/* The same real calls on every kernel, one after the other; what the sensor makes of them is compared.
 *
 * kernel_story DIRECTORY
 *
 * Works in DIRECTORY, in which it finds itself as `kernel_story`. Numbers of descriptors, names and
 * bytes are the same in every run. Each child is waited for. With any other arguments it is the
 * program that the story starts, and does nothing. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/io_uring.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define MUST(call) ({ \
	long must_ = (long)(call); \
	if (must_ == -1) \
		err(1, "line %d: %s", __LINE__, #call); \
	must_; \
})
#define FAILS(call) ({ \
	if ((long)(call) != -1) \
		errx(1, "line %d: succeeds: %s", __LINE__, #call); \
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

static char text[64];

/* Runs `part` in a child. */
static void in_child(void (*part)(void))
{
	pid_t child = MUST(fork());
	if (!child) {
		part();
		_exit(0);
	}
	int status;
	MUST(waitpid(child, &status, 0));
	if (status)
		errx(1, "a child failed");
}

static Address loopback(int family)
{
	Address made = {.any.sa_family = family};
	made.length = family == AF_INET ? sizeof made.v4 : sizeof made.v6;
	if (family == AF_INET)
		made.v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	else
		made.v6.sin6_addr = in6addr_loopback;
	return made;
}

static Address name_of(int fd)
{
	Address found = {.length = sizeof found.path};
	MUST(getsockname(fd, &found.any, &found.length));
	return found;
}

/* --- descriptors ------------------------------------------------------------------------------ */

static void talk(int one, int other)
{
	MUST(write(one, "question", 8));
	MUST(read(other, text, sizeof text));
	MUST(send(other, "answer", 6, MSG_NOSIGNAL));
	MUST(recv(one, text, sizeof text, 0));
	MUST(shutdown(one, SHUT_WR));
	MUST(recv(other, text, sizeof text, 0));
}

static void connection(int family)
{
	Address at = loopback(family);
	int listener = MUST(socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0));
	MUST(bind(listener, &at.any, at.length));
	MUST(listen(listener, 5));
	at = name_of(listener);
	int here = MUST(socket(family, SOCK_STREAM, 0));
	MUST(connect(here, &at.any, at.length));
	int there = MUST(accept4(listener, NULL, NULL, SOCK_CLOEXEC));
	talk(here, there);
	MUST(close(here));
	MUST(close(there));
	MUST(close(listener));
}

static void refusals(void)
{
	Address at = loopback(AF_INET);
	int bound = MUST(socket(AF_INET, SOCK_STREAM, 0));
	MUST(bind(bound, &at.any, at.length));
	at = name_of(bound);
	int here = MUST(socket(AF_INET, SOCK_STREAM, IPPROTO_TCP));
	FAILS(connect(here, &at.any, at.length));
	FAILS(bind(here, &at.any, at.length));
	FAILS(connect(12345, &at.any, at.length));
	FAILS(listen(0, 1));
	FAILS(socket(AF_INET, SOCK_STREAM, IPPROTO_UDP));
	MUST(close(here));
	MUST(close(bound));
}

static void datagrams(int family)
{
	Address at = loopback(family);
	int there = MUST(socket(family, SOCK_DGRAM, 0));
	MUST(bind(there, &at.any, at.length));
	at = name_of(there);
	int here = MUST(socket(family, SOCK_DGRAM, 0));
	struct iovec part = {"by sendmsg", 10};
	struct msghdr message = {.msg_name = &at.any, .msg_namelen = at.length,
				 .msg_iov = &part, .msg_iovlen = 1};
	MUST(sendmsg(here, &message, 0));
	MUST(recv(there, text, sizeof text, 0));
	MUST(sendto(here, "by sendto", 9, 0, &at.any, at.length));
	MUST(recvfrom(there, text, sizeof text, 0, NULL, NULL));
	MUST(connect(here, &at.any, at.length));
	MUST(write(here, "connected", 9));
	struct mmsghdr many = {.msg_hdr = {.msg_iov = &part, .msg_iovlen = 1}};
	MUST(sendmmsg(here, &many, 1, 0));
	MUST(read(there, text, sizeof text));
	MUST(close_range(there, here, 0));
}

static void unix_sockets(void)
{
	Address at = {.path = {AF_UNIX, "socket"}, .length = sizeof at.path};
	int listener = MUST(socket(AF_UNIX, SOCK_STREAM, 0));
	MUST(bind(listener, &at.any, at.length));
	MUST(listen(listener, 1));
	int here = MUST(socket(AF_UNIX, SOCK_STREAM, 0));
	MUST(connect(here, &at.any, at.length));
	int there = MUST(accept(listener, NULL, NULL));
	talk(here, there);
	MUST(close_range(listener, there, 0));
	MUST(unlink("socket"));
	FAILS(connect(MUST(socket(AF_UNIX, SOCK_DGRAM, 0)), &at.any, at.length));
	MUST(close(listener));
	int netlink = MUST(socket(AF_NETLINK, SOCK_RAW, 0));
	MUST(close(netlink));
}

static void passing(void)
{
	int ends[2], pipes[2];
	MUST(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends));
	MUST(pipe2(pipes, O_CLOEXEC));
	char control[CMSG_SPACE(sizeof pipes)] __attribute__((aligned(8))) = {0};
	struct iovec part = {text, 4};
	struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control,
				 .msg_controllen = sizeof control};
	*CMSG_FIRSTHDR(&message) = (struct cmsghdr){CMSG_LEN(sizeof pipes), SOL_SOCKET, SCM_RIGHTS};
	memcpy(CMSG_DATA(CMSG_FIRSTHDR(&message)), pipes, sizeof pipes);
	MUST(sendmsg(ends[0], &message, 0));
	message.msg_controllen = sizeof control;
	MUST(recvmsg(ends[1], &message, MSG_CMSG_CLOEXEC));
	MUST(close_range(ends[0], pipes[1] + 2, 0));
}

static void copies(void)
{
	int ends[2];
	MUST(pipe(ends));
	MUST(write(ends[1], "through a pipe", 14));
	int copy = MUST(dup(ends[0]));
	MUST(read(copy, text, sizeof text));
	MUST(dup2(ends[1], 20));
	MUST(dup2(20, 20));
	MUST(dup3(20, 21, O_CLOEXEC));
	MUST(fcntl(21, F_DUPFD, 30));
	MUST(fcntl(21, F_DUPFD_CLOEXEC, 30));
	MUST(fcntl(20, F_SETFD, FD_CLOEXEC));
	FAILS(dup(12345));
	FAILS(close(12345));
	MUST(close(30));
	MUST(close_range(20, 21, CLOSE_RANGE_CLOEXEC));
	MUST(close_range(20, 40, 0));
	int pair[2];
	MUST(socketpair(AF_UNIX, SOCK_DGRAM, 0, pair));
	MUST(dup2(pair[0], pair[1]));
	MUST(close_range(ends[0], pair[1], CLOSE_RANGE_UNSHARE));
}

/* Not all that the sensor adds up goes through read(2) and write(2). */
static void moved_otherwise(void)
{
	int ends[2], pipes[2];
	int file = MUST(open("bytes", O_CREAT | O_RDWR, 0600));
	MUST(write(file, "12345678", 8));
	MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, ends));
	MUST(pipe(pipes));
	off_t from = 0;
	MUST(sendfile(ends[0], file, &from, 8));
	MUST(splice(ends[1], NULL, pipes[1], NULL, 8, 0));
	struct iovec parts[2] = {{text, 3}, {text + 3, 5}};
	MUST(readv(pipes[0], parts, 2));
	MUST(writev(ends[1], parts, 2));
	MUST(close_range(file, pipes[1], 0));
	MUST(unlink("bytes"));
}

/* --- files ------------------------------------------------------------------------------------ */

static void names(void)
{
	MUST(mkdir("directory", 0750));
	FAILS(mkdir("directory", 0750));
	int file = MUST(open("directory/file", O_CREAT | O_RDWR | O_CLOEXEC, 0600));
	int directory = MUST(open("directory", O_RDONLY | O_DIRECTORY));
	MUST(write(file, "text", 4));
	MUST(link("directory/file", "directory/hard"));
	MUST(symlink("directory/file", "soft"));
	MUST(rename("directory/file", "directory/renamed"));
	MUST(renameat2(directory, "renamed", AT_FDCWD, "moved", RENAME_NOREPLACE));
	FAILS(rename("missing", "elsewhere"));
	FAILS(link("missing", "elsewhere"));
	MUST(chmod("moved", 0700));
	MUST(chmod("moved", 04755));
	MUST(fchmodat(directory, "hard", 0711, 0));
	MUST(fchmod(file, 02755));
	MUST(truncate("moved", 2));
	MUST(ftruncate(file, 100));
	MUST(mknod("fifo", S_IFIFO | 0600, 0));
	MUST(mknodat(directory, "device", S_IFCHR | 0600, 1 << 8 | 3));
	MUST(unlinkat(directory, "device", 0));
	MUST(unlinkat(directory, "hard", 0));
	MUST(unlink("moved"));
	MUST(unlink("soft"));
	MUST(unlink("fifo"));
	FAILS(unlink("missing"));
	MUST(close(directory));
	MUST(close(file));
	MUST(rmdir("directory"));
}

static void memory_file(void)
{
	int memory = MUST(memfd_create("payload", MFD_CLOEXEC));
	MUST(ftruncate(memory, 4096));
	MUST(fchmod(memory, 0700));
	MUST(close(memory));
}

/* Who opens a secret is tainted, so it has a process of its own. */
static void secrets(void)
{
	MUST(mkdir(".aws", 0700));
	int secret = MUST(open(".aws/credentials", O_CREAT | O_RDWR | O_CLOEXEC, 0600));
	MUST(write(secret, "key = value\n", 12));
	MUST(close(secret));
	secret = MUST(open(".aws/credentials", O_RDONLY));
	MUST(read(secret, text, sizeof text));
	void *mapped = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, secret, 0);
	MUST((long)mapped);
	MUST(munmap(mapped, 4096));
	FAILS(open(".aws/missing", O_RDONLY));
	datagrams(AF_INET);
	MUST(rename(".aws/credentials", "innocent"));
	MUST(close(secret));
	secret = MUST(open("innocent", O_RDONLY));
	MUST(close(secret));
	secret = MUST(open("/etc/passwd", O_RDONLY));
	MUST(close(secret));
	MUST(unlink("innocent"));
	MUST(rmdir(".aws"));
}

static void mounts(void)
{
	MUST(unshare(CLONE_NEWNS));
	MUST(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL));
	MUST(mkdir("mounted", 0755));
	MUST(mkdir("bound", 0755));
	MUST(mount("story", "mounted", "tmpfs", MS_NOSUID | MS_NODEV, NULL));
	MUST(close(MUST(open("mounted/.netrc", O_CREAT | O_WRONLY, 0600))));
	MUST(mount("mounted", "bound", NULL, MS_BIND, NULL));
	MUST(umount2("bound", MNT_DETACH));
	int tree = MUST(syscall(SYS_open_tree, AT_FDCWD, "mounted", OPEN_TREE_CLONE));
	MUST(syscall(SYS_move_mount, tree, "", AT_FDCWD, "bound", MOVE_MOUNT_F_EMPTY_PATH));
	MUST(close(tree));
	FAILS(mount("story", "missing", "tmpfs", 0, NULL));
	FAILS(mount("story", "mounted", "no such type", 0, NULL));
	MUST(umount("bound"));
	MUST(mount("", "bound", "tmpfs", 0, NULL));
	MUST(umount("bound"));
	MUST(umount("mounted"));
	MUST(rmdir("bound"));
	MUST(rmdir("mounted"));
}

static void jail(void)
{
	MUST(mkdir("jail", 0755));
	MUST(chroot("jail"));
	MUST(chdir("/"));
	MUST(mkdir("inside", 0755));
	MUST(rmdir("inside"));
}

/* --- processes -------------------------------------------------------------------------------- */

static char program[4096];

static void copy_program(int to)
{
	int from = MUST(open(program, O_RDONLY | O_CLOEXEC));
	while (MUST(sendfile(to, from, NULL, 1 << 20)) > 0)
		;
	MUST(close(from));
}

static void with_arguments(void)
{
	char *arguments[] = {"another name", "leaf", "", "two words", NULL};
	char *environment[] = {"HOME=/nowhere", "", "LD_PRELOAD=", "PYTHONPATH=/a:/b", NULL};
	MUST(execve(program, arguments, environment));
}

static char *const leaf[] = {"kernel_story", "leaf", "", NULL}, *const nothing[] = {NULL};

static void script(void)
{
	int file = MUST(open("script", O_CREAT | O_WRONLY | O_CLOEXEC, 0755));
	MUST(dprintf(file, "#!./kernel_story leaf\n"));
	MUST(close(file));
	MUST(execve("./script", leaf, nothing));
}

static void deleted(void)
{
	int file = MUST(open("deleted", O_CREAT | O_WRONLY | O_CLOEXEC, 0755));
	copy_program(file);
	MUST(close(file));
	file = MUST(open("deleted", O_RDONLY | O_CLOEXEC));
	MUST(unlink("deleted"));
	MUST(fexecve(file, leaf, nothing));
}

static void from_memory(void)
{
	int file = MUST(memfd_create("program", MFD_CLOEXEC));
	copy_program(file);
	MUST(fexecve(file, leaf, nothing));
}

static void on_a_socket(void)
{
	int ends[2];
	MUST(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends));
	MUST(dup2(ends[0], 0));
	FAILS(execve("missing", leaf, nothing));
	MUST(execve(program, leaf, nothing));
}

static void execs(void)
{
	in_child(with_arguments);
	in_child(script);
	in_child(deleted);
	in_child(from_memory);
	in_child(on_a_socket);
	MUST(unlink("script"));
}

static void rights(void)
{
	struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
	struct __user_cap_data_struct data[2];
	MUST(syscall(SYS_capget, &header, data));
	data[0].effective &= ~(1U << CAP_KILL);
	data[0].inheritable = 1U << CAP_CHOWN;
	MUST(syscall(SYS_capset, &header, data));
	MUST(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_CHOWN, 0, 0));
	MUST(prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0));
	MUST(setresgid(7, 8, 9));
	MUST(setresuid(1, 2, 0));
	syscall(SYS_setfsuid, 1);
	MUST(seteuid(0));
	MUST(setuid(1000));
	FAILS(setuid(0));
	FAILS(mkdir("not ours", 0755));
}

static void traced(void)
{
	MUST(ptrace(PTRACE_TRACEME, 0, NULL, NULL));
}

static void signals(void)
{
	pid_t child = MUST(fork());
	if (!child)
		for (;;)
			pause();
	int pidfd = MUST(syscall(SYS_pidfd_open, child, 0));
	MUST(kill(child, 0));
	MUST(kill(child, SIGCONT));
	MUST(syscall(SYS_tgkill, child, child, SIGCONT));
	FAILS(kill(child, 1000));
	FAILS(ptrace(PTRACE_CONT, child, NULL, NULL));
	int gotten = MUST(syscall(SYS_pidfd_getfd, pidfd, 0, 0));
	MUST(syscall(SYS_pidfd_send_signal, pidfd, 0, NULL, 0));
	MUST(kill(child, SIGKILL));
	MUST(waitpid(child, NULL, 0));
	FAILS(kill(child, 0));
	MUST(close(gotten));
	MUST(close(pidfd));
}

static void memory(void)
{
	char from[8] = "source";
	struct iovec here = {text, sizeof from}, there = {from, sizeof from};
	MUST(process_vm_readv(getpid(), &here, 1, &there, 1, 0));
	MUST(process_vm_writev(getpid(), &here, 1, &there, 1, 0));
}

static void namespaces(void)
{
	MUST(unshare(CLONE_FILES));
	int own = MUST(open("/proc/self/ns/uts", O_RDONLY | O_CLOEXEC));
	MUST(setns(own, CLONE_NEWUTS));
	MUST(setns(own, 0));
	FAILS(setns(own, CLONE_NEWNET));
	MUST(close(own));
	MUST(unshare(CLONE_NEWUTS | CLONE_NEWIPC));
}

static void *alone(void *nothing)
{
	MUST(dup2(0, 15));
	MUST(unshare(CLONE_FILES));
	MUST(prctl(PR_SET_NAME, "a thread"));
	MUST(dup2(0, 16));
	MUST(close(16));
	return nothing;
}

static void threads(void)
{
	pthread_t thread;
	if (pthread_create(&thread, NULL, alone, NULL))
		errx(1, "pthread_create");
	pthread_join(thread, NULL);
	MUST(close(15));
}

static void shared_table(void)
{
	pid_t child = MUST(syscall(SYS_clone, CLONE_FILES | SIGCHLD, 0, 0, 0, 0));
	if (!child) {
		MUST(dup2(0, 17));
		_exit(3);
	}
	MUST(waitpid(child, NULL, 0));
	MUST(close(17));
}

/* What the kernel itself is asked to load or to show. */
static void kernel(void)
{
	long zeros[16] = {0};
	FAILS(syscall(SYS_bpf, 9999, zeros, sizeof zeros));
	FAILS(syscall(SYS_init_module, "garbage", 7, ""));
	int file = MUST(open("module", O_CREAT | O_RDWR, 0600));
	FAILS(syscall(SYS_finit_module, file, "", 0));
	MUST(close(file));
	MUST(unlink("module"));
	MUST(close(MUST(syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK))));
}

/* --- io_uring --------------------------------------------------------------------------------- */

static struct {
	int fd;
	char *rings;
	struct io_uring_params params;
	struct io_uring_sqe *entries;
} queue;

static void set_up_queue(void)
{
	queue.fd = MUST(syscall(SYS_io_uring_setup, 8, &queue.params));
	size_t bytes = queue.params.cq_off.cqes + queue.params.cq_entries * sizeof(struct io_uring_cqe);
	queue.rings = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, queue.fd, IORING_OFF_SQ_RING);
	queue.entries = mmap(NULL, 8 * sizeof *queue.entries, PROT_READ | PROT_WRITE, MAP_SHARED,
			     queue.fd, IORING_OFF_SQES);
	MUST((long)queue.rings);
	MUST((long)queue.entries);
}

/* Runs one request to its end. */
static long request(struct io_uring_sqe entry)
{
	static unsigned count;
	queue.entries[count & 7] = entry;
	((unsigned *)(queue.rings + queue.params.sq_off.array))[count & 7] = count & 7;
	*(_Atomic unsigned *)(queue.rings + queue.params.sq_off.tail) = count + 1;
	MUST(syscall(SYS_io_uring_enter, queue.fd, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0L));
	struct io_uring_cqe *done = (struct io_uring_cqe *)(queue.rings + queue.params.cq_off.cqes) +
				    (count & (queue.params.cq_entries - 1));
	*(_Atomic unsigned *)(queue.rings + queue.params.cq_off.head) = ++count;
	if (done->res < 0) {
		errno = -done->res;
		err(1, "io_uring, operation %d", entry.opcode);
	}
	return done->res;
}

/* Nothing in it has to wait, so that no kernel hands it to a thread of its own. */
static void by_ring(void)
{
	Address at = loopback(AF_INET);
	int there = MUST(socket(AF_INET, SOCK_DGRAM, 0));
	MUST(bind(there, &at.any, at.length));
	at = name_of(there);
	set_up_queue();
	int here = request((struct io_uring_sqe){.opcode = IORING_OP_SOCKET, .fd = AF_INET,
						 .off = SOCK_DGRAM});
	request((struct io_uring_sqe){.opcode = IORING_OP_CONNECT, .fd = here,
				      .addr = (unsigned long)&at, .off = at.length});
	request((struct io_uring_sqe){.opcode = IORING_OP_SEND, .fd = here,
				      .addr = (unsigned long)"by ring", .len = 7});
	request((struct io_uring_sqe){.opcode = IORING_OP_RECV, .fd = there,
				      .addr = (unsigned long)text, .len = sizeof text});
	request((struct io_uring_sqe){.opcode = IORING_OP_CLOSE, .fd = here});
	/* The name is known when the request comes to it. */
	MUST(close(MUST(open("/etc/passwd", O_RDONLY))));
	int file = request((struct io_uring_sqe){.opcode = IORING_OP_OPENAT, .fd = AT_FDCWD,
						 .addr = (unsigned long)"/etc/passwd"});
	request((struct io_uring_sqe){.opcode = IORING_OP_CLOSE, .fd = file});
}

/* getpid, dup and close of 32-bit programs. */
static long int80(long number, long argument)
{
	long result;
	__asm__ volatile("int $0x80" : "=a"(result) : "a"(number), "b"(argument)
			 : "r8", "r9", "r10", "r11", "memory");
	return (int)result;
}

static void compatibility(void)
{
	if (int80(20, 0) != getpid())
		errx(1, "getpid by int 0x80");
	int copy = int80(41, 0);
	if (copy < 0 || int80(6, copy))
		errx(1, "dup and close by int 0x80");
}

int main(int argc, char **argv)
{
	if (argc != 2)
		return 0;
	snprintf(program, sizeof program, "%s/kernel_story", argv[1]);
	MUST(chdir(argv[1]));
	umask(022);
	MUST(close_range(3, ~0U, 0));
	MUST(prctl(PR_SET_NAME, "the story"));
	connection(AF_INET);
	connection(AF_INET6);
	refusals();
	datagrams(AF_INET);
	datagrams(AF_INET6);
	unix_sockets();
	passing();
	copies();
	moved_otherwise();
	names();
	memory_file();
	in_child(secrets);
	in_child(mounts);
	in_child(jail);
	execs();
	in_child(rights);
	in_child(traced);
	signals();
	memory();
	in_child(namespaces);
	threads();
	shared_table();
	kernel();
	in_child(by_ring);
	compatibility();
	return 0;
}
