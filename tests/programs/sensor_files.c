/* One real thing done to a file by a choice of calls, and the truth of it on standard output.
 *
 * sensor_files CASE DIRECTORY [ARGUMENT] */
#define _GNU_SOURCE
#include "sensor_files_truth.c"

#include <linux/io_uring.h>
#include <linux/openat2.h>
#include <pthread.h>
#include <sys/resource.h>

static void opened(const char *name, int abi, long call, const char *path)
{
	if (result < 0)
		errx(1, "%s: %s", name, strerror(-result));
	begin(name, "OPEN", 1, abi, call);
	put_file(result, path);
	end();
}

static void failed(const char *name, long call)
{
	if (result >= 0)
		errx(1, "%s: succeeds", name);
	begin(name, "OPEN", 0, 0, call);
	end();
}

#define OPENED(name, path, call, ...) \
	(TIMED(syscall(call, __VA_ARGS__)), opened(name, 0, call, path))
#define FAILED(name, call, ...) (TIMED(syscall(call, __VA_ARGS__)), failed(name, call))

static struct open_how how(unsigned flags, unsigned resolve)
{
	return (struct open_how){.flags = flags, .resolve = resolve};
}

static int directory(const char *name)
{
	int fd = open(name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	must(name, fd < 0);
	return fd;
}

static void names_of_a_file(void)
{
	make("file", 0640);
	must("mkdir", mkdir("dir", 0755));
	make("dir/inner", 0604);
	must("symlink", symlink("file", "symlink") || symlink(at("dir"), "dirlink"));
	must("link", link("file", "hard"));
	int dir = directory("dir"), here = directory(".");
	const char *file = at("file"), *inner = at("dir/inner");
	OPENED("open", file, SYS_open, file, O_RDONLY);
	OPENED("close on exec", file, SYS_open, file, O_RDWR | O_CLOEXEC);
	OPENED("relative", file, SYS_open, "file", O_RDONLY);
	OPENED("dot dot", file, SYS_openat, AT_FDCWD, "dir/.././dir/../file", O_RDONLY);
	OPENED("slashes", inner, SYS_openat, AT_FDCWD, "dir////inner", O_RDONLY);
	OPENED("leading slashes", "/etc/hostname", SYS_openat, AT_FDCWD, "//etc///hostname", O_RDONLY);
	OPENED("symlink", file, SYS_openat, AT_FDCWD, "symlink", O_RDONLY);
	OPENED("symlinked directory", inner, SYS_openat, AT_FDCWD, "dirlink/inner", O_RDONLY);
	OPENED("hard link", at("hard"), SYS_openat, AT_FDCWD, "hard", O_RDONLY);
	OPENED("dirfd", inner, SYS_openat, dir, "inner", O_RDONLY);
	OPENED("dirfd and dot dot", file, SYS_openat, dir, "../file", O_RDONLY);
	OPENED("creat", at("made"), SYS_creat, "made", 0600);
	OPENED("symlink itself", at("symlink"), SYS_openat, AT_FDCWD, "symlink", O_PATH | O_NOFOLLOW);

	struct open_how plain = how(O_RDONLY, 0), beneath = how(O_RDONLY, RESOLVE_BENEATH),
			root = how(O_RDONLY, RESOLVE_IN_ROOT),
			straight = how(O_RDONLY | O_CLOEXEC, RESOLVE_NO_SYMLINKS);
	OPENED("openat2", file, SYS_openat2, AT_FDCWD, file, &plain, sizeof plain);
	OPENED("openat2 beneath", inner, SYS_openat2, here, "dir/inner", &beneath, sizeof beneath);
	OPENED("openat2 in root", inner, SYS_openat2, dir, "/../../inner", &root, sizeof root);
	OPENED("openat2 without symlinks", file, SYS_openat2, here, "file", &straight,
	       sizeof straight);
	FAILED("openat2 beneath, leaving", SYS_openat2, dir, "../file", &beneath, sizeof beneath);
	FAILED("openat2 without symlinks, over one", SYS_openat2, here, "symlink", &straight,
	       sizeof straight);

	struct {
		struct file_handle handle;
		unsigned char bytes[MAX_HANDLE_SZ];
	} all = {.handle.handle_bytes = MAX_HANDLE_SZ};
	int mount_id;
	must("handle", name_to_handle_at(AT_FDCWD, "dir/inner", &all.handle, &mount_id, 0));
	OPENED("open_by_handle_at", inner, SYS_open_by_handle_at, here, &all.handle, O_RDONLY);

	char root_path[PATH_MAX + 32];
	snprintf(root_path, sizeof root_path, "/proc/self/root%s", file);
	OPENED("through /proc/self/root", file, SYS_open, root_path, O_RDONLY);
	OPENED("through /proc/self/cwd", file, SYS_open, "/proc/self/cwd/file", O_RDONLY);
	OPENED("through /proc/self/fd", inner, SYS_open, format("/proc/self/fd/%ld/inner", dir), O_RDONLY);
	OPENED("through another thread's root", inner, SYS_open,
	       format("/proc/thread-self/fd/%ld/../dir/inner", dir), O_RDONLY);
	OPENED("path only", file, SYS_open, "file", O_PATH);
	OPENED("path only, reopened", file, SYS_open, format("/proc/self/fd/%ld", result), O_RDWR);
}

static void kinds_of_files(void)
{
	make("file", 0644);
	must("mkdir", mkdir("dir", 0755) || mkfifo("fifo", 0600));
	OPENED("directory", at("dir"), SYS_open, "dir", O_RDONLY | O_DIRECTORY);
	OPENED("device", "/dev/null", SYS_open, "/dev/null", O_RDWR);
	OPENED("fifo", at("fifo"), SYS_open, "fifo", O_RDWR | O_NONBLOCK);
	OPENED("file of proc", format("/proc/%ld/status", getpid()), SYS_open, "/proc/self/status",
	       O_RDONLY);
	OPENED("root", "/", SYS_open, "/", O_RDONLY);

	OPENED("created", at("new"), SYS_open, "new", O_CREAT | O_EXCL | O_TRUNC | O_WRONLY, 0640);
	OPENED("appending", at("new"), SYS_open, "new", O_WRONLY | O_APPEND | O_SYNC | O_CREAT, 0);
	OPENED("truncated", at("file"), SYS_open, "file", O_RDWR | O_TRUNC | O_NOCTTY | O_NOFOLLOW);
	OPENED("without access time", at("file"), SYS_open, "file", O_RDONLY | O_NOATIME);
}

static void nameless(void)
{
	struct stat is;
	TIMED(syscall(SYS_open, ".", O_TMPFILE | O_RDWR, 0600));
	must("O_TMPFILE", result < 0 || fstat(result, &is));
	opened("nameless", 0, SYS_open, at(format("#%ld", is.st_ino)));
	make("gone", 0600);
	int fd = open("gone", O_RDWR);
	must("unlink", fd < 0 || unlink("gone"));
	OPENED("deleted", at("gone"), SYS_open, format("/proc/self/fd/%ld", fd), O_RDONLY);
	make("old", 0600);
	fd = open("old", O_RDWR);
	must("rename", fd < 0 || rename("old", "new"));
	OPENED("renamed", at("new"), SYS_open, format("/proc/self/fd/%ld", fd), O_RDONLY);

	struct {
		const char *name, *path;
		unsigned flags;
	} memory[] = {{"payload", "memfd:payload", MFD_CLOEXEC},
		      {"a/b c", "memfd:a/b c", MFD_ALLOW_SEALING},
		      {"", "memfd:", 0}};
	for (int i = 0; i < 3; i++) {
		TIMED(syscall(SYS_memfd_create, memory[i].name, memory[i].flags));
		must("memfd", result < 0);
		int made = result;
		begin("memfd", "MEMFD", 1, 0, SYS_memfd_create);
		put("argument1", memory[i].flags);
		put_file(made, memory[i].path);
		end();
		must("write", write(made, "payload", 7) != 7);
		OPENED("memfd, reopened", memory[i].path, SYS_open, format("/proc/self/fd/%ld", made),
		       O_RDONLY);
	}
	TIMED_RAW(int80(356, low("low"), MFD_CLOEXEC, 0, 0, 0));
	must("memfd by int 0x80", result < 0);
	begin("memfd by int 0x80", "MEMFD", 1, 1, 356);
	put("argument1", MFD_CLOEXEC);
	put_file(result, "memfd:low");
	end();
}

static void failures(void)
{
	make("file", 0644);
	must("symlink", symlink("loop", "loop") || symlink("nowhere", "dangling"));
	FAILED("missing", SYS_open, "missing", O_RDONLY);
	FAILED("dangling", SYS_openat, AT_FDCWD, "dangling", O_RDONLY);
	FAILED("loop", SYS_openat, AT_FDCWD, "loop", O_RDONLY);
	FAILED("exclusive", SYS_open, "file", O_CREAT | O_EXCL | O_WRONLY, 0600);
	FAILED("no directory", SYS_open, "file", O_RDONLY | O_DIRECTORY);
	FAILED("directory for writing", SYS_open, ".", O_WRONLY);
	FAILED("no memory", SYS_open, 8L, O_RDONLY);
	FAILED("no descriptor", SYS_openat, 12345, "file", O_RDONLY);
	FAILED("no creat", SYS_creat, "missing/file", 0600);
	struct rlimit none = {0, 0};
	must("setrlimit", setrlimit(RLIMIT_NOFILE, &none));
	FAILED("no room", SYS_open, "file", O_RDONLY);
}

static void names(void)
{
	char longest[256];
	memset(longest, 'n', 255);
	longest[255] = 0;
	const char *all[] = {
		" ",	"two words", "line\nline\n", "\xff\xfe\x80invalid", "tab\tquote\"'\\$`",
		"\xc3\xa4\xe2\x82\xac", "file (deleted)", "...",	  "\x01\x1b[31m",  longest,
		"-",
	};
	for (unsigned i = 0; i < sizeof all / sizeof *all; i++) {
		must("mkdir", mkdir(format("%ld", i), 0755) || chdir(format("%ld", i)));
		must("mkdir", mkdir(all[i], 0755) || chdir(all[i]));
		char *path;
		must("memory", asprintf(&path, "%s/%d/%s/%s", home, i, all[i], all[i]) < 0);
		make(all[i], 0644);
		OPENED(format("name %ld", i), path, SYS_open, all[i], O_RDONLY);
		must("chdir", chdir(home));
	}
}

/* A file whose path has `length` bytes, of components of up to 200. */
static void path_of(int length)
{
	char path[8192], name[256];
	strcpy(path, home);
	for (;;) {
		int left = length - strlen(path);
		int take = left > 202 ? 200 : left - 1;
		memset(name, left > 202 ? 'd' : 'f', take);
		name[take] = 0;
		strcat(strcat(path, "/"), name);
		if (left <= 202)
			break;
		if (mkdir(name, 0755) && errno != EEXIST)
			err(1, "mkdir");
		must("chdir", chdir(name));
	}
	make(name, 0644);
	OPENED(format("path of %ld bytes", length), path, SYS_open, name, O_RDONLY);
	must("chdir", chdir(home));
}

/* A file below `depth` directories with names of one byte. */
static void depth_of(int depth)
{
	char path[8192];
	strcpy(path, home);
	for (int i = 0; i < depth; i++) {
		if (mkdir("a", 0755) && errno != EEXIST)
			err(1, "mkdir");
		must("chdir", chdir("a"));
		strcat(path, "/a");
	}
	make("f", 0644);
	OPENED(format("%ld deep", depth), strcat(path, "/f"), SYS_open, "f", O_RDONLY);
	must("chdir", chdir(home));
}

static void lengths(void)
{
	int lengths[] = {255, 256, 257, 500, 511, 512, 513, 600, 1023, 1024, 1025, 3000, 6000};
	for (unsigned i = 0; i < sizeof lengths / sizeof *lengths; i++)
		path_of(lengths[i]);
}

static void depths(void)
{
	int depths[] = {16, 62, 63, 64, 65, 100, 200, 230, 300, 600};
	for (unsigned i = 0; i < sizeof depths / sizeof *depths; i++)
		depth_of(depths[i]);
}

/* Fills its table outside of the cgroup, so that nobody has to hear of it, and then opens: as
 * descriptor 1,000,000, or as high as the limit lets. */
static void high_descriptors(const char *cgroup_procs)
{
	struct rlimit limit = {1000100, 1000100};
	if (setrlimit(RLIMIT_NOFILE, &limit)) {
		must("getrlimit", getrlimit(RLIMIT_NOFILE, &limit));
		limit.rlim_cur = limit.rlim_max;
		must("setrlimit", setrlimit(RLIMIT_NOFILE, &limit));
	}
	long highest = limit.rlim_cur - 100;
	make("file", 0644);
	int procs = open(cgroup_procs, O_WRONLY | O_CLOEXEC), last;
	while ((last = dup(0)) >= 0 && last < highest - 1)
		;
	must("dup", last < 0);
	must("cgroup", dprintf(procs, "%d", getpid()) < 0);
	OPENED("high descriptor", at("file"), SYS_open, "file", O_RDONLY);
	must("descriptor", result != highest);
	TIMED(syscall(SYS_fcntl, 0, F_DUPFD_CLOEXEC, highest + 50));
	must("F_DUPFD", result != highest + 50);
	begin("high copy", "DUP", 1, 0, SYS_fcntl);
	put("argument0", 0);
	put_object(result);
	put("flags", CLOSE_ON_EXEC);
	end();
}

static void *by_thread(void *name)
{
	OPENED(name, at("file"), SYS_open, "file", O_RDONLY);
	return NULL;
}

static void *by_thread_alone(void *name)
{
	must("unshare", unshare(CLONE_FILES));
	return by_thread(name);
}

static void run_thread(void *(*run)(void *), char *name)
{
	pthread_t thread;
	if (pthread_create(&thread, NULL, run, name))
		errx(1, "pthread_create");
	pthread_join(thread, NULL);
}

static void tasks(void)
{
	make("file", 0644);
	by_thread("alone");
	pid_t child = syscall(SYS_clone, CLONE_FILES | SIGCHLD, 0, 0, 0, 0);
	must("clone", child < 0);
	if (child == 0) {
		extra = RACY;
		by_thread("child that shares the table");
		_exit(0);
	}
	waitpid(child, NULL, 0);
	child = fork();
	must("fork", child < 0);
	if (child == 0) {
		must("setresgid", setresgid(7, 8, 9) || setresuid(3, 2, 0));
		by_thread("other user");
		_exit(0);
	}
	waitpid(child, NULL, 0);
	extra = RACY;
	run_thread(by_thread, "thread");
	extra = PRIVATE_FILES;
	run_thread(by_thread_alone, "thread with a table of its own");
}

static void low_calls(void)
{
	make("file", 0644);
	int here = directory(".");
	struct open_how plain = how(O_RDONLY | O_CLOEXEC, 0);
	TIMED_RAW(int80(5, low("file"), O_RDONLY, 0, 0, 0));
	opened("int 0x80: open", 1, 5, at("file"));
	TIMED_RAW(int80(5, low("/etc/hostname"), O_RDONLY | O_CLOEXEC, 0, 0, 0));
	opened("int 0x80: open, absolute", 1, 5, "/etc/hostname");
	TIMED_RAW(int80(8, low("made"), 0600, 0, 0, 0));
	opened("int 0x80: creat", 1, 8, at("made"));
	TIMED_RAW(int80(295, here, low("file"), O_RDWR, 0, 0));
	opened("int 0x80: openat", 1, 295, at("file"));
	TIMED_RAW(int80(437, AT_FDCWD, low("file"), (long)low_copy(&plain, sizeof plain),
			sizeof plain, 0));
	opened("int 0x80: openat2", 1, 437, at("file"));
	TIMED_RAW(int80(5, low("missing"), O_RDONLY, 0, 0, 0));
	begin("int 0x80: open, failed", "OPEN", 0, 1, 5);
	end();
	/* The kernel looks at the lower half of the number only. */
	TIMED(syscall(1L << 32 | SYS_open, "file", O_RDONLY));
	opened("number above 32 bits", 0, SYS_open, at("file"));
}

static void about(const char *name, const char *kind, int records, int abi, long call, int fd,
		  const char *path, unsigned long long one)
{
	begin(name, kind, records, abi, call);
	put("argument0", fd);
	put("argument1", one);
	put_file(fd, path);
}

static void maps(void)
{
	must("mkdir", mkdir(".ssh", 0700));
	make(".ssh/key", 0600);
	make("ordinary", 0600);
	int key = open(".ssh/key", O_RDWR | O_CLOEXEC), ordinary = open("ordinary", O_RDWR);
	struct {
		const char *name;
		int fd, records;
		unsigned protection, flags;
	} cases[] = {
		{"read", key, 1, PROT_READ, MAP_PRIVATE},
		{"write", key, 1, PROT_READ | PROT_WRITE, MAP_SHARED},
		{"execute", key, 1, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_POPULATE},
		{"none", key, 1, PROT_NONE, MAP_SHARED},
		{"ordinary", ordinary, 0, PROT_READ, MAP_PRIVATE},
		{"anonymous", key, 0, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS},
	};
	for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
		int fd = cases[i].fd;
		TIMED(syscall(SYS_mmap, NULL, 4096L, cases[i].protection, cases[i].flags, fd, 0L));
		must(cases[i].name, result < 0 && result > -4096);
		about(cases[i].name, "MAP", cases[i].records, 0, SYS_mmap, fd, at(".ssh/key"),
		      cases[i].protection);
		put("argument2", cases[i].flags);
		put("class", 65542);
		end();
	}
	TIMED(syscall(SYS_mmap, NULL, 0L, PROT_READ, MAP_PRIVATE, key, 0L));
	begin("failed", "MAP", 0, 0, SYS_mmap);
	end();
	TIMED_RAW((unsigned)int80(192, 0, 4096, PROT_READ, MAP_PRIVATE, key));
	about("int 0x80: mmap2", "MAP", 1, 1, 192, key, at(".ssh/key"), PROT_READ);
	put("argument2", MAP_PRIVATE);
	put("class", 65542);
	end();
}

static void changes(void)
{
	make("file", 0600);
	int fd = open("file", O_RDWR), closing = open("file", O_RDWR | O_CLOEXEC);
	const char *path = at("file");
	unsigned modes[] = {04755, 02711, 06000, 0700, 0010, 0001, 0644, 01666};
	for (int i = 0; i < 8; i++) {
		TIMED(syscall(SYS_fchmod, fd, modes[i]));
		must("fchmod", result);
		about(format("fchmod %lo", modes[i]), "FCHMOD", i < 6, 0, SYS_fchmod, fd, path,
		      modes[i]);
		end();
	}
	TIMED_RAW(int80(94, closing, 04711, 0, 0, 0));
	about("int 0x80: fchmod", "FCHMOD", 1, 1, 94, closing, path, 04711);
	end();
	TIMED(syscall(SYS_fchmod, 12345, 0755));
	begin("fchmod of nothing", "FCHMOD", 0, 0, SYS_fchmod);
	end();

	TIMED(syscall(SYS_ftruncate, closing, 0x123456789L));
	must("ftruncate", result);
	about("ftruncate", "FTRUNCATE", 1, 0, SYS_ftruncate, closing, path, 0x123456789L);
	end();
	TIMED(syscall(SYS_ftruncate, fd, 0L));
	about("ftruncate to nothing", "FTRUNCATE", 1, 0, SYS_ftruncate, fd, path, 0);
	end();
	TIMED_RAW(int80(93, fd, 77, 0, 0, 0));
	about("int 0x80: ftruncate", "FTRUNCATE", 1, 1, 93, fd, path, 77);
	end();
	TIMED_RAW(int80(194, fd, 0x23456789, 1, 0, 0));
	must("ftruncate64", result);
	about("int 0x80: ftruncate64", "FTRUNCATE", 1, 1, 194, fd, path, 0x123456789L);
	end();
	TIMED(syscall(SYS_ftruncate, fd, -1L));
	begin("failed ftruncate", "FTRUNCATE", 0, 0, SYS_ftruncate);
	end();
}

static void put_in(const char *name)
{
	must(name, mount("sentinel-test", name, "tmpfs", 0, NULL));
}

static void mounts(void)
{
	must("mkdir", mkdir("source", 0755) || mkdir("source/sub", 0755) || mkdir("bound", 0755) ||
			      mkdir("tmpfs", 0755) || mkdir("bound_sub", 0755));
	make("source/file", 0644);
	make("source/sub/file", 0640);
	make("bound_file", 0600);
	own_mounts();
	must("bind", mount("source", "bound", NULL, MS_BIND, NULL));
	OPENED("bind mount", at("bound/file"), SYS_open, "bound/file", O_RDONLY);
	OPENED("bind mount, the other way", at("source/file"), SYS_open, "source/file", O_RDONLY);
	must("bind", mount("bound/sub", "bound_sub", NULL, MS_BIND, NULL));
	OPENED("bind mount of a part", at("bound_sub/file"), SYS_open, "bound_sub/file", O_RDONLY);
	OPENED("bind mount's root", at("bound_sub"), SYS_open, "bound_sub", O_RDONLY);
	must("bind", mount("source/file", "bound_file", NULL, MS_BIND, NULL));
	OPENED("bind mount of a file", at("bound_file"), SYS_open, "bound_file", O_RDONLY);

	put_in("tmpfs");
	must("mkdir", mkdir("tmpfs/deep", 0755) || mkdir("tmpfs/lower", 0755) ||
			      mkdir("tmpfs/upper", 0755) || mkdir("tmpfs/work", 0755) ||
			      mkdir("tmpfs/merged", 0755));
	make("tmpfs/file", 0644);
	OPENED("tmpfs", at("tmpfs/file"), SYS_open, "tmpfs/file", O_RDWR);
	put_in("tmpfs/deep");
	make("tmpfs/deep/file", 0644);
	OPENED("mount in a mount", at("tmpfs/deep/file"), SYS_open, "tmpfs/deep/file", O_RDWR);
	put_in("tmpfs/deep");
	make("tmpfs/deep/file", 0600);
	OPENED("mount on a mount", at("tmpfs/deep/file"), SYS_open, "tmpfs/deep/file", O_RDWR);

	make("tmpfs/lower/below", 0644);
	make("tmpfs/lower/copied", 0600);
	make("tmpfs/upper/above", 0640);
	char options[4 * PATH_MAX];
	snprintf(options, sizeof options, "lowerdir=%s,upperdir=%s,workdir=%s", at("tmpfs/lower"),
		 at("tmpfs/upper"), at("tmpfs/work"));
	must("overlay", mount("overlay", "tmpfs/merged", "overlay", 0, options));
	OPENED("overlay, lower", at("tmpfs/merged/below"), SYS_open, "tmpfs/merged/below", O_RDONLY);
	OPENED("overlay, upper", at("tmpfs/merged/above"), SYS_open, "tmpfs/merged/above", O_RDWR);
	OPENED("overlay, copied up", at("tmpfs/merged/copied"), SYS_open, "tmpfs/merged/copied",
	       O_RDWR);
	OPENED("overlay, new", at("tmpfs/merged/new"), SYS_open, "tmpfs/merged/new",
	       O_RDWR | O_CREAT, 0600);

	/* A copy of a mount that is mounted nowhere. */
	int tree = syscall(SYS_open_tree, AT_FDCWD, "source", 1 /* OPEN_TREE_CLONE */);
	must("open_tree", tree < 0);
	OPENED("mounted nowhere", "/sub/file", SYS_openat, tree, "sub/file", O_RDONLY);

	/* Before the root goes away. */
	must("mkdir", mkdir("tmpfs/jail", 0755));
	make("tmpfs/jail/file", 0644);
	must("chroot", chroot("tmpfs/jail"));
	OPENED("outside of the root", at("source/file"), SYS_openat, AT_FDCWD, "source/file", O_RDONLY);
	must("chdir", chdir("/"));
	OPENED("in another root", at("tmpfs/jail/file"), SYS_open, "/file", O_RDONLY);
	OPENED("in another root, upwards", at("tmpfs/jail/file"), SYS_open, "../../file", O_RDONLY);
}

struct ring {
	int fd, polled;
	char *memory;
	struct io_uring_sqe *entries;
	struct io_uring_params is;
};

static struct ring ring_of(unsigned flags)
{
	struct ring ring = {.polled = flags & IORING_SETUP_SQPOLL, .is.flags = flags};
	ring.is.sq_thread_idle = 50;
	ring.fd = syscall(SYS_io_uring_setup, 4, &ring.is);
	must("io_uring_setup", ring.fd < 0);
	size_t one = ring.is.sq_off.array + ring.is.sq_entries * sizeof(unsigned);
	size_t two = ring.is.cq_off.cqes + ring.is.cq_entries * sizeof(struct io_uring_cqe);
	ring.memory = mmap(NULL, one > two ? one : two, PROT_READ | PROT_WRITE,
			   MAP_SHARED | MAP_POPULATE, ring.fd, IORING_OFF_SQ_RING);
	ring.entries = mmap(NULL, ring.is.sq_entries * sizeof(struct io_uring_sqe),
			    PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring.fd,
			    IORING_OFF_SQES);
	must("rings", ring.memory == MAP_FAILED || ring.entries == MAP_FAILED);
	return ring;
}

/* Hands one request in, waits for its end and returns its result. */
static long request(struct ring *ring, struct io_uring_sqe entry)
{
	unsigned *tail = (unsigned *)(ring->memory + ring->is.sq_off.tail);
	unsigned *array = (unsigned *)(ring->memory + ring->is.sq_off.array);
	unsigned *flags = (unsigned *)(ring->memory + ring->is.sq_off.flags);
	unsigned at = *tail & (ring->is.sq_entries - 1);
	ring->entries[at] = entry;
	array[at] = at;
	__atomic_store_n(tail, *tail + 1, __ATOMIC_SEQ_CST);
	unsigned enter = IORING_ENTER_GETEVENTS;
	if (__atomic_load_n(flags, __ATOMIC_SEQ_CST) & IORING_SQ_NEED_WAKEUP)
		enter |= IORING_ENTER_SQ_WAKEUP;
	long done = syscall(SYS_io_uring_enter, ring->fd, ring->polled ? 0 : 1, 1, enter, NULL, 0);
	must("io_uring_enter", done < 0);
	unsigned *head = (unsigned *)(ring->memory + ring->is.cq_off.head);
	unsigned *end = (unsigned *)(ring->memory + ring->is.cq_off.tail);
	while (__atomic_load_n(end, __ATOMIC_ACQUIRE) == *head)
		;
	struct io_uring_cqe *all = (struct io_uring_cqe *)(ring->memory + ring->is.cq_off.cqes);
	long got = all[*head & (ring->is.cq_entries - 1)].res;
	__atomic_store_n(head, *head + 1, __ATOMIC_RELEASE);
	return got;
}

/* The same for a request that ends without a word when it succeeds. */
static long silent_request(struct ring *ring, struct io_uring_sqe entry)
{
	unsigned *tail = (unsigned *)(ring->memory + ring->is.sq_off.tail);
	unsigned *array = (unsigned *)(ring->memory + ring->is.sq_off.array);
	unsigned at = *tail & (ring->is.sq_entries - 1);
	entry.flags |= IOSQE_CQE_SKIP_SUCCESS;
	ring->entries[at] = entry;
	array[at] = at;
	__atomic_store_n(tail, *tail + 1, __ATOMIC_SEQ_CST);
	return syscall(SYS_io_uring_enter, ring->fd, 1, 0, 0, NULL, 0) - 1;
}

static void through_ring(const char *name, struct ring *ring, unsigned flags)
{
	const char *path = at("dir/file");
	int dir = directory("dir");
	struct open_how straight = how(O_RDONLY | O_CLOEXEC, RESOLVE_BENEATH);
	struct io_uring_sqe plain = {.opcode = IORING_OP_OPENAT,
				     .flags = flags,
				     .fd = AT_FDCWD,
				     .addr = (unsigned long)"dir/../dir/file",
				     .open_flags = O_RDWR},
			    second = {.opcode = IORING_OP_OPENAT2,
				      .flags = flags,
				      .fd = dir,
				      .addr = (unsigned long)"file",
				      .len = sizeof straight,
				      .off = (unsigned long)&straight},
			    missing = plain;
	missing.addr = (unsigned long)"missing";
	TIMED_RAW(request(ring, plain));
	opened(name, 0, NO_CALL, path);
	TIMED_RAW(request(ring, second));
	opened(name, 0, NO_CALL, path);
	TIMED_RAW(request(ring, missing));
	failed(name, NO_CALL);
}

static void rings(void)
{
	must("mkdir", mkdir("dir", 0755) || mkdir(".aws", 0755));
	make("dir/file", 0644);
	make(".aws/credentials", 0600);
	/* Who works for a ring, and whether that is a thread, is the kernel's choice. */
	loose |= RACY;
	any_thread = 1;
	extra = IO_URING;
	struct ring plain = ring_of(0), polled = ring_of(IORING_SETUP_SQPOLL);
	through_ring("ring", &plain, 0);
	through_ring("ring, by a worker", &plain, IOSQE_ASYNC);
	through_ring("ring, polled", &polled, 0);
	through_ring("ring, polled, by a worker", &polled, IOSQE_ASYNC);
	/* The polling thread sleeps. */
	usleep(200000);
	through_ring("ring, polled, woken", &polled, 0);

	int none[] = {-1, -1};
	must("register", syscall(SYS_io_uring_register, plain.fd, IORING_REGISTER_FILES, none, 2));
	const char *path = at(".aws/credentials");
	struct io_uring_sqe direct = {.opcode = IORING_OP_OPENAT,
				      .fd = AT_FDCWD,
				      .addr = (unsigned long)path,
				      .open_flags = O_RDONLY,
				      .file_index = 2};
	for (int i = 0; i < 2; i++) {
		direct.flags = i ? IOSQE_ASYNC : 0;
		TIMED_RAW(request(&plain, direct));
		must("direct", result);
		begin(i ? "ring's own table, by a worker" : "ring's own table", "OPEN", 1, 0, NO_CALL);
		put("unknown", 1);
		put("flags", IO_URING);
		put("class", 65543);
		put_text("given", path);
		end();
	}
	direct.file_index = 0;
	direct.flags = 0;
	TIMED_RAW(silent_request(&plain, direct));
	must("silent", result);
	begin("ring, without a completion", "OPEN", 1, 0, NO_CALL);
	put("unknown", 1);
	put("flags", IO_URING);
	put("class", 0);
	put_text("given", path);
	end();
}

int main(int argc, char **argv)
{
	if (argc < 3)
		errx(2, "arguments");
	settle(argv[2]);
	const struct {
		const char *name;
		void (*run)(void);
	} cases[] = {
		{"names_of_a_file", names_of_a_file},
		{"kinds_of_files", kinds_of_files},
		{"nameless", nameless},
		{"failures", failures},
		{"names", names},
		{"lengths", lengths},
		{"depths", depths},
		{"tasks", tasks},
		{"low_calls", low_calls},
		{"maps", maps},
		{"changes", changes},
		{"mounts", mounts},
		{"rings", rings},
	};
	for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
		if (!strcmp(argv[1], cases[i].name)) {
			cases[i].run();
			return 0;
		}
	}
	if (strcmp(argv[1], "high_descriptors") || argc < 4)
		errx(2, "unknown case %s", argv[1]);
	high_descriptors(argv[3]);
	return 0;
}
