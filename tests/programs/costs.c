/* costs WHAT TIMES: does WHAT so many times; prints what one took, ns. Files are those of the working directory. */
#include <arpa/inet.h>
#include <err.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* Times that are timed at once. */
enum { PART = 64 };

static int input, output;
static int opened[PART], open_files;
static struct sockaddr_in server = {.sin_family = AF_INET};

static void get_parent(void) {
    syscall(SYS_getppid);
}

static void read_and_write(void) {
    char byte;
    if (read(input, &byte, 1) != 1 || write(output, &byte, 1) != 1)
        err(1, "one byte");
}

static void open_and_read(const char *path) {
    char bytes[64];
    int file = open(path, O_RDONLY);
    if (file < 0 || read(file, bytes, sizeof bytes) < 1)
        err(1, "%s", path);
    close(file);
}

static void ordinary_file(void) {
    open_and_read("ordinary");
}

static void secret(void) {
    open_and_read(".ssh/id_ed25519");
}

static void open_secret(void) {
    int file = open(".ssh/id_ed25519", O_RDONLY);
    if (file < 0)
        err(1, "secret");
    opened[open_files++] = file;
}

static void close_all(void) {
    while (open_files > 0)
        close(opened[--open_files]);
}

static void let_another_read_the_secret(void) {
    int status;
    if (fork() == 0) {
        secret();
        _exit(0);
    }
    if (wait(&status) < 0 || status)
        errx(1, "reading the secret");
}

static void connection(void) {
    int to = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    char byte = 0;
    if (connect(to, (struct sockaddr *)&server, sizeof server) || send(to, &byte, 1, 0) != 1)
        err(1, "connection");
    /* Until the server has closed its end, so that its numbers are free again. */
    if (read(to, &byte, 1) < 0)
        err(1, "answer");
    close(to);
}

static void program(void) {
    pid_t child = fork();
    if (child == 0) {
        execl("/bin/true", "true", (char *)0);
        _exit(1);
    }
    int status;
    if (waitpid(child, &status, 0) != child || status != 0)
        errx(1, "/bin/true");
}

static pid_t serve(void) {
    int listening = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    socklen_t length = sizeof server;
    server.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (bind(listening, (struct sockaddr *)&server, length) || listen(listening, 64))
        err(1, "server");
    getsockname(listening, (struct sockaddr *)&server, &length);
    pid_t child = fork();
    if (child)
        return child;
    for (;;) {
        int from = accept(listening, 0, 0);
        char byte;
        if (from < 0 || read(from, &byte, 1) != 1)
            err(1, "server");
        close(from);
    }
}

static const struct {
    const char *name;
    void (*once)(void);
    /* Not timed, once and behind each part; none for most. */
    void (*before)(void);
    void (*after)(void);
} WORKS[] = {
    {"getppid", get_parent},
    {"read-write", read_and_write},
    {"open-read-close", ordinary_file},
    {"secret", secret},
    {"open a secret", open_secret, 0, close_all},
    {"read-write later", read_and_write, let_another_read_the_secret},
    {"connect-send-close", connection},
    {"fork-exec", program},
};

int main(int count, char **arguments) {
    if (count != 3)
        errx(2, "costs WHAT TIMES");
    long times = atol(arguments[2]);
    input = open("/dev/zero", O_RDONLY);
    output = open("/dev/null", O_WRONLY);
    for (unsigned i = 0; i < sizeof WORKS / sizeof *WORKS; i++) {
        if (strcmp(WORKS[i].name, arguments[1]))
            continue;
        pid_t helper = WORKS[i].once == connection ? serve() : 0;
        if (WORKS[i].before)
            WORKS[i].before();
        double taken = 0;
        for (long time = 0; time < times;) {
            long part = times - time < PART || !WORKS[i].after ? times - time : PART;
            struct timespec begin, end;
            clock_gettime(CLOCK_MONOTONIC, &begin);
            for (long end_of_part = time + part; time < end_of_part; time++)
                WORKS[i].once();
            clock_gettime(CLOCK_MONOTONIC, &end);
            taken += (end.tv_sec - begin.tv_sec) * 1e9 + (end.tv_nsec - begin.tv_nsec);
            if (WORKS[i].after)
                WORKS[i].after();
        }
        printf("%.2f\n", taken / times);
        if (helper) {
            kill(helper, 9);
            waitpid(helper, 0, 0);
        }
        return 0;
    }
    errx(2, "%s is not known", arguments[1]);
}
