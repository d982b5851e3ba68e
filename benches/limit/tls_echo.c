/* The limit of the TLS rows: the same server and client as echo.c's over OpenSSL.
 *
 *   tls_echo server PORT CERTIFICATE                            echoes for ever; prints "ready"
 *   tls_echo client PORT CERTIFICATE SIZE CONNECTIONS SECONDS   trusts that certificate, for localhost
 *
 * CERTIFICATE is a PEM file with the key in it. A client keeps one message per connection under way and prints the number
 * of round trips and the seconds, the handshakes not among them. Needs OpenSSL's headers and libraries (-lssl -lcrypto).
 *
 * One recv takes all there is, which OpenSSL then reads from where it lies; what it writes is collected and goes out in
 * one send. Record by record, as OpenSSL does it with a bare socket, 100 KiB would be 14 receives and 7 sends.
 */
#include "shared.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

/* The session of each descriptor. */
static SSL *sessions[MOST];

static _Noreturn void die_of_openssl(const char *what) {
    fprintf(stderr, "%s\n", what);
    ERR_print_errors_fp(stderr);
    exit(1);
}

/* A session that receives from `fd` itself until it is given something, and sends in pieces of at most BUFFER. */
static SSL *open_session(SSL_CTX *context, int fd) {
    SSL *session = SSL_new(context);
    BIO *collector = BIO_new(BIO_f_buffer());
    if (fd >= MOST || !session || !collector || BIO_set_write_buffer_size(collector, BUFFER) != 1)
        die_of_openssl("session");
    SSL_set_bio(session, BIO_new_socket(fd, BIO_NOCLOSE), BIO_push(collector, BIO_new_socket(fd, BIO_NOCLOSE)));
    sessions[fd] = session;
    return session;
}

static void close_session(int fd) {
    SSL_free(sessions[fd]);
    sessions[fd] = NULL;
    close(fd);
}

/* Receives what there is and lets the session read it: all of it, before the next call. Like recv. */
static ssize_t receive(int fd) {
    static char encrypted[BUFFER];
    ssize_t got = recv(fd, encrypted, BUFFER, 0);
    if (got <= 0) return got;
    BIO *memory = BIO_new_mem_buf(encrypted, (int)got);
    BIO_set_mem_eof_return(memory, -1); /* its end is not the connection's */
    SSL_set0_rbio(sessions[fd], memory);
    return got;
}

/* Encrypts and collects; the peer reads as fast as we write, so waiting for it costs nothing. */
static int collect(SSL *session, const char *data, size_t size) {
    int written;
    while ((written = SSL_write(session, data, (int)size)) <= 0)
        if (SSL_get_error(session, written) != SSL_ERROR_WANT_WRITE) return -1;
    return 0;
}

/* Sends what was collected. */
static int send_collected(SSL *session) {
    BIO *collector = SSL_get_wbio(session);
    while (BIO_flush(collector) <= 0)
        if (!BIO_should_retry(collector)) return -1;
    return 0;
}

/* Echoes what came, one record after the other; -1 when the connection is over. The first pieces are the handshake's. */
static int echo(int fd) {
    SSL *session = sessions[fd];
    ssize_t received = receive(fd);
    if (received < 0 && errno == EAGAIN) return 0;
    if (received <= 0) return -1;
    int got;
    while ((got = SSL_read(session, buffer, BUFFER)) > 0)
        if (collect(session, buffer, (size_t)got) < 0) return -1;
    if (SSL_get_error(session, got) != SSL_ERROR_WANT_READ) return -1;
    return send_collected(session);
}

static _Noreturn void serve(const char *port, const char *certificate) {
    SSL_CTX *context = SSL_CTX_new(TLS_server_method());
    if (SSL_CTX_use_certificate_chain_file(context, certificate) != 1 ||
        SSL_CTX_use_PrivateKey_file(context, certificate, SSL_FILETYPE_PEM) != 1)
        die_of_openssl("certificate");
    int epoll = epoll_create1(0), listener = make_socket("tcp", port, 1, SOCK_NONBLOCK);
    struct epoll_event events[EVENTS];
    watch(epoll, listener);
    ready();
    for (;;) {
        int count = epoll_wait(epoll, events, EVENTS, -1);
        for (int i = 0; i < count; i++) {
            int fd = events[i].data.fd;
            if (fd == listener) {
                int peer = accept_peer(epoll, listener);
                if (peer >= 0) SSL_set_accept_state(open_session(context, peer));
            } else if (echo(fd) < 0) {
                close_session(fd);
            }
        }
    }
}

static SSL_CTX *client_context(const char *certificate) {
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    if (SSL_CTX_load_verify_locations(context, certificate, NULL) != 1) die_of_openssl("certificate");
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);
    return context;
}

static void connect_to(SSL_CTX *context, const char *port, int epoll, int *descriptor) {
    int fd = make_socket("tcp", port, 0, 0);
    SSL *session = open_session(context, fd);
    if (SSL_set_tlsext_host_name(session, "localhost") != 1 || SSL_set1_host(session, "localhost") != 1 ||
        SSL_connect(session) != 1)
        die_of_openssl("handshake");
    watch(epoll, fd);
    *descriptor = fd;
}

static int run_client(const char *port, const char *certificate, size_t size, int connections, double seconds) {
    static size_t left[MOST];
    static int descriptors[MOST];
    SSL_CTX *context = client_context(certificate);
    int epoll = epoll_create1(0);
    struct epoll_event events[EVENTS];
    char *message = malloc(size);
    memset(message, 'x', size);
    for (int i = 0; i < connections; i++) connect_to(context, port, epoll, &descriptors[i]);
    double start = now(), end = start + seconds;
    for (int i = 0; i < connections; i++) {
        SSL *session = sessions[descriptors[i]];
        left[descriptors[i]] = size;
        if (collect(session, message, size) < 0 || send_collected(session) < 0) die_of_openssl("send");
    }
    long trips = 0;
    while (now() < end) {
        int count = epoll_wait(epoll, events, EVENTS, 1000);
        for (int i = 0; i < count; i++) {
            int fd = events[i].data.fd, got;
            SSL *session = sessions[fd];
            if (receive(fd) <= 0) die("recv");
            while ((got = SSL_read(session, buffer, BUFFER)) > 0) left[fd] -= (size_t)got;
            if (SSL_get_error(session, got) != SSL_ERROR_WANT_READ) die_of_openssl("receive");
            if (left[fd]) continue;
            trips++;
            left[fd] = size;
            if (collect(session, message, size) < 0 || send_collected(session) < 0) die_of_openssl("send");
        }
    }
    return report(trips, start);
}

int main(int argc, char **argv) {
    signal(SIGPIPE, SIG_IGN); /* OpenSSL writes without MSG_NOSIGNAL */
    if (argc == 4 && !strcmp(argv[1], "server")) serve(argv[2], argv[3]);
    if (argc == 7 && !strcmp(argv[1], "client"))
        return run_client(argv[2], argv[3], (size_t)atol(argv[4]), atoi(argv[5]), atof(argv[6]));
    fputs("usage: see the top of tls_echo.c\n", stderr);
    return 2;
}
