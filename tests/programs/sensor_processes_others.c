/* What processes do to others and to the system: sensor_processes_others CASE [PATH]. */
#include "sensor_processes_truth.c"
#include <linux/bpf.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/uio.h>

/* Shared with children: what a child tells its parent. */
static volatile int *shared;
static long victims_word = 1;

static void *wait_there(void *unused)
{
	shared[0] = own_tid();
	for (;;)
		pause();
	return unused;
}

/* A child that leads a process group, ignores SIGUSR1 and has a second thread, told in *THREAD. */
static int start_victim(int *thread)
{
	shared[0] = 0;
	int child = start_child();
	if (child == 0) {
		pthread_t second;
		signal(SIGUSR1, SIG_IGN);
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (setpgid(0, 0) || pthread_create(&second, NULL, wait_there, NULL))
			_exit(1);
		for (;;)
			pause();
	}
	while (!shared[0])
		usleep(1000);
	if (thread)
		*thread = shared[0];
	say_process("victim", child);
	return child;
}

static void end_victim(int child)
{
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
}

/* A pid that nobody has: of a child that is gone, and pids come back late. */
static int nobody(void)
{
	int child = start_child();
	if (child == 0)
		_exit(0);
	waitpid(child, NULL, 0);
	return child;
}

/* Makes a call, whose ARGUMENTS the record has to tell, and whose target is TARGET. */
#define CALL(key, call, target, a, b, c, d, e, ...)                                             \
	do {                                                                                    \
		long result = plain_call(call, (unsigned long)(a), (unsigned long)(b),          \
					 (unsigned long)(c), (unsigned long)(d),                \
					 (unsigned long)(e));                                   \
		say_call(key, 0, call, result, __VA_ARGS__);                                    \
		if ((target) > 0)                                                               \
			say_process(key, target);                                               \
	} while (0)
#define U(value) ((unsigned long)(value))

static void trace(void)
{
	int victim = start_victim(NULL), gone = nobody();
	unsigned long word = U(&victims_word);
	CALL("attach", SYS_ptrace, victim, PTRACE_ATTACH, victim, 0, 0, 0, 3, U(PTRACE_ATTACH),
	     U(victim), 0UL);
	waitpid(victim, NULL, __WALL);
	CALL("poke", SYS_ptrace, victim, PTRACE_POKEDATA, victim, word, 2, 0, 3,
	     U(PTRACE_POKEDATA), U(victim), word);
	CALL("bad_poke", SYS_ptrace, victim, PTRACE_POKEDATA, victim, 8, 2, 0, 3,
	     U(PTRACE_POKEDATA), U(victim), 8UL);
	ptrace(PTRACE_DETACH, victim, 0, 0);
	CALL("seize", SYS_ptrace, victim, PTRACE_SEIZE, victim, 0, 0, 0, 3, U(PTRACE_SEIZE),
	     U(victim), 0UL);
	CALL("missing", SYS_ptrace, 0, PTRACE_ATTACH, gone, 0, 0, 0, 3, U(PTRACE_ATTACH), U(gone),
	     0UL);
	end_victim(victim);
}

/* A child that has itself traced. */
static void trace_me(void)
{
	int child = start_child();
	if (child == 0) {
		CALL("me", SYS_ptrace, 0, PTRACE_TRACEME, 0, 0, 0, 0, 1, U(PTRACE_TRACEME));
		fflush(stdout);
		_exit(0);
	}
	waitpid(child, NULL, 0);
}

static void memory(void)
{
	int victim = start_victim(NULL), gone = nobody();
	long here = 7;
	struct iovec local = { &here, sizeof here }, remote = { &victims_word, sizeof here };
	CALL("write", SYS_process_vm_writev, victim, victim, &local, 1, &remote, 1, 2, 1UL,
	     U(victim));
	CALL("read", SYS_process_vm_readv, victim, victim, &local, 1, &remote, 1, 2, 0UL,
	     U(victim));
	CALL("missing", SYS_process_vm_readv, 0, gone, &local, 1, &remote, 1, 2, 0UL, U(gone));
	end_victim(victim);
}

static void signals(void)
{
	int thread, victim = start_victim(&thread), gone = nobody();
	siginfo_t info = { .si_code = SI_QUEUE };
	CALL("kill", SYS_kill, victim, victim, SIGUSR1, 0, 0, 0, 2, U(SIGUSR1), U(victim));
	CALL("probe", SYS_kill, victim, victim, 0, 0, 0, 0, 2, 0UL, U(victim));
	CALL("tkill", SYS_tkill, victim, victim, SIGUSR1, 0, 0, 0, 2, U(SIGUSR1), U(victim));
	/* Whose thread it is cannot be told. */
	CALL("thread", SYS_tkill, 0, thread, SIGUSR1, 0, 0, 0, 2, U(SIGUSR1), U(thread));
	CALL("tgkill", SYS_tgkill, victim, victim, victim, SIGUSR1, 0, 0, 2, U(SIGUSR1),
	     U(victim));
	CALL("queue", SYS_rt_sigqueueinfo, victim, victim, SIGUSR1, &info, 0, 0, 2, U(SIGUSR1),
	     U(victim));
	CALL("tgqueue", SYS_rt_tgsigqueueinfo, victim, victim, victim, SIGUSR1, &info, 0, 2,
	     U(SIGUSR1), U(victim));
	CALL("group", SYS_kill, 0, -victim, SIGUSR1, 0, 0, 0, 2, U(SIGUSR1), U(-victim));
	CALL("missing", SYS_kill, 0, gone, SIGUSR1, 0, 0, 0, 2, U(SIGUSR1), U(gone));
	CALL("invalid", SYS_kill, victim, victim, 99, 0, 0, 0, 2, 99UL, U(victim));
	CALL("self", SYS_kill, own_tgid(), own_tgid(), 0, 0, 0, 0, 2, 0UL, U(own_tgid()));
	long result = int80(37, victim, SIGUSR1, 0);
	say_call("int80", 1, 37, result, 2, U(SIGUSR1), U(victim));
	say_process("int80", victim);
	/* The victim is a zombie until it is waited for. */
	CALL("end", SYS_kill, victim, victim, SIGKILL, 0, 0, 0, 2, U(SIGKILL), U(victim));
	waitpid(victim, NULL, 0);
}

static void pidfd(void)
{
	int victim = start_victim(NULL), fd = plain_call(SYS_pidfd_open, victim, 0, 0, 0, 0);
	if (fd < 0)
		errx(1, "pidfd_open: %d", fd);
	CALL("signal", SYS_pidfd_send_signal, 0, fd, SIGUSR1, 0, 0, 0, 2, U(SIGUSR1), U(fd));
	CALL("closed", SYS_pidfd_send_signal, 0, 1000, SIGUSR1, 0, 0, 0, 2, U(SIGUSR1), 1000UL);
	end_victim(victim);
}

/* In a pid namespace of its own; also the pids of others, whom it would hit by their number. */
static void foreign(void)
{
	if (unshare(CLONE_NEWPID))
		err(1, "unshare");
	int first = start_child();
	if (first == 0) {
		int victim = start_child();
		if (victim == 0)
			for (;;)
				pause();
		CALL("kill", SYS_kill, 0, victim, SIGKILL, 0, 0, 0, 2, U(SIGKILL), U(victim));
		CALL("missing", SYS_kill, 0, 300, 0, 0, 0, 0, 2, 0UL, 300UL);
		CALL("attach", SYS_ptrace, 0, PTRACE_ATTACH, 300, 0, 0, 0, 3, U(PTRACE_ATTACH),
		     300UL, 0UL);
		CALL("read", SYS_process_vm_readv, 0, 300, NULL, 0, NULL, 0, 2, 0UL, 300UL);
		fflush(stdout);
		_exit(0);
	}
	waitpid(first, NULL, 0);
}

static void namespaces(void)
{
	CALL("files", SYS_unshare, 0, CLONE_FILES, 0, 0, 0, 0, 1, U(CLONE_FILES));
	int before = open("/proc/self/ns/uts", O_RDONLY | O_CLOEXEC);
	CALL("uts", SYS_unshare, 0, CLONE_NEWUTS, 0, 0, 0, 0, 1, U(CLONE_NEWUTS));
	CALL("both", SYS_unshare, 0, CLONE_NEWNS | CLONE_NEWIPC, 0, 0, 0, 0, 1,
	     U(CLONE_NEWNS | CLONE_NEWIPC));
	say_object("back", before);
	CALL("back", SYS_setns, 0, before, CLONE_NEWUTS, 0, 0, 0, 2, U(before), U(CLONE_NEWUTS));
	say_object("any", before);
	CALL("any", SYS_setns, 0, before, 0, 0, 0, 0, 2, U(before), 0UL);
	int victim = start_victim(NULL), fd = plain_call(SYS_pidfd_open, victim, 0, 0, 0, 0);
	say_object("pidfd", fd);
	CALL("pidfd", SYS_setns, 0, fd, CLONE_NEWUTS | CLONE_NEWIPC, 0, 0, 0, 2, U(fd),
	     U(CLONE_NEWUTS | CLONE_NEWIPC));
	end_victim(victim);
}

static void *rename_thread(void *unused)
{
	CALL("thread", SYS_prctl, 0, PR_SET_NAME, "a thread", 0, 0, 0, 0);
	return unused;
}

static void names(void)
{
	pthread_t thread;
	CALL("short", SYS_prctl, 0, PR_SET_NAME, "kworker/0:1", 0, 0, 0, 0);
	CALL("long", SYS_prctl, 0, PR_SET_NAME, "a name of more than fifteen", 0, 0, 0, 0);
	if (pthread_create(&thread, NULL, rename_thread, NULL) || pthread_join(thread, NULL))
		errx(1, "a thread");
}

static void bpf(void)
{
	union bpf_attr map = {
		.map_type = BPF_MAP_TYPE_ARRAY,
		.key_size = 4,
		.value_size = 8,
		.max_entries = 1,
	};
	unsigned long first;
	memcpy(&first, &map, sizeof first);
	CALL("map", SYS_bpf, 0, BPF_MAP_CREATE, &map, sizeof map, 0, 0, 2, U(BPF_MAP_CREATE),
	     first);
	CALL("unknown", SYS_bpf, 0, 9999, &map, sizeof map, 0, 0, 2, 9999UL, first);
	map.map_type = 9999;
	memcpy(&first, &map, sizeof first);
	CALL("refused", SYS_bpf, 0, BPF_MAP_CREATE, &map, sizeof map, 0, 0, 2, U(BPF_MAP_CREATE),
	     first);
}

static void modules(const char *path)
{
	static const char image[100] = "no module";
	CALL("image", SYS_init_module, 0, image, sizeof image, "", 0, 0, 1, sizeof image);
	int file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0640);
	if (file < 0 || write(file, image, sizeof image) != sizeof image)
		err(1, "%s", path);
	close(file);
	file = open(path, O_RDONLY | O_CLOEXEC);
	say_object("file", file);
	CALL("file", SYS_finit_module, 0, file, "", 2, 0, 0, 2, U(file), 2UL);
	int memory = memfd_create("a module", MFD_CLOEXEC);
	if (write(memory, image, sizeof image) != sizeof image)
		err(1, "memfd");
	say_object("memfd", memory);
	CALL("memfd", SYS_finit_module, 0, memory, "", 0, 0, 0, 2, U(memory), 0UL);
	CALL("closed", SYS_finit_module, 0, 1000, "", 0, 0, 0, 2, 1000UL, 0UL);
}

static void faults(void)
{
	unsigned long flags = O_CLOEXEC | UFFD_USER_MODE_ONLY;
	CALL("faults", SYS_userfaultfd, 0, flags, 0, 0, 0, 0, 1, flags);
	CALL("kernel", SYS_userfaultfd, 0, O_NONBLOCK, 0, 0, 0, 0, 1, U(O_NONBLOCK));
}

/* Makes a cgroup, moves a child there, and removes it. */
static void cgroups(const char *path)
{
	char procs[4096], text[32], elsewhere[64];
	struct stat made;
	int victim = start_victim(NULL);
	say_who("mover");
	if (mkdir(path, 0755) || stat(path, &made))
		err(1, "%s", path);
	printf("id=%lu\n", made.st_ino);
	snprintf(procs, sizeof procs, "%s/cgroup.procs", path);
	snprintf(text, sizeof text, "%d", victim);
	write_text(procs, text);
	end_victim(victim);
	/* Its last process may still be on its way out. */
	for (int i = 0; rmdir(path); i++) {
		if (errno != EBUSY || i > 1000)
			err(1, "%s", path);
		usleep(1000);
	}
	/* A cgroup of another hierarchy, which has no v2 id. */
	snprintf(elsewhere, sizeof elsewhere, "/sys/fs/cgroup/freezer/elsewhere-%d", own_tgid());
	if (!mkdir(elsewhere, 0755) && rmdir(elsewhere))
		err(1, "%s", elsewhere);
}

int main(int argc, char **argv)
{
	if (argc < 2)
		errx(2, "arguments");
	/* A test that hangs is no help. */
	alarm(20);
	setvbuf(stdout, NULL, _IOLBF, 0);
	shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED)
		err(1, "mmap");
	const char *what = argv[1];
	if (!strcmp(what, "trace"))
		trace();
	else if (!strcmp(what, "trace_me"))
		trace_me();
	else if (!strcmp(what, "memory"))
		memory();
	else if (!strcmp(what, "signals"))
		signals();
	else if (!strcmp(what, "pidfd"))
		pidfd();
	else if (!strcmp(what, "foreign"))
		foreign();
	else if (!strcmp(what, "namespaces"))
		namespaces();
	else if (!strcmp(what, "names"))
		names();
	else if (!strcmp(what, "bpf"))
		bpf();
	else if (!strcmp(what, "modules"))
		modules(argv[2]);
	else if (!strcmp(what, "faults"))
		faults();
	else if (!strcmp(what, "cgroups"))
		cgroups(argv[2]);
	else
		errx(2, "unknown case %s", what);
	return 0;
}
