/* A known number of system calls, by threads, by children that live shortly, and by handlers of signals; and
   known numbers of bytes, written and sent. */
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { CALLS = 20000, THREADS = 3, CALLS_OF_THREAD = 5000, CHILDREN = 50, CALLS_OF_CHILD = 10, SIGNALS = 100 };

static void call(int times) {
    for (int i = 0; i < times; i++)
        syscall(SYS_getppid);
}

static void *thread(void *unused) {
    call(CALLS_OF_THREAD);
    return unused;
}

static void handler(int signal) {
    (void)signal;
}

int main(void) {
    call(CALLS);
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++)
        if (pthread_create(&threads[i], 0, thread, 0))
            return 1;
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], 0);
    for (int i = 0; i < CHILDREN; i++) {
        pid_t child = fork();
        if (child < 0)
            return 1;
        if (child == 0) {
            call(CALLS_OF_CHILD);
            _exit(0);
        }
        waitpid(child, 0, 0);
    }
    signal(SIGUSR1, handler);
    for (int i = 0; i < SIGNALS; i++)
        raise(SIGUSR1);
    static char bytes[1000];
    int ends[2], nowhere = open("/dev/null", O_WRONLY);
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends))
        return 1;
    for (int i = 0; i < 7; i++)
        if (write(nowhere, bytes, sizeof bytes) != sizeof bytes)
            return 1;
    for (int i = 0; i < 5; i++)
        if (send(ends[0], bytes, sizeof bytes, 0) != sizeof bytes)
            return 1;
    return 0;
}
