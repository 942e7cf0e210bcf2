/* A program of habits that breaks them when its standard input ends: it traces, connects, and starts
   another program. */
#include <arpa/inet.h>
#include <poll.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

int main(void) {
    struct pollfd input = {.fd = 0, .events = POLLIN};
    while (poll(&input, 1, 20) == 0)
        for (int i = 0; i < 10; i++)
            syscall(SYS_getppid);
    /* Nobody: it fails, and is one all the same. */
    ptrace(PTRACE_ATTACH, 0, 0, 0);
    int connection = socket(AF_INET, SOCK_DGRAM, 0);
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(9)};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    connect(connection, (struct sockaddr *)&to, sizeof to);
    if (fork() == 0) {
        execl("/bin/true", "true", (char *)0);
        _exit(1);
    }
    wait(0);
    for (;;) {
        poll(0, 0, 20);
        for (int i = 0; i < 10; i++)
            syscall(SYS_getppid);
    }
}
