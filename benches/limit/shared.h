/* What the programs for sockets and for TLS share: sockets, epoll, the clock, what is printed. */
#ifndef AIOXIDE_LIMIT_SHARED_H
#define AIOXIDE_LIMIT_SHARED_H

#define _GNU_SOURCE
#include <stddef.h>

enum { EVENTS = 256, BUFFER = 1 << 18, MOST = 4096 };

/* What is received, one message or piece at a time. */
extern char buffer[BUFFER];

_Noreturn void die(const char *what);
double now(void);
int is_udp(const char *kind);

/* A socket of a kind (tcp, unix, udp) that listens, or is connected, at a port or path. */
int make_socket(const char *kind, const char *where, int listening, int flags);

/* Waits for `fd` to become readable from now on. */
void watch(int epoll, int fd);

/* Accepts a connection and watches it; its descriptor, or -1 if there is none. */
int accept_peer(int epoll, int listener);

/* The server's word that it can be connected to. */
void ready(void);

/* The client's result: the round trips and their seconds; returns the exit status. */
int report(long trips, double start);

#endif
