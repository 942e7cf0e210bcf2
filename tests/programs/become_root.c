/* Uses the rights that it was started with: `become_root HOW PROGRAM ARGUMENT…` makes itself root and starts
 * the program. */
#include <linux/capability.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static int raise_setuid(void)
{
	struct __user_cap_header_struct header = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct data[2];
	if (syscall(SYS_capget, &header, data))
		return -1;
	data[0].effective = data[0].permitted;
	return syscall(SYS_capset, &header, data);
}

int main(int count, char **arguments)
{
	if (count < 3)
		return 2;
	if (!strcmp(arguments[1], "capset") && raise_setuid())
		return 3;
	if (setuid(0))
		return 4;
	execv(arguments[2], arguments + 2);
	return 5;
}
