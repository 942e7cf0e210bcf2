/* One real thing done to names of files by a choice of calls, and the truth of it on standard output.
 *
 * sensor_files_paths CASE DIRECTORY */
#define _GNU_SOURCE
#include "sensor_files_truth.c"

#include <linux/fs.h>
#include <linux/mount.h>

#define FCHMODAT2 452

/* What is held: the object that a call is about, as it was before. */
static int held = -1;
static struct stat was;

static void hold(const char *name)
{
	if (held >= 0)
		close(held);
	held = open(name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	must(name, held < 0 || fstat(held, &was));
}

static void hold_fd(int fd)
{
	if (held >= 0)
		close(held);
	held = dup(fd);
	must("dup", held < 0 || fstat(held, &was));
}

/* The block of a call that succeeded, about the held object. */
static void named(const char *name, const char *kind, int abi, long call, unsigned long long argument,
		  int known)
{
	if (result < 0)
		errx(1, "%s %s: %s", kind, name, strerror(-result));
	begin(name, kind, 1, abi, call);
	put("argument0", argument);
	put("known", known);
	put_object(held);
	put("mode_before", was.st_mode);
	put("links_before", was.st_nlink);
	put("size_before", was.st_size);
	put_text("home", home);
}

/* The object is not compared. */
static void anonymous(const char *name, const char *kind, long call, unsigned long long argument)
{
	begin(name, kind, 1, 0, call);
	put("argument0", argument);
}

/* A path: the kernel's own, and what was given behind that of its directory. */
static void path(int number, const char *kernels, const char *given, const char *base)
{
	const char *keys[] = {"kernel0", "given0", "base0", "kernel1", "given1", "base1"};
	put_text(keys[3 * number], kernels);
	put_text(keys[3 * number + 1], given);
	put_text(keys[3 * number + 2], base);
}

/* A call that failed and is told all the same. */
static void refused(const char *name, const char *kind, long call)
{
	if (result >= 0)
		errx(1, "%s %s did not fail", kind, name);
	begin(name, kind, 1, 0, call);
	end();
}

static void silent(const char *name, const char *kind, int abi, long call, int fails)
{
	if ((result < 0) != fails)
		errx(1, "%s %s: %s", kind, name, strerror(fails ? 0 : -result));
	begin(name, kind, 0, abi, call);
	end();
}

static int sub;

static void settle_names(void)
{
	must("mkdir", mkdir("sub", 0755));
	must("symlink", symlink("sub", "sublink"));
	sub = open("sub", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	must("sub", sub < 0);
}

/* Renames `from` (its path `kernels`), held before, to what comes to be `to`. */
#define RENAME(name, argument, kernels, from, base, to_kernels, to, to_base, call, ...)      \
	(TIMED(syscall(call, __VA_ARGS__)), named(name, "RENAME", 0, call, argument, 1),     \
	 path(0, at(kernels), from, base), path(1, at(to_kernels), to, to_base), end())

static void renames(void)
{
	settle_names();
	const char *in_sub = at("sub");
	make("a", 0640);
	hold("a");
	RENAME("absolute", 0, "a", at("a"), "", "b", at("b"), "", SYS_rename, at("a"), at("b"));
	RENAME("relative", 0, "b", "b", home, "c", "sub/../c", home, SYS_rename, "b", "sub/../c");
	RENAME("into a symlinked directory", 0, "c", ".//c", home, "sub/d", "sublink/d", home, SYS_renameat,
	       AT_FDCWD, ".//c", AT_FDCWD, "sublink/d");
	RENAME("from a descriptor", 0, "sub/d", "d", in_sub, "e", "../e", in_sub, SYS_renameat, sub, "d",
	       sub, "../e");
	RENAME("not replacing", RENAME_NOREPLACE, "e", "e", home, "f", at("f"), "", SYS_renameat2,
	       AT_FDCWD, "e", sub, at("f"), RENAME_NOREPLACE);
	make("target", 0600);
	RENAME("replacing", 0, "f", "f", home, "target", "target", home, SYS_rename, "f", "target");
	make("other", 0604);
	RENAME("exchanging", RENAME_EXCHANGE, "target", "target", home, "other", "other", home,
	       SYS_renameat2, AT_FDCWD, "target", AT_FDCWD, "other", RENAME_EXCHANGE);
	must("mkdir", mkdir("dir", 0700));
	hold("dir");
	RENAME("directory", 0, "dir", "dir/", home, "sub/dir", "sub/dir//", home, SYS_rename, "dir/",
	       "sub/dir//");
	must("symlink", symlink("other", "link"));
	hold("link");
	RENAME("symlink itself", 0, "link", "link", home, "moved", "moved", home, SYS_rename, "link",
	       "moved");
	make("line\n\xff", 0600);
	hold("line\n\xff");
	RENAME("strange names", 0, "line\n\xff", "line\n\xff", home, " \x80 ", " \x80 ", home, SYS_rename,
	       "line\n\xff", " \x80 ");
	char longest[256], deep[600];
	memset(longest, 'l', 255);
	longest[255] = 0;
	snprintf(deep, sizeof deep, "sub/%.150s/%.200s", longest, longest);
	deep[154] = 0;
	must("mkdir", mkdir(deep, 0755));
	deep[154] = '/';
	make("short", 0600);
	hold("short");
	RENAME("long path", 0, "short", "short", home, deep, deep, home, SYS_rename, "short", deep);
	RENAME("back", 0, deep, deep, home, longest, longest, home, SYS_rename, deep, longest);

	TIMED(syscall(SYS_rename, "missing", "b"));
	silent("missing", "RENAME", 0, SYS_rename, 1);
	make("stays", 0600);
	TIMED(syscall(SYS_renameat2, AT_FDCWD, "stays", AT_FDCWD, "other", RENAME_NOREPLACE));
	silent("existing", "RENAME", 0, SYS_renameat2, 1);
	TIMED(syscall(SYS_renameat, AT_FDCWD, "stays", AT_FDCWD, "missing/b"));
	silent("into nowhere", "RENAME", 0, SYS_renameat, 1);
}

#define LINK(name, argument, kernels, from, base, to_kernels, to, to_base, call, ...)       \
	(TIMED(syscall(call, __VA_ARGS__)), named(name, "LINK", 0, call, argument, 1),      \
	 path(0, kernels, from, base), path(1, at(to_kernels), to, to_base), end())

static void links(void)
{
	settle_names();
	const char *in_sub = at("sub"), *a = at("a");
	make("a", 0600);
	hold("a");
	LINK("absolute", 0, a, a, "", "l1", at("l1"), "", SYS_link, a, at("l1"));
	LINK("relative", 0, a, "sub/../a", home, "sub/l2", "sublink//l2", home, SYS_link, "sub/../a",
	     "sublink//l2");
	LINK("descriptors", 0, at("sub/l2"), "l2", in_sub, "l3", "../l3", in_sub, SYS_linkat, sub, "l2", sub,
	     "../l3", 0);
	must("symlink", symlink("a", "s"));
	LINK("over a symlink", AT_SYMLINK_FOLLOW, a, "s", home, "l4", "l4", home, SYS_linkat, AT_FDCWD, "s",
	     AT_FDCWD, "l4", AT_SYMLINK_FOLLOW);
	int fd = open("a", O_RDONLY | O_CLOEXEC);
	LINK("empty path", AT_EMPTY_PATH, a, "", a, "l5", "l5", home, SYS_linkat, fd, "", AT_FDCWD, "l5",
	     AT_EMPTY_PATH);
	char *through = format("/proc/self/fd/%ld", fd);
	LINK("through /proc", AT_SYMLINK_FOLLOW, a, through, "", "l6", "l6", home, SYS_linkat, AT_FDCWD,
	     through, AT_FDCWD, "l6", AT_SYMLINK_FOLLOW);
	hold("s");
	LINK("symlink itself", 0, at("s"), "s", home, "l7", "l7", home, SYS_link, "s", "l7");
	fd = open(".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	must("O_TMPFILE", fd < 0);
	hold_fd(fd);
	const char *nameless = at(format("#%ld", was.st_ino));
	through = format("/proc/self/fd/%ld", fd);
	LINK("nameless", AT_SYMLINK_FOLLOW, nameless, through, "", "l8", "l8", home, SYS_linkat, AT_FDCWD,
	     through, AT_FDCWD, "l8", AT_SYMLINK_FOLLOW);
	TIMED(syscall(SYS_link, "missing", "l9"));
	silent("missing", "LINK", 0, SYS_link, 1);
	TIMED(syscall(SYS_linkat, AT_FDCWD, "a", AT_FDCWD, "l1", 0));
	silent("existing", "LINK", 0, SYS_linkat, 1);
	TIMED(syscall(SYS_link, "sub", "l9"));
	silent("directory", "LINK", 0, SYS_link, 1);
}

#define SYMLINK(name, content, made, given, base, call, ...)                               \
	(TIMED(syscall(call, __VA_ARGS__)), hold(made), named(name, "SYMLINK", 0, call, 0, 1), \
	 put_text("content0", content), path(1, at(made), given, base), end())

static void symlinks(void)
{
	settle_names();
	SYMLINK("relative content", "a", "s1", "s1", home, SYS_symlink, "a", "s1");
	SYMLINK("absolute content", "/etc/shadow", "s2", at("s2"), "", SYS_symlink, "/etc/shadow", at("s2"));
	SYMLINK("strange content", "../x/./y\n", "sub/s3", "s3", at("sub"), SYS_symlinkat, "../x/./y\n", sub,
		"s3");
	SYMLINK("through a symlink", "/", "sub/s4", "sublink/./s4", home, SYS_symlinkat, "/", AT_FDCWD,
		"sublink/./s4");
	TIMED(syscall(SYS_symlink, "a", "s1"));
	silent("existing", "SYMLINK", 0, SYS_symlink, 1);
	TIMED(syscall(SYS_symlinkat, "a", AT_FDCWD, "missing/s"));
	silent("nowhere", "SYMLINK", 0, SYS_symlinkat, 1);
}

/* A call about one path; the object is `about`, held before. */
#define ONE(kind, name, argument, known, about, kernels, given, base, call, ...)            \
	(hold(about), TIMED(syscall(call, __VA_ARGS__)),                                    \
	 named(name, kind, 0, call, argument, known), path(0, at(kernels), given, base), end())
/* The same for one that makes what it is about. */
#define MADE(kind, name, argument, kernels, given, base, call, ...)                         \
	(TIMED(syscall(call, __VA_ARGS__)), hold(at(kernels)),                              \
	 named(name, kind, 0, call, argument, 0), path(0, at(kernels), given, base), end())

static void removals(void)
{
	settle_names();
	make("a", 0600);
	make("sub/b", 0600);
	make("c", 0600);
	must("link", link("c", "hard") || symlink("c", "s"));
	must("mkdir", mkdir("d", 0700) || mkdir("e", 0700) || mkdir("sub/f", 0700));
	ONE("UNLINK", "absolute", 0, 0, "a", "a", at("a"), "", SYS_unlink, at("a"));
	ONE("UNLINK", "descriptor", 0, 0, "sub/b", "sub/b", "b", at("sub"), SYS_unlinkat, sub, "b", 0);
	ONE("UNLINK", "hard link", 0, 0, "hard", "hard", "sublink/../hard", home, SYS_unlink,
	    "sublink/../hard");
	ONE("UNLINK", "symlink itself", 0, 0, "s", "s", "s", home, SYS_unlink, "s");
	ONE("UNLINK", "rmdir", AT_REMOVEDIR, 0, "d", "d", "d/", home, SYS_rmdir, "d/");
	ONE("UNLINK", "directory", AT_REMOVEDIR, 0, "e", "e", "e", home, SYS_unlinkat, AT_FDCWD, "e",
	    AT_REMOVEDIR);
	ONE("UNLINK", "directory by descriptor", AT_REMOVEDIR, 0, "sub/f", "sub/f", "../sublink/f",
	    at("sub"), SYS_unlinkat, sub, "../sublink/f", AT_REMOVEDIR);
	TIMED(syscall(SYS_unlink, "missing"));
	silent("missing", "UNLINK", 0, SYS_unlink, 1);
	TIMED(syscall(SYS_rmdir, "c"));
	silent("no directory", "UNLINK", 0, SYS_rmdir, 1);
	TIMED(syscall(SYS_unlinkat, AT_FDCWD, "sub", 0));
	silent("directory", "UNLINK", 0, SYS_unlinkat, 1);
}

static void attributes(void)
{
	settle_names();
	make("a", 0600);
	make("sub/b", 0600);
	must("symlink", symlink("a", "s") || mkdir("d", 0600));
	const char *in_sub = at("sub");
	ONE("CHMOD", "absolute", 04755, 1, "a", "a", at("a"), "", SYS_chmod, at("a"), 04755);
	ONE("CHMOD", "relative", 02600, 1, "a", "a", "sub/../a", home, SYS_chmod, "sub/../a", 02600);
	ONE("CHMOD", "over a symlink", 0711, 1, "a", "a", "s", home, SYS_chmod, "s", 0711);
	ONE("CHMOD", "descriptor", 0010, 1, "sub/b", "sub/b", "b", in_sub, SYS_fchmodat, sub, "b", 0010);
	ONE("CHMOD", "directory", 0755, 1, "d", "d", "d", home, SYS_fchmodat, AT_FDCWD, "d", 0755);
	ONE("CHMOD", "fchmodat2", 0700, 1, "sub/b", "sub/b", "sublink/b", home, FCHMODAT2, AT_FDCWD,
	    "sublink/b", 0700, AT_SYMLINK_NOFOLLOW);
	int fd = open("a", O_PATH | O_CLOEXEC);
	ONE("CHMOD", "fchmodat2 of a descriptor", 06711, 1, "a", "a", "", at("a"), FCHMODAT2, fd, "", 06711,
	    AT_EMPTY_PATH);
	TIMED(syscall(SYS_chmod, "a", 0644));
	silent("harmless", "CHMOD", 0, SYS_chmod, 0);
	TIMED(syscall(SYS_fchmodat, AT_FDCWD, "a", 01600));
	silent("sticky", "CHMOD", 0, SYS_fchmodat, 0);
	TIMED(syscall(SYS_chmod, "missing", 0755));
	silent("missing", "CHMOD", 0, SYS_chmod, 1);
	TIMED(syscall(SYS_fchmodat, AT_FDCWD, "missing", 0755));
	silent("missing", "CHMOD", 0, SYS_fchmodat, 1);

	ONE("TRUNCATE", "absolute", 4, 1, "a", "a", at("a"), "", SYS_truncate, at("a"), 4L);
	ONE("TRUNCATE", "relative", 0x123456789, 1, "sub/b", "sub/b", "sublink/b", home, SYS_truncate,
	    "sublink/b", 0x123456789L);
	ONE("TRUNCATE", "over a symlink", 0, 1, "a", "a", "s", home, SYS_truncate, "s", 0L);
	TIMED(syscall(SYS_truncate, "missing", 0L));
	silent("missing", "TRUNCATE", 0, SYS_truncate, 1);
	TIMED(syscall(SYS_truncate, "a", -1L));
	silent("negative", "TRUNCATE", 0, SYS_truncate, 1);
}

static void creations(void)
{
	settle_names();
	const char *in_sub = at("sub");
	MADE("MKDIR", "absolute", 0700, "d1", at("d1"), "", SYS_mkdir, at("d1"), 0700);
	MADE("MKDIR", "relative", 01777, "sub/d2", "sublink//d2/", home, SYS_mkdir, "sublink//d2/", 01777);
	MADE("MKDIR", "descriptor", 0755, "d3", "../d3", in_sub, SYS_mkdirat, sub, "../d3", 0755);
	TIMED(syscall(SYS_mkdir, "d1", 0700));
	silent("existing", "MKDIR", 0, SYS_mkdir, 1);
	struct {
		const char *name;
		unsigned mode, device;
	} nodes[] = {
		{"fifo", S_IFIFO | 0600, 0},
		{"regular", S_IFREG | 0640, 0},
		{"socket", S_IFSOCK | 0600, 0},
		{"character", S_IFCHR | 0600, makedev(1, 3)},
		{"block", S_IFBLK | 0600, makedev(7, 0x1234)},
	};
	for (int i = 0; i < 5; i++) {
		const char *name = nodes[i].name;
		TIMED(syscall(SYS_mknod, name, nodes[i].mode, nodes[i].device));
		hold(name);
		named(name, "MKNOD", 0, SYS_mknod, nodes[i].mode, 0);
		put("argument1", nodes[i].device);
		path(0, at(name), name, home);
		end();
	}
	TIMED(syscall(SYS_mknodat, sub, "fifo", S_IFIFO | 0600, 0));
	hold("sub/fifo");
	named("descriptor", "MKNOD", 0, SYS_mknodat, S_IFIFO | 0600, 0);
	put("argument1", 0);
	path(0, at("sub/fifo"), "fifo", in_sub);
	end();
	TIMED(syscall(SYS_mknod, "fifo", S_IFIFO | 0600, 0));
	silent("existing", "MKNOD", 0, SYS_mknod, 1);
}

static void low_calls(void)
{
	settle_names();
	make("a", 0600);
	hold("a");
	const struct {
		const char *kind;
		int call;
		long a, b, c, d, e;
		unsigned long long argument;
		const char *about, *first, *second;
	} calls[] = {
		{"RENAME", 38, low("a"), low("b"), 0, 0, 0, 0, "b", "a", "b"},
		{"RENAME", 302, AT_FDCWD, low("b"), AT_FDCWD, low("c"), 0, 0, "c", "b", "c"},
		{"RENAME", 353, AT_FDCWD, low("c"), AT_FDCWD, low("a"), 1, 1, "a", "c", "a"},
		{"LINK", 9, low("a"), low("l1"), 0, 0, 0, 0, "a", "a", "l1"},
		{"LINK", 303, AT_FDCWD, low("a"), AT_FDCWD, low("l2"), 0, 0, "a", "a", "l2"},
		{"SYMLINK", 83, low("a"), low("s1"), 0, 0, 0, 0, "s1", NULL, "s1"},
		{"SYMLINK", 304, low("a"), AT_FDCWD, low("s2"), 0, 0, 0, "s2", NULL, "s2"},
		{"CHMOD", 15, low("a"), 04755, 0, 0, 0, 04755, "a", "a", NULL},
		{"CHMOD", 306, AT_FDCWD, low("a"), 0711, 0, 0, 0711, "a", "a", NULL},
		{"CHMOD", FCHMODAT2, AT_FDCWD, low("a"), 0700, 0, 0, 0700, "a", "a", NULL},
		{"TRUNCATE", 92, low("a"), 5, 0, 0, 0, 5, "a", "a", NULL},
		{"TRUNCATE", 193, low("a"), 0x23456789, 1, 0, 0, 0x123456789, "a", "a", NULL},
		{"MKDIR", 39, low("d1"), 0700, 0, 0, 0, 0700, "d1", "d1", NULL},
		{"MKDIR", 296, AT_FDCWD, low("d2"), 0700, 0, 0, 0700, "d2", "d2", NULL},
		{"MKNOD", 14, low("f1"), S_IFIFO | 0600, 0, 0, 0, S_IFIFO | 0600, "f1", "f1", NULL},
		{"MKNOD", 297, AT_FDCWD, low("f2"), S_IFIFO | 0600, 0, 0, S_IFIFO | 0600, "f2", "f2",
		 NULL},
		{"UNLINK", 10, low("l1"), 0, 0, 0, 0, 0, NULL, "l1", NULL},
		{"UNLINK", 301, AT_FDCWD, low("l2"), 0, 0, 0, 0, NULL, "l2", NULL},
		{"UNLINK", 40, low("d1"), 0, 0, 0, 0, AT_REMOVEDIR, NULL, "d1", NULL},
		{"UNLINK", 301, AT_FDCWD, low("d2"), AT_REMOVEDIR, 0, 0, AT_REMOVEDIR, NULL, "d2",
		 NULL},
	};
	for (unsigned i = 0; i < sizeof calls / sizeof *calls; i++) {
		const char *kind = calls[i].kind;
		if (calls[i].about == NULL || !strcmp(kind, "CHMOD") || !strcmp(kind, "TRUNCATE"))
			hold(calls[i].first);
		TIMED_RAW(int80(calls[i].call, calls[i].a, calls[i].b, calls[i].c, calls[i].d, calls[i].e));
		if (result >= 0 && calls[i].about && strcmp(kind, "CHMOD") && strcmp(kind, "TRUNCATE"))
			hold(calls[i].about);
		int known = strstr("RENAME LINK SYMLINK CHMOD TRUNCATE", kind) != NULL;
		named(format("int 0x80: %ld", calls[i].call), kind, 1, calls[i].call, calls[i].argument,
		      known);
		if (calls[i].first)
			path(0, at(calls[i].first), calls[i].first, home);
		else
			put_text("content0", "a");
		if (calls[i].second)
			path(1, at(calls[i].second), calls[i].second, home);
		end();
	}
	TIMED_RAW(int80(38, low("missing"), low("b"), 0, 0, 0));
	silent("int 0x80: rename of nothing", "RENAME", 1, 38, 1);
}

static void roots(void)
{
	settle_names();
	must("mkdir", mkdir("jail", 0755));
	TIMED(syscall(SYS_chroot, "missing"));
	silent("missing", "CHROOT", 0, SYS_chroot, 1);
	hold("jail");
	TIMED(syscall(SYS_chroot, "sublink/../jail"));
	anonymous("relative", "CHROOT", SYS_chroot, 0);
	path(0, at("jail"), "sublink/../jail", home);
	end();
	const char *jail = at("jail");
	must("chdir", chdir("/"));
	make("a", 0600);
	hold("a");
	const char *from = at("jail/a"), *to = at("jail/b"), *again = at("jail/c");
	TIMED(syscall(SYS_rename, "/a", "/../b"));
	named("in another root", "RENAME", 0, SYS_rename, 0, 1);
	put_text("root", jail);
	path(0, from, "/a", "");
	path(1, to, "/../b", "");
	end();
	TIMED(syscall(SYS_link, "b", "c"));
	named("in another root", "LINK", 0, SYS_link, 0, 1);
	path(0, to, "b", jail);
	path(1, again, "c", jail);
	end();
}

static void put_label(const char *label)
{
	put_text("label", label);
}

/* A mount(2), whose source may be no path at all. */
static void mounting(const char *name, const char *source, const char *kernels, const char *on,
		     const char *type, unsigned long flags)
{
	TIMED(syscall(SYS_mount, source, on, type, flags, NULL));
	anonymous(name, "MOUNT", SYS_mount, flags);
	put_label(type ? type : "");
	if (source)
		put_text("source0", source);
	if (source && kernels)
		put_text("source_kernel0", at(kernels));
	path(1, at(on), on, home);
	end();
}

static void unmounting(const char *name, const char *on, const char *kernels, long flags)
{
	TIMED(syscall(SYS_umount2, on, flags));
	must(name, result);
	anonymous(name, "UNMOUNT", SYS_umount2, flags);
	path(0, at(kernels), on, home);
	end();
}

static void mounts(void)
{
	settle_names();
	must("mkdir", mkdir("m1", 0755) || mkdir("m2", 0755) || mkdir("m3", 0755) || mkdir("m4", 0755));
	own_mounts();
	/* The one from before belongs to the other namespace. */
	sub = open("sub", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	must("sub", sub < 0);
	mounting("tmpfs", "sentinel-test", NULL, "m1", "tmpfs", MS_NOSUID | MS_NODEV);
	must("tmpfs", result);
	mounting("bind", "sub", "sub", "m2", NULL, MS_BIND);
	must("bind", result);
	mounting("bind, absolute, with a type", at("sub"), "sub", "m3", "none", MS_BIND | MS_REC);
	must("bind", result);
	mounting("remount", "none", NULL, "m3", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY);
	must("remount", result);
	mounting("propagation", NULL, NULL, "m3", NULL, MS_PRIVATE);
	must("private", result);
	mounting("unknown type", "x", NULL, "m4", "sentinel-none", 0);
	mounting("missing source", "missing", NULL, "m4", NULL, MS_BIND);
	mounting("not there", "sub", "sub", "missing", NULL, MS_BIND);

	int fs = syscall(SYS_fsopen, "tmpfs", 0);
	must("fsopen", fs < 0 || syscall(SYS_fsconfig, fs, 6 /* CMD_CREATE */, NULL, NULL, 0));
	int made = syscall(SYS_fsmount, fs, 0, 0);
	must("fsmount", made < 0);
	TIMED(syscall(SYS_move_mount, made, "", AT_FDCWD, "m4", MOVE_MOUNT_F_EMPTY_PATH));
	must("move_mount", result);
	/* It keeps the mount busy. */
	close(made);
	anonymous("new mount", "MOVE_MOUNT", SYS_move_mount, MOVE_MOUNT_F_EMPTY_PATH);
	path(1, at("m4"), "m4", home);
	end();
	must("mkdir", mkdir("m5", 0755));
	TIMED(syscall(SYS_move_mount, AT_FDCWD, "m4", sub, "../m5", 0));
	must("move_mount", result);
	anonymous("move", "MOVE_MOUNT", SYS_move_mount, 0);
	path(0, at("m4"), "m4", home);
	path(1, at("m5"), "../m5", at("sub"));
	end();
	TIMED(syscall(SYS_move_mount, AT_FDCWD, "missing", AT_FDCWD, "m4", 0));
	refused("missing", "MOVE_MOUNT", SYS_move_mount);

	unmounting("plain", "m5", "m5", 0);
	unmounting("lazy", "sub/../m3", "m3", MNT_DETACH);
	unmounting("not followed", "m2", "m2", UMOUNT_NOFOLLOW);
	TIMED(syscall(SYS_umount2, "m2", 0));
	refused("not mounted", "UNMOUNT", SYS_umount2);
	TIMED(syscall(SYS_umount2, "missing", 0));
	refused("missing", "UNMOUNT", SYS_umount2);
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
		{"renames", renames},	    {"links", links},	       {"symlinks", symlinks},
		{"removals", removals},	    {"attributes", attributes}, {"creations", creations},
		{"low_calls", low_calls}, {"roots", roots},	       {"mounts", mounts},
	};
	for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
		if (!strcmp(argv[1], cases[i].name)) {
			cases[i].run();
			return 0;
		}
	}
	errx(2, "unknown case %s", argv[1]);
}
