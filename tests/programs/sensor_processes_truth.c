/* Included by the programs of the process tests: tells the truth as key=value lines.
 *
 * Ids are read from /proc, which shows those of the initial pid namespace to whoever asks. */
#define _GNU_SOURCE
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* What the ids of a process in a user namespace are in the initial one; -1 where it has none. */
static int outside = -1;

static inline unsigned long long boot_time(void)
{
	struct timespec now;
	clock_gettime(CLOCK_BOOTTIME, &now);
	return now.tv_sec * 1000000000ULL + now.tv_nsec;
}

static inline int own_tgid(void)
{
	char link[64] = "";
	if (readlink("/proc/self", link, sizeof link - 1) < 0)
		err(1, "/proc/self");
	return atoi(link);
}

static inline int own_tid(void)
{
	char link[64] = "";
	if (readlink("/proc/thread-self", link, sizeof link - 1) < 0)
		err(1, "/proc/thread-self");
	return atoi(strrchr(link, '/') + 1);
}

/* State (field 3) and start (field 22) of a process. */
static inline char stat_of(int pid, unsigned long long *start)
{
	char path[64], text[1024], *rest;
	snprintf(path, sizeof path, "/proc/%d/stat", pid);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t length = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
	if (length <= 0)
		err(1, "%s", path);
	close(fd);
	text[length] = 0;
	rest = strrchr(text, ')') + 2;
	char state = *rest;
	for (int field = 3; field < 22; field++)
		rest = strchr(rest, ' ') + 1;
	*start = strtoull(rest, NULL, 10);
	return state;
}

static inline unsigned long long start_of(int pid)
{
	unsigned long long start;
	stat_of(pid, &start);
	return start;
}

/* A line of /proc/thread-self/status without its name. */
static inline void status(const char *name, char value[512])
{
	char line[512];
	FILE *file = fopen("/proc/thread-self/status", "re");
	if (!file)
		err(1, "status");
	while (fgets(line, sizeof line, file)) {
		size_t length = strlen(name);
		if (!strncmp(line, name, length) && line[length] == ':') {
			line[strcspn(line, "\n")] = 0;
			strcpy(value, line + length + 2);
			fclose(file);
			return;
		}
	}
	errx(1, "no %s", name);
}

/* KEY.who: thread group, thread, start of the group's leader, real and effective user id. */
static inline void say_who(const char *key)
{
	unsigned uid, euid;
	char ids[512];
	status("Uid", ids);
	sscanf(ids, "%u %u", &uid, &euid);
	if (outside >= 0)
		uid = euid = outside;
	int tgid = own_tgid();
	printf("%s.who=%d %d %llu %u %u\n", key, tgid, own_tid(), start_of(tgid), uid, euid);
}

static inline void say_credentials(const char *key)
{
	static const char *const names[] = { "Uid",    "Gid",	 "CapInh", "CapPrm",
					     "CapEff", "CapBnd", "CapAmb" };
	char value[512];
	for (int i = 0; i < 7; i++) {
		status(names[i], value);
		if (i < 2 && outside >= 0)
			snprintf(value, sizeof value, "%d %d %d %d", outside, outside, outside,
				 outside);
		printf("%s.%s=%s\n", key, names[i], value);
	}
	struct stat namespace;
	if (stat("/proc/thread-self/ns/user", &namespace))
		err(1, "ns/user");
	printf("%s.namespace=%lu\n", key, namespace.st_ino);
	printf("%s.securebits=%d\n", key, prctl(PR_GET_SECUREBITS));
}

/* KEY.object: device, inode, mode, rdev, links, owner, size, generation (-1: nobody tells). */
static inline void say_object(const char *key, int fd)
{
	struct stat file;
	if (fstat(fd, &file)) {
		printf("%s.object=0 0 0 0 0 0 0 -1\n", key);
		return;
	}
	long generation = 0;
	long long told = -1;
	if (S_ISREG(file.st_mode) && !ioctl(fd, FS_IOC_GETVERSION, &generation))
		told = (unsigned)generation;
	printf("%s.object=%u %lu %u %u %lu %u %ld %lld\n", key,
	       major(file.st_dev) << 20 | minor(file.st_dev), file.st_ino, file.st_mode,
	       major(file.st_rdev) << 20 | minor(file.st_rdev), file.st_nlink, file.st_uid,
	       file.st_size, told);
}

static inline void say_bytes(const char *key, const char *const *strings)
{
	printf("%s=", key);
	for (; *strings; strings++)
		for (const char *byte = *strings;; byte++) {
			printf("%02x", (unsigned char)*byte);
			if (!*byte)
				break;
		}
	printf("\n");
}

/* A call that was made by the calling thread just now: its number, ABI, result and arguments. */
static inline void say_call(const char *key, int abi, int call, long result, int count, ...)
{
	va_list list;
	say_who(key);
	printf("%s.call=%d\n%s.abi=%d\n%s.result=%ld\n%s.arguments=", key, call, key, abi, key,
	       result, key);
	va_start(list, count);
	for (int i = 0; i < count; i++)
		printf(i ? " %lu" : "%lu", va_arg(list, unsigned long));
	va_end(list);
	printf("\n");
}

/* The kernel's own result instead of errno. */
static inline long plain_call(long number, unsigned long a, unsigned long b, unsigned long c,
			      unsigned long d, unsigned long e)
{
	long result = syscall(number, a, b, c, d, e, 0UL);
	return result == -1 ? -errno : result;
}

/* The 32-bit entry of a 64-bit kernel. */
static inline long int80(unsigned long number, unsigned a, unsigned b, unsigned c)
{
	long result;
	__asm__ volatile("int $0x80"
			 : "=a"(result)
			 : "a"(number), "b"((unsigned long)a), "c"((unsigned long)b),
			   "d"((unsigned long)c)
			 : "r8", "r9", "r10", "r11", "memory");
	return (int)result;
}

/* KEY.process: tgid and start of a child. */
static inline void say_process(const char *key, int pid)
{
	printf("%s.process=%d %llu\n", key, pid, start_of(pid));
}

/* The same once the child has ended, and reaps it. */
static inline void say_ended(const char *key, int pid)
{
	siginfo_t info;
	if (waitid(P_PID, pid, &info, WEXITED | WNOWAIT | __WALL))
		err(1, "waitid");
	say_process(key, pid);
	if (waitpid(pid, NULL, __WALL) != pid)
		err(1, "waitpid");
}

static inline int start_child(void)
{
	fflush(stdout);
	int child = fork();
	if (child < 0)
		err(1, "fork");
	return child;
}

static inline void write_text(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text))
		err(1, "%s", path);
	close(fd);
}
