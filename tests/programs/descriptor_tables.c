/* Does what can be done to a table of descriptors, at random, in several processes.
 *
 * descriptor_tables SEED STEPS GENERATIONS FILE
 *
 * Takes STEPS steps and then waits for a signal, under the name "done"; so do its children, which it may
 * have GENERATIONS deep, less one for each time that it starts itself anew. FILE is opened now and then. What fails, fails. */
#define _GNU_SOURCE
#include <err.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { NUMBERS = 40, CHILDREN = 2, STACK = 1 << 16 };

static unsigned state;
static int steps, generations, children;
static const char *file;

static unsigned any(unsigned below)
{
    state = state * 1664525 + 1013904223;
    return (state >> 10) % below;
}

static int number(void)
{
    return (int)any(NUMBERS);
}

static void step(void);

/* Gives a descriptor to itself through a socket. */
static void pass(int what)
{
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) != 0)
        return;
    char byte = 0, room[CMSG_SPACE(sizeof what)] = { 0 };
    struct iovec data = { &byte, 1 };
    struct msghdr message = { .msg_iov = &data, .msg_iovlen = 1, .msg_control = room,
                              .msg_controllen = sizeof room };
    struct cmsghdr *control = CMSG_FIRSTHDR(&message);
    control->cmsg_level = SOL_SOCKET;
    control->cmsg_type = SCM_RIGHTS;
    control->cmsg_len = CMSG_LEN(sizeof what);
    memcpy(CMSG_DATA(control), &what, sizeof what);
    if (sendmsg(pair[0], &message, 0) == 1)
        recvmsg(pair[1], &message, any(2) ? MSG_CMSG_CLOEXEC : 0);
    close(pair[any(2)]);
}

/* A file of no class that the parent has opened, in whose place its child puts something else. */
static int handed;

static int shared_child(void *stack)
{
    (void)stack;
    close(handed);
    dup2(socket(AF_UNIX, SOCK_DGRAM, 0), handed);
    /* It starts nothing: that would wait in the end. */
    generations = -1;
    state ^= 0x9e3779b9;
    for (steps = 30; steps > 0; steps--)
        step();
    return 0;
}

static void child(int shares)
{
    if (generations <= 0 || children++ == CHILDREN)
        return;
    if (shares) {
        char *stack = malloc(STACK);
        handed = open("/etc/passwd", O_RDONLY);
        /* Memory of its own, but one table with its parent; one after the other, as nobody could tell who was
         * first otherwise. */
        int it = stack == NULL ? -1 : clone(shared_child, stack + STACK, CLONE_FILES | SIGCHLD, NULL);
        if (it < 0 || waitpid(it, NULL, 0) != it)
            err(1, "clone");
        close(handed);
        free(stack);
    } else if (fork() == 0) {
        generations--;
        children = 0;
        state ^= (unsigned)getpid() * 2654435761u;
    }
}

static void become_new(void)
{
    char seed[16], left[16], deep[16];
    snprintf(seed, sizeof seed, "%u", state);
    snprintf(left, sizeof left, "%d", steps);
    snprintf(deep, sizeof deep, "%d", generations > 0 ? generations - 1 : 0);
    execl("/proc/self/exe", "descriptor_tables", seed, left, deep, file, (char *)NULL);
    err(1, "exec");
}

static void step(void)
{
    int pair[2], one = number(), other = number(), flag = any(2) ? O_CLOEXEC : 0;
    switch (any(26)) {
    case 0: socket(AF_INET, SOCK_STREAM | (flag ? SOCK_CLOEXEC : 0), 0); break;
    case 1: socket(AF_UNIX, SOCK_DGRAM | (flag ? SOCK_CLOEXEC : 0), 0); break;
    case 2: if (pipe2(pair, flag) != 0) return; break;
    case 3: if (socketpair(AF_UNIX, SOCK_STREAM | (flag ? SOCK_CLOEXEC : 0), 0, pair) != 0) return; break;
    case 4: dup(one); break;
    case 5: dup2(one, other); break;
    case 6: dup3(one, other, flag); break;
    case 7: fcntl(one, flag ? F_DUPFD_CLOEXEC : F_DUPFD, other); break;
    case 8: fcntl(one, F_SETFD, flag ? FD_CLOEXEC : 0); break;
    case 9: case 10: case 11: if (one > 2) close(one); break;
    case 12: syscall(SYS_close_range, 3 + one, 3 + one + any(4), 0); break;
    case 13: syscall(SYS_close_range, 3 + one, 3 + one + any(4), CLOSE_RANGE_CLOEXEC); break;
    case 14: if (any(4) == 0) syscall(SYS_close_range, 3 + one, 3 + one + any(4), CLOSE_RANGE_UNSHARE); break;
    case 15: memfd_create("memory", flag ? MFD_CLOEXEC : 0); break;
    case 16: open(file, O_RDONLY | flag); break;
    case 17: open("/dev/null", O_RDWR | flag); break;
    case 24: open("/etc/passwd", O_RDONLY | flag); break;
    case 25: {
        char byte;
        (void)!read(open("/", O_RDONLY | O_DIRECTORY | flag), &byte, 1);
        (void)!read(open("/proc/self/exe", O_RDONLY | flag), &byte, 1);
        break;
    }
    case 18: pass(one); break;
    case 19: {
        int self = (int)syscall(SYS_pidfd_open, getpid(), 0);
        syscall(SYS_pidfd_getfd, self, one, 0);
        close(self);
        break;
    }
    case 20: child(0); break;
    case 21: child(1); break;
    case 22: if (any(3) == 0) unshare(CLONE_FILES); break;
    case 23: if (any(3) == 0 && generations >= 0) become_new(); break;
    }
}

static void work(void)
{
    while (steps-- > 0)
        step();
    prctl(PR_SET_NAME, "done");
    for (;;)
        pause();
}

int main(int count, char **words)
{
    if (count != 5)
        errx(2, "SEED STEPS GENERATIONS FILE");
    state = (unsigned)strtoul(words[1], NULL, 10);
    steps = atoi(words[2]);
    generations = atoi(words[3]);
    file = words[4];
    /* What whoever runs the tests has left open. */
    syscall(SYS_close_range, 2 * NUMBERS, ~0U, 0);
    work();
}
