/* Tries what no domain of Sentinel may do but those it is for; as root and with every capability, nothing but
 * SELinux stands in the way. Prints a line for each try: its name, and "done" or the error.
 *
 * selinux_probe PID: a process of somebody else's. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static void told(const char *name, long result)
{
	printf("%s: %s\n", name, result < 0 ? strerror(errno) : "done");
	fflush(stdout);
}

static long opened(const char *path, int flags)
{
	int file = open(path, flags);
	if (file >= 0)
		close(file);
	return file;
}

/* As one writes a file that is never half there. */
static long replaced(const char *path)
{
	char new[64];
	snprintf(new, sizeof new, "%s.new", path);
	int file = open(new, O_WRONLY | O_CREAT, 0640);
	if (file < 0)
		return -1;
	close(file);
	return rename(new, path);
}

static long made_map(void)
{
	union bpf_attr attributes = {0};
	attributes.map_type = BPF_MAP_TYPE_ARRAY;
	attributes.key_size = 4;
	attributes.value_size = 8;
	attributes.max_entries = 1;
	return syscall(SYS_bpf, BPF_MAP_CREATE, &attributes, sizeof attributes);
}

static long called(const char *name)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int socket_ = socket(AF_UNIX, SOCK_SEQPACKET, 0);
	if (socket_ < 0)
		return -1;
	snprintf(address.sun_path, sizeof address.sun_path, "/run/sentinel/%s.sock", name);
	long result = connect(socket_, (struct sockaddr *)&address, sizeof address);
	int error = errno;
	close(socket_);
	errno = error;
	return result;
}

static long ran(const char *path)
{
	pid_t child = fork();
	if (child == 0) {
		execl(path, path, "-c", "exit 0", NULL);
		_exit(errno);
	}
	int status;
	if (child < 0 || waitpid(child, &status, 0) < 0)
		return -1;
	errno = WEXITSTATUS(status);
	return errno ? -1 : 0;
}

int main(int count, char **arguments)
{
	pid_t somebody = count > 1 ? atoi(arguments[1]) : 0;
	static const char *const sockets[] = {"loader", "identity", "analyzer", "enforcer", "control", "enforce"};
	char name[32];

	told("shadow", opened("/etc/shadow", O_RDONLY));
	told("bpf", made_map());
	told("inet", socket(AF_INET, SOCK_STREAM, 0));
	told("packet", socket(AF_PACKET, SOCK_RAW, 0));
	told("exec", ran("/bin/sh"));
	told("read-config", opened("/etc/sentinel/analyzer.toml", O_RDONLY));
	told("write-config", opened("/etc/sentinel/analyzer.toml", O_WRONLY));
	told("write-rules", opened("/etc/sentinel/rules.d/probe.toml", O_WRONLY | O_CREAT));
	told("read-log", opened("/var/log/sentinel/alerts.json", O_RDONLY));
	told("append-log", opened("/var/log/sentinel/alerts.json", O_WRONLY | O_APPEND));
	told("write-log", opened("/var/log/sentinel/alerts.json", O_WRONLY));
	told("remove-log", unlink("/var/log/sentinel/alerts.json"));
	told("keep-baseline", replaced("/var/lib/sentinel/probe"));
	told("switch", opened("/var/lib/sentinel-enforcer/enforcement", O_RDWR));
	told("write-program", opened("/usr/libexec/sentinel/sentinel-loader", O_WRONLY));
	told("mount", mount("none", "/mnt", "tmpfs", 0, NULL));
	told("trace", ptrace(PTRACE_SEIZE, somebody, 0, 0));
	for (unsigned one = 0; one < sizeof sockets / sizeof *sockets; one++) {
		snprintf(name, sizeof name, "call-%s", sockets[one]);
		told(name, called(sockets[one]));
	}
	told("signal", kill(somebody, SIGCONT));
	told("stop", kill(somebody, SIGSTOP));
	told("kill", kill(somebody, SIGKILL));
	return 0;
}
