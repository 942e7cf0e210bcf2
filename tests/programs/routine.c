/* A program with a routine: twenty times a second it starts a child now and then, sends a little, and
   asks one neighbour. Told a word, it does much more of that for eight seconds: forks, scan, send. */
#include <arpa/inet.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static char bytes[8192];

static void start_child(void) {
    pid_t child = fork();
    if (child == 0)
        _exit(0);
    waitpid(child, 0, 0);
}

static void ask(int number) {
    int connection = socket(AF_INET, SOCK_DGRAM, 0);
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(9)};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK + number);
    connect(connection, (struct sockaddr *)&to, sizeof to);
    close(connection);
}

int main(void) {
    int mouth = socket(AF_INET, SOCK_DGRAM, 0), ear = socket(AF_INET, SOCK_DGRAM, 0);
    struct sockaddr_in own = {.sin_family = AF_INET};
    own.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof own;
    if (bind(ear, (struct sockaddr *)&own, size) || getsockname(ear, (struct sockaddr *)&own, &size))
        return 1;
    char word[16] = "";
    int left = 0;
    for (int round = 0;; round++) {
        struct pollfd input = {.fd = 0, .events = left ? 0 : POLLIN};
        if (poll(&input, left ? 0 : 1, 50) > 0) {
            ssize_t length = read(0, word, sizeof word - 1);
            if (length <= 0)
                return 0;
            word[length] = 0;
            left = 160;
        }
        int often = left > 0 ? 10 : 1;
        left -= left > 0;
        int is_due = round % 10 == 0;
        for (int i = 0; i < (strncmp(word, "forks", 5) == 0 && often > 1 ? 10 : is_due); i++)
            start_child();
        for (int i = 0; i < (strncmp(word, "scan", 4) == 0 ? often : 1); i++)
            ask(often > 1 ? round % 200 * 10 + i : 0);
        for (int i = 0; i < (strncmp(word, "send", 4) == 0 ? often : 1); i++) {
            size_t length = strncmp(word, "send", 4) == 0 && often > 1 ? sizeof bytes : 100;
            sendto(mouth, bytes, length, 0, (struct sockaddr *)&own, size);
            recv(ear, bytes, sizeof bytes, 0);
        }
        if (left == 0)
            word[0] = 0;
    }
}
