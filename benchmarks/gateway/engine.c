/* The engine of the gateway benchmark: an HTTP/1.1 server that costs next to nothing.
 *
 * usage: engine PORT EVENTS GAP_MS
 * A POST whose body has `"stream": true` (with or without the space) is answered by EVENTS events, one every GAP_MS,
 * each bearing the time it was sent (CLOCK_MONOTONIC, microseconds); anything else by 1 KB of JSON. One thread, epoll.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { MAX_FD = 16384, MAX_REQUEST = 1 << 20 };

struct connection {
    char *in;
    size_t have;
    int events_left; /* of the stream being sent; 0: none */
    int64_t due_us;
};

static struct connection connections[MAX_FD];
static int streaming[MAX_FD], streams; /* descriptors with a stream */
static int events, gap_us, poll_fd;
static char answer[2048];
static size_t answer_size;

static int64_t now_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static void put(int fd, const char *data, size_t size) {
    while (size) {
        ssize_t n = send(fd, data, size, MSG_NOSIGNAL);
        if (n < 0 && errno == EAGAIN) continue;
        if (n <= 0) return;
        data += n, size -= (size_t)n;
    }
}

static void drop(int fd) {
    for (int i = 0; i < streams; i++)
        if (streaming[i] == fd) streaming[i--] = streaming[--streams];
    free(connections[fd].in);
    memset(&connections[fd], 0, sizeof connections[fd]);
    close(fd);
}

static void respond(int fd, const char *body, size_t size) {
    int stream = memmem(body, size, "\"stream\":true", 13) || memmem(body, size, "\"stream\": true", 14);
    if (!stream) {
        put(fd, answer, answer_size);
        return;
    }
    static const char head[] = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
    put(fd, head, sizeof head - 1);
    connections[fd].events_left = events;
    connections[fd].due_us = now_us();
    streaming[streams++] = fd;
}

/* Answer every whole request in the buffer; false when the peer is gone. */
static int receive(int fd) {
    struct connection *c = &connections[fd];
    if (!c->in) c->in = malloc(MAX_REQUEST);
    ssize_t n = recv(fd, c->in + c->have, MAX_REQUEST - c->have - 1, 0);
    if (n < 0 && errno == EAGAIN) return 1;
    if (n <= 0) return 0;
    c->have += (size_t)n;
    c->in[c->have] = 0;
    char *end;
    while ((end = memmem(c->in, c->have, "\r\n\r\n", 4))) {
        char *length = strcasestr(c->in, "\ncontent-length:");
        size_t body = length && length < end ? strtoul(length + 16, NULL, 10) : 0;
        size_t total = (size_t)(end - c->in) + 4 + body;
        if (c->have < total) break;
        respond(fd, end + 4, body);
        memmove(c->in, c->in + total, c->have - total + 1);
        c->have -= total;
    }
    return 1;
}

static void send_due_events(void) {
    int64_t now = now_us();
    for (int i = 0; i < streams; i++) {
        int fd = streaming[i];
        struct connection *c = &connections[fd];
        if (c->due_us > now) continue;
        char event[512], chunk[640];
        int size = snprintf(event, sizeof event,
                            "data: {\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"chat\","
                            "\"choices\":[{\"index\":0,\"delta\":{\"content\":\"@%lld@\"},\"finish_reason\":null}]}\n\n",
                            (long long)now);
        int last = --c->events_left == 0;
        int total = snprintf(chunk, sizeof chunk, "%x\r\n%s\r\n%s", size, event, last ? "0\r\n\r\n" : "");
        put(fd, chunk, (size_t)total);
        c->due_us += gap_us;
        if (last) streaming[i--] = streaming[--streams];
    }
}

int main(int argc, char **argv) {
    if (argc != 4) return fprintf(stderr, "usage: engine PORT EVENTS GAP_MS\n"), 2;
    events = atoi(argv[2]), gap_us = atoi(argv[3]) * 1000;
    char text[800];
    memset(text, 'x', sizeof text);
    char body[1200];
    int size = snprintf(body, sizeof body,
                        "{\"id\":\"chatcmpl-1\",\"object\":\"chat.completion\",\"created\":1,\"model\":\"chat\",\"choices\":"
                        "[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"%.800s\"},\"finish_reason\":\"stop\"}],"
                        "\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":200,\"total_tokens\":209}}",
                        text);
    answer_size = (size_t)snprintf(answer, sizeof answer,
                                   "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s", size, body);
    int one = 1, listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(argv[1])), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (bind(listener, (struct sockaddr *)&at, sizeof at) || listen(listener, 4096)) return perror("listen"), 1;
    poll_fd = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLIN, .data.fd = listener};
    epoll_ctl(poll_fd, EPOLL_CTL_ADD, listener, &event);
    struct epoll_event ready[256];
    for (;;) {
        int n = epoll_wait(poll_fd, ready, 256, streams ? 1 : 1000);
        for (int i = 0; i < n; i++) {
            int fd = ready[i].data.fd;
            if (fd != listener) {
                if (!receive(fd)) drop(fd);
                continue;
            }
            int peer;
            while ((peer = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
                if (peer >= MAX_FD) { close(peer); continue; }
                setsockopt(peer, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
                event.events = EPOLLIN, event.data.fd = peer;
                epoll_ctl(poll_fd, EPOLL_CTL_ADD, peer, &event);
            }
        }
        send_due_events();
    }
}
