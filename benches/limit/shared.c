/* See shared.h. */
#include "shared.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>

char buffer[BUFFER];

void die(const char *what) {
    perror(what);
    exit(1);
}

double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

int is_udp(const char *kind) { return !strcmp(kind, "udp"); }

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

int make_socket(const char *kind, const char *where, int listening, int flags) {
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

void watch(int epoll, int fd) {
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) < 0) die("epoll_ctl");
}

int accept_peer(int epoll, int listener) {
    int one = 1, peer = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
    if (peer < 0) return -1;
    setsockopt(peer, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    watch(epoll, peer);
    return peer;
}

void ready(void) {
    puts("ready");
    fflush(stdout);
}

int report(long trips, double start) {
    printf("%ld %f\n", trips, now() - start);
    return 0;
}
