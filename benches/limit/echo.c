/* The limit of the I/O rows: a minimal epoll echo server, and the client that every server is measured with.
 *
 *   echo server tcp PORT | unix PATH | udp PORT          echoes for ever; prints "ready"
 *   echo client tcp PORT | unix PATH | udp PORT  SIZE CONNECTIONS SECONDS
 *   echo connect tcp PORT  SECONDS                       connects, waits for one byte echoed, closes, again
 *   echo http tcp PORT  CONNECTIONS SECONDS              GET / on kept-alive connections; the body ends in "!"
 *
 * A client keeps one message per connection under way and prints the number of round trips and the seconds.
 */
#include "shared.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

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
    int epoll = epoll_create1(0), listener = make_socket(kind, where, 1, SOCK_NONBLOCK);
    struct epoll_event events[EVENTS];
    watch(epoll, listener);
    ready();
    for (;;) {
        int count = epoll_wait(epoll, events, EVENTS, -1);
        for (int i = 0; i < count; i++) {
            int fd = events[i].data.fd;
            if (fd == listener && is_udp(kind)) {
                echo_datagrams(fd);
            } else if (fd == listener) {
                accept_peer(epoll, listener);
            } else {
                ssize_t got = recv(fd, buffer, BUFFER, 0);
                if (got < 0 && errno == EAGAIN) continue;
                if (got <= 0 || write_all(fd, buffer, (size_t)got) < 0) close(fd);
            }
        }
    }
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
