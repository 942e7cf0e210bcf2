/* The interpreter of a script: says that it runs, and opens its script only when it is told a line. */
#include <err.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	if (argc < 2)
		errx(2, "no script");
	puts("ready");
	fflush(stdout);
	if (getchar() == EOF)
		errx(1, "not told");
	int fd = open(argv[1], O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		err(1, "%s", argv[1]);
	return 0;
}
