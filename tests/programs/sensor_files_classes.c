/* Opens files by list, under other names, and around a fork and an exec; tells the truth of it.
 *
 * sensor_files_classes CASE DIRECTORY [FILE] */
#define _GNU_SOURCE
#include "sensor_files_truth.c"

/* Opens `given`, whose path is `path`, which has to be of `class`; -1: the test knows. */
static void opens(const char *name, const char *given, const char *path, long class)
{
	TIMED(syscall(SYS_open, given, O_RDONLY | O_NONBLOCK | O_CLOEXEC));
	must(given, result < 0);
	begin(name, "OPEN", 1, 0, SYS_open);
	put_file(result, path);
	if (class >= 0)
		put("class", class);
	end();
	close(result);
}

/* The paths in FILE, each ended by a NUL. */
static void list(const char *file)
{
	FILE *paths = fopen(file, "re");
	must(file, !paths);
	char *path = NULL;
	size_t room = 0;
	for (long number = 0; getdelim(&path, &room, 0, paths) > 0; number++)
		opens(format("%ld", number), path, path, -1);
}

#define SSH_KEY 65542
#define PASSWORD_HASHES 65539

/* Renames or links a file that is a secret by its old name, and then opens the new one. */
static void moves(const char *name, const char *kind, long call, const char *from, const char *to)
{
	TIMED(syscall(call, from, to));
	must(name, result);
	begin(name, kind, 1, 0, call);
	put("argument0", 0);
	put("class", SSH_KEY);
	end();
	opens(name, to, at(to), SSH_KEY);
}

static void names_of_secrets(void)
{
	must("mkdir", mkdir("innocent", 0755) || mkdir(".ssh", 0700));
	for (int number = 1; number <= 4; number++)
		make(format(".ssh/key%ld", number), 0600);
	opens("by its own name", ".ssh/key1", at(".ssh/key1"), SSH_KEY);
	moves("opened, then linked", "LINK", SYS_link, ".ssh/key1", "innocent/linked");
	moves("opened, then renamed", "RENAME", SYS_rename, ".ssh/key1", "innocent/renamed");
	opens("linked, again", "innocent/linked", at("innocent/linked"), SSH_KEY);
	moves("linked before anybody opened it", "LINK", SYS_link, ".ssh/key2", "innocent/linked2");
	moves("renamed before anybody opened it", "RENAME", SYS_rename, ".ssh/key3", "innocent/renamed3");
	must("symlink", symlink(at(".ssh/key4"), "innocent/symlink"));
	opens("by a symlink", "innocent/symlink", at(".ssh/key4"), SSH_KEY);
	make("innocent/new", 0600);
	opens("ordinary", "innocent/new", at("innocent/new"), 0);
	must("rename", rename("innocent/new", ".ssh/new"));
	opens("became one", ".ssh/new", at(".ssh/new"), SSH_KEY);
}

/* Secrets in directories that are mounted under innocent names before anybody opened them. */
static void parts_elsewhere(void)
{
	must("mkdir", mkdir(".ssh", 0700) || mkdir(".config", 0755) || mkdir(".config/gcloud", 0755) ||
			      mkdir("plain", 0755) || mkdir("simple", 0755));
	make(".ssh/key", 0600);
	make(".ssh/other", 0600);
	make(".config/gcloud/token", 0644);
	make("file", 0644);
	own_mounts();
	must("bind", mount(".ssh", "plain", NULL, MS_BIND, NULL));
	must("bind", mount(".config/gcloud", "simple", NULL, MS_BIND, NULL));
	must("bind", mount(".ssh/other", "file", NULL, MS_BIND, NULL));
	opens("directory", "plain/key", at("plain/key"), SSH_KEY);
	opens("two directories", "simple/token", at("simple/token"), 65543);
	opens("file", "file", at("file"), SSH_KEY);
}

static void shadow_elsewhere(const char *link)
{
	make("plain", 0644);
	own_mounts();
	must("bind", mount("/etc/shadow", "plain", NULL, MS_BIND, NULL));
	opens("bind mount", "plain", at("plain"), PASSWORD_HASHES);
	opens("hard link", link, link, PASSWORD_HASHES);
	opens("own name", "/etc/shadow", "/etc/shadow", PASSWORD_HASHES);
	must("etc", mkdir("etc", 0755) || mount("/etc", "etc", NULL, MS_BIND, NULL));
	opens("bind mount of its directory", "etc/shadow", at("etc/shadow"), PASSWORD_HASHES);
	must("chroot", chroot("etc"));
	opens("in another root", "/shadow", at("etc/shadow"), PASSWORD_HASHES);
}

/* Opens FILE between two ordinary files; then a child and a program do. Every process tells itself. */
static void around(const char *program, const char *file)
{
	make("first", 0644);
	make("second", 0644);
	opens("before", "first", at("first"), 0);
	opens("the file", file, file, -1);
	opens("after", "second", at("second"), 0);
	fflush(stdout);
	for (int generation = 0; generation < 2; generation++) {
		pid_t child = fork();
		must("fork", child < 0);
		if (child == 0) {
			opens("child", "first", at("first"), 0);
			if (generation)
				execl(program, program, "one", home, "second", NULL);
			_exit(generation);
		}
		waitpid(child, NULL, 0);
	}
	execl(program, program, "one", home, "second", NULL);
	err(1, "exec");
}

int main(int argc, char **argv)
{
	if (argc < 3)
		errx(2, "arguments");
	settle(argv[2]);
	const char *file = argc > 3 ? argv[3] : "";
	if (!strcmp(argv[1], "list"))
		list(file);
	else if (!strcmp(argv[1], "names_of_secrets"))
		names_of_secrets();
	else if (!strcmp(argv[1], "parts_elsewhere"))
		parts_elsewhere();
	else if (!strcmp(argv[1], "shadow_elsewhere"))
		shadow_elsewhere(file);
	else if (!strcmp(argv[1], "around"))
		around(argv[0], file);
	else if (!strcmp(argv[1], "one"))
		opens("after exec", file, at(file), 0);
	else
		errx(2, "unknown case %s", argv[1]);
	return 0;
}
