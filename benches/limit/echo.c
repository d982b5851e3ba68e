/* The limit of the I/O rows: a minimal epoll echo server, and the client that every server is measured with.
 *
 *   echo server tcp PORT | unix PATH | udp PORT          echoes for ever; prints "ready"
 *   echo client tcp PORT | unix PATH | udp PORT  SIZE CONNECTIONS SECONDS
 *   echo connect tcp PORT  SECONDS                       connects, waits for one byte echoed, closes, again
 *   echo http tcp PORT  CONNECTIONS SECONDS              GET / on kept-alive connections; the body ends in "!"
 *
 * A client keeps one message per connection under way and prints the number of round trips and the seconds.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { EVENTS = 256, BUFFER = 1 << 18, MOST = 4096 };

static char buffer[BUFFER];

static void die(const char *what) {
    perror(what);
    exit(1);
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static int is_udp(const char *kind) { return !strcmp(kind, "udp"); }

static socklen_t address(const char *kind, const char *where, struct sockaddr_storage *out) {
    memset(out, 0, sizeof *out);
    if (!strcmp(kind, "unix")) {
        struct sockaddr_un *un = (struct sockaddr_un *)out;
        un->sun_family = AF_UNIX;
        strncpy(un->sun_path, where, sizeof un->sun_path - 1);
        return sizeof *un;
    }
    struct sockaddr_in *in = (struct sockaddr_in *)out;
    in->sin_family = AF_INET;
    in->sin_port = htons((unsigned short)atoi(where));
    in->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return sizeof *in;
}

static int make_socket(const char *kind, const char *where, int listening, int flags) {
    struct sockaddr_storage to;
    socklen_t length = address(kind, where, &to);
    int one = 1, type = is_udp(kind) ? SOCK_DGRAM : SOCK_STREAM;
    int fd = socket(to.ss_family, type | flags, 0);
    if (fd < 0) die("socket");
    if (listening) {
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
        if (bind(fd, (struct sockaddr *)&to, length) < 0) die("bind");
        if (type == SOCK_STREAM && listen(fd, 1024) < 0) die("listen");
    } else {
        if (connect(fd, (struct sockaddr *)&to, length) < 0) die("connect");
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    }
    return fd;
}

static void watch(int epoll, int fd) {
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) < 0) die("epoll_ctl");
}

/* Writes all of it; the peer reads as fast as we write, so waiting here costs nothing. */
static int write_all(int fd, const char *data, size_t size) {
    while (size) {
        ssize_t sent = send(fd, data, size, MSG_NOSIGNAL);
        if (sent < 0 && errno == EAGAIN) continue;
        if (sent < 0) return -1;
        data += sent;
        size -= (size_t)sent;
    }
    return 0;
}

static void echo_datagrams(int fd) {
    struct sockaddr_storage from;
    socklen_t length = sizeof from;
    ssize_t got = recvfrom(fd, buffer, BUFFER, 0, (struct sockaddr *)&from, &length);
    if (got >= 0) sendto(fd, buffer, (size_t)got, 0, (struct sockaddr *)&from, length);
}

static _Noreturn void serve(const char *kind, const char *where) {
    int epoll = epoll_create1(0), listener = make_socket(kind, where, 1, SOCK_NONBLOCK), one = 1;
    struct epoll_event events[EVENTS];
    watch(epoll, listener);
    puts("ready");
    fflush(stdout);
    for (;;) {
        int count = epoll_wait(epoll, events, EVENTS, -1);
        for (int i = 0; i < count; i++) {
            int fd = events[i].data.fd;
            if (fd == listener && is_udp(kind)) {
                echo_datagrams(fd);
            } else if (fd == listener) {
                int peer = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
                if (peer < 0) continue;
                setsockopt(peer, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
                watch(epoll, peer);
            } else {
                ssize_t got = recv(fd, buffer, BUFFER, 0);
                if (got < 0 && errno == EAGAIN) continue;
                if (got <= 0 || write_all(fd, buffer, (size_t)got) < 0) close(fd);
            }
        }
    }
}

static int report(long trips, double start) {
    printf("%ld %f\n", trips, now() - start);
    return 0;
}

static int run_client(const char *kind, const char *where, size_t size, int connections, double seconds) {
    static size_t left[MOST];
    int epoll = epoll_create1(0);
    struct epoll_event events[EVENTS];
    char *message = malloc(size);
    memset(message, 'x', size);
    double start = now(), end = start + seconds;
    for (int i = 0; i < connections; i++) {
        int fd = make_socket(kind, where, 0, 0);
        watch(epoll, fd);
        left[fd] = size;
        if (write_all(fd, message, size) < 0) die("send");
    }
    long trips = 0;
    while (now() < end) {
        int count = epoll_wait(epoll, events, EVENTS, 1000);
        for (int i = 0; i < count; i++) {
            int fd = events[i].data.fd;
            ssize_t got = recv(fd, buffer, BUFFER, 0);
            if (got <= 0) die("recv");
            left[fd] -= (size_t)got;
            if (left[fd]) continue;
            trips++;
            left[fd] = size;
            if (write_all(fd, message, size) < 0) die("send");
        }
    }
    return report(trips, start);
}

static int run_connect(const char *kind, const char *where, double seconds) {
    double start = now(), end = start + seconds;
    long trips = 0;
    for (; now() < end; trips++) {
        int fd = make_socket(kind, where, 0, 0);
        struct linger reset = {1, 0}; /* else the ports run out */
        if (send(fd, "x", 1, 0) != 1 || recv(fd, buffer, 1, 0) != 1) die("echo");
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
        close(fd);
    }
    return report(trips, start);
}

static int run_http(const char *kind, const char *where, int connections, double seconds) {
    static const char request[] = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
    int epoll = epoll_create1(0);
    struct epoll_event events[EVENTS];
    double start = now(), end = start + seconds;
    for (int i = 0; i < connections; i++) {
        int fd = make_socket(kind, where, 0, 0);
        watch(epoll, fd);
        write_all(fd, request, sizeof request - 1);
    }
    long trips = 0;
    while (now() < end) {
        int count = epoll_wait(epoll, events, EVENTS, 1000);
        for (int i = 0; i < count; i++) {
            int fd = events[i].data.fd;
            ssize_t got = recv(fd, buffer, BUFFER, 0);
            if (got <= 0) die("recv");
            if (buffer[got - 1] != '!') continue;
            trips++;
            if (write_all(fd, request, sizeof request - 1) < 0) die("send");
        }
    }
    return report(trips, start);
}

int main(int argc, char **argv) {
    if (argc == 4 && !strcmp(argv[1], "server")) serve(argv[2], argv[3]);
    if (argc == 7 && !strcmp(argv[1], "client"))
        return run_client(argv[2], argv[3], (size_t)atol(argv[4]), atoi(argv[5]), atof(argv[6]));
    if (argc == 5 && !strcmp(argv[1], "connect")) return run_connect(argv[2], argv[3], atof(argv[4]));
    if (argc == 6 && !strcmp(argv[1], "http")) return run_http(argv[2], argv[3], atoi(argv[4]), atof(argv[5]));
    fputs("usage: see the top of echo.c\n", stderr);
    return 2;
}
