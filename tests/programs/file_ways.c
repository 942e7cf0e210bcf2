/* Does things to files as its arguments say, and tells its pid first. Each is a letter and its paths:
 *
 * r, w, t PATH   open to read, to write (made if need be), to read and cut
 * m PATH         map shared and writable
 * c PATH         truncate(2)
 * x, p PATH      chmod(2) to 0755, to 0440
 * l, n, s A B    link, rename, symlink
 * u, d, f PATH   unlink, mkdir, mkfifo
 * M PATH         mount a tmpfs; B A B a part of a file system elsewhere; P PATH another proc
 * C PATH         make a node of the device 1:1
 * D PATH         work there: only then is it known where a changed name's file system is mounted
 * k NAME, K      open /proc/PID/NAME of a child, and of the process itself
 */
#define _GNU_SOURCE
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

static void must(const char *what, int failed)
{
	if (failed)
		err(1, "%s", what);
}

static void opened(const char *path, int flags)
{
	int fd = open(path, flags | O_CLOEXEC | O_NONBLOCK, 0644);
	/* A device may be behind a node or not. */
	must(path, fd < 0 && errno != ENXIO && errno != ENODEV && errno != EPERM);
	if (fd >= 0)
		close(fd);
}

/* A new one gets some content. */
static void written(const char *path)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	must(path, fd >= 0 && write(fd, "content", 7) != 7);
	if (fd >= 0)
		close(fd);
	else
		opened(path, O_WRONLY);
}

static void mapped(const char *path)
{
	int fd = open(path, O_RDWR | O_CLOEXEC);
	must(path, fd < 0 || mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) == MAP_FAILED);
	close(fd);
}

static void of_process(pid_t pid, const char *name)
{
	char path[64];
	snprintf(path, sizeof path, "/proc/%d/%s", pid, name);
	opened(path, O_RDONLY);
}

static void of_child(const char *name)
{
	pid_t child = fork();
	must("fork", child < 0);
	if (child == 0) {
		pause();
		_exit(0);
	}
	of_process(child, name);
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
}

int main(int argc, char **argv)
{
	(void)argc;
	printf("%d\n", getpid());
	fflush(stdout);
	must("mounts", unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL));
	umask(022);
	while (*++argv) {
		char way = **argv;
		const char *a = *++argv;
		if (strchr("lnsB", way) && !*++argv)
			errx(2, "arguments");
		const char *b = *argv;
		switch (way) {
		case 'r': opened(a, O_RDONLY); break;
		case 'w': written(a); break;
		case 't': opened(a, O_RDONLY | O_TRUNC); break;
		case 'm': mapped(a); break;
		case 'c': must(a, truncate(a, 0)); break;
		case 'x': must(a, chmod(a, 0755)); break;
		case 'p': must(a, chmod(a, 0440)); break;
		case 'l': must(b, link(a, b)); break;
		case 'n': must(b, rename(a, b)); break;
		case 's': must(b, symlink(a, b)); break;
		case 'u': must(a, unlink(a)); break;
		case 'd': must(a, mkdir(a, 0755)); break;
		case 'f': must(a, mkfifo(a, 0644)); break;
		case 'M': must(a, mount("none", a, "tmpfs", 0, NULL)); break;
		case 'B': must(b, mount(a, b, NULL, MS_BIND, NULL)); break;
		case 'P': must(a, mount("none", a, "proc", 0, NULL)); break;
		case 'C': must(a, mknod(a, S_IFCHR | 0600, makedev(1, 1))); break;
		case 'D': must(a, chdir(a)); break;
		case 'k': of_child(a); break;
		case 'K': of_process(getpid(), a); break;
		default: errx(2, "unknown way %c", way);
		}
	}
	return 0;
}
