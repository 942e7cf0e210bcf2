/* Included by the programs sensor_files*.c: tells a test what a call truly did.
 *
 * A block of KEY=VALUE lines for each call, ended by an empty line; bytes are in hex. Programs are
 * compiled when their own file changes: touch them after a change here. */
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define UNUSED __attribute__((unused))
#define CLOSE_ON_EXEC 2U
#define RACY 8U
#define PRIVATE_FILES 16U
#define IO_URING 32U
#define TAINTED 128U
#define NO_CALL 65535

/* Where the program works; the kernel's own path of it. */
static char home[PATH_MAX];
/* Of the last timed call. */
static unsigned long long before, after;
static long result;
/* Record flags that the test does not compare. */
static unsigned loose = TAINTED;
/* Record flags that hold besides those of the descriptor. */
static unsigned extra;
/* Whether another thread of the process may have acted. */
static int any_thread;

static unsigned long long boot_now(void)
{
	struct timespec now;
	clock_gettime(CLOCK_BOOTTIME, &now);
	return now.tv_sec * 1000000000ULL + now.tv_nsec;
}

/* Times a call of libc's kind, and one that returns the kernel's own result. */
#define TIMED(call) \
	(before = boot_now(), result = (call), result = result == -1 ? -errno : result, \
	 after = boot_now())
#define TIMED_RAW(call) (before = boot_now(), result = (call), after = boot_now())

/* Start of the process in clock ticks; /proc is read once in each process. */
static unsigned long long start_ticks(void)
{
	static pid_t of;
	static unsigned long long ticks;
	if (of == getpid())
		return ticks;
	char text[1024];
	int fd = open("/proc/self/stat", O_RDONLY | O_CLOEXEC);
	ssize_t length = read(fd, text, sizeof text - 1);
	if (length <= 0)
		err(1, "/proc/self/stat");
	close(fd);
	text[length] = 0;
	char *at = strrchr(text, ')') + 2;
	for (int field = 3; field < 22; field++)
		at = strchr(at, ' ') + 1;
	ticks = strtoull(at, NULL, 10);
	of = getpid();
	return ticks;
}

static void put(const char *key, unsigned long long value)
{
	printf("%s=%llu\n", key, value);
}

static void put_bytes(const char *key, const void *bytes, size_t length)
{
	printf("%s=", key);
	for (size_t i = 0; i < length; i++)
		printf("%02x", ((const unsigned char *)bytes)[i]);
	putchar('\n');
}

static void put_text(const char *key, const char *text)
{
	put_bytes(key, text, strlen(text));
}

/* Begins the block of the last timed call. */
static void begin(const char *name, const char *kind, int records, int abi, long call)
{
	printf("case=%s\nkind=%s\nresult=%ld\n", name, kind, result);
	put("records", records);
	put("abi", abi);
	put("call", call);
	put("before", before);
	put("after", after);
	put("pid", getpid());
	if (!any_thread)
		put("tid", gettid());
	put("uid", getuid());
	put("euid", geteuid());
	put("start", start_ticks());
	put("loose", loose);
}

static void end(void)
{
	putchar('\n');
	fflush(stdout);
}

/* inode.i_generation by the file handle, which says it of every exportable file system; O_PATH
 * descriptors will do. */
static int generation(int fd, unsigned *to)
{
	struct {
		struct file_handle handle;
		unsigned words[32];
	} all = {.handle.handle_bytes = sizeof all.words};
	int mount;
	struct statfs system;
	if (name_to_handle_at(fd, "", &all.handle, &mount, AT_EMPTY_PATH) || fstatfs(fd, &system))
		return 0;
	unsigned words[2];
	memcpy(words, all.handle.f_handle, sizeof words);
	if (system.f_type == 0x01021994 /* tmpfs */)
		*to = words[0];
	else if (system.f_type == 0xef53 /* ext4 */)
		*to = words[1];
	else
		return 0;
	return 1;
}

static void put_object(int fd)
{
	struct stat is;
	unsigned number;
	if (fstat(fd, &is))
		err(1, "fstat");
	put("device", (unsigned)major(is.st_dev) << 20 | minor(is.st_dev));
	put("inode", is.st_ino);
	put("mode", is.st_mode);
	put("links", is.st_nlink);
	put("size", is.st_size);
	put("owner", is.st_uid);
	int special = S_ISCHR(is.st_mode) || S_ISBLK(is.st_mode);
	put("rdev", special ? (unsigned)major(is.st_rdev) << 20 | minor(is.st_rdev) : 0);
	if (generation(fd, &number))
		put("generation", number);
}

/* The rest of a file record's block. */
UNUSED static void put_file(int fd, const char *path)
{
	put_object(fd);
	int status = fcntl(fd, F_GETFL), own = fcntl(fd, F_GETFD);
	if (status < 0 || own < 0)
		err(1, "fcntl");
	put("open_flags", status);
	put("flags", extra | (own & FD_CLOEXEC ? CLOSE_ON_EXEC : 0));
	put_text("path", path);
}

/* `name` in the home directory; never freed. */
static char *at(const char *name)
{
	char *path;
	if (asprintf(&path, "%s/%s", home, name) < 0)
		err(1, "memory");
	return path;
}

UNUSED static char *format(const char *pattern, long number)
{
	char *text;
	if (asprintf(&text, pattern, number) < 0)
		err(1, "memory");
	return text;
}

static void must(const char *what, int failed)
{
	if (failed)
		err(1, "%s", what);
}

UNUSED static void make(const char *name, mode_t mode)
{
	int fd = open(name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0 || write(fd, "content\n", 8) != 8 || fchmod(fd, mode) || close(fd))
		err(1, "%s", name);
}

/* Works in a directory, made if need be. */
static void settle(const char *directory)
{
	if (mkdir(directory, 0755) && errno != EEXIST)
		err(1, "%s", directory);
	if (!realpath(directory, home) || chdir(home))
		err(1, "%s", directory);
	umask(022);
	start_ticks();
}

/* A mount namespace of its own; nothing gets out. */
UNUSED static void own_mounts(void)
{
	must("unshare", unshare(CLONE_NEWNS));
	must("private", mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL));
}

/* Memory below 4 GiB, for 32-bit calls. */
UNUSED static char *low_copy(const void *bytes, size_t length)
{
	static char *low;
	static size_t used;
	if (!low)
		low = mmap(NULL, 65536, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
	if (low == MAP_FAILED || used + length > 65536)
		errx(1, "no low memory");
	char *to = memcpy(low + used, bytes, length);
	used += (length + 15) & ~15UL;
	return to;
}

UNUSED static long low(const char *text)
{
	return (long)low_copy(text, strlen(text) + 1);
}

/* The 32-bit entry of a 64-bit kernel. */
UNUSED static long int80(long number, long a, long b, long c, long d, long e)
{
	long got;
	/* The sixth argument is 0; below the stack pointer may lie data of the compiler's. */
	__asm__ volatile("lea -128(%%rsp), %%rsp\n\tpush %%rbp\n\txor %%ebp, %%ebp\n\tint $0x80\n\t"
			 "pop %%rbp\n\tlea 128(%%rsp), %%rsp"
			 : "=a"(got)
			 : "a"(number), "b"(a), "c"(b), "d"(c), "S"(d), "D"(e)
			 : "r8", "r9", "r10", "r11", "memory", "cc");
	return (int)got;
}
