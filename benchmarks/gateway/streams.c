/* The client of the gateway benchmark's streams: opens many at once, reads them to the end, times every event.
 *
 * usage: streams PORT CONNECTIONS SECONDS EVENTS
 * Prints one line of JSON: streams completed, those not whole (fewer than EVENTS events, or cut), events read, and the
 * delay from engine to client in microseconds: of first events and of all (median and 99th percentile).
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

enum { MAX_FD = 16384, BUFFER = 65536, MAX_SAMPLES = 1 << 22 };

static struct { int events; size_t have; char in[BUFFER]; } *connections[MAX_FD];
static int32_t *all, *first;
static size_t all_count, first_count, streams, broken;
static int port, poll_fd, expected;
static char request[512];
static int request_size;

static int64_t now_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static int ascending(const void *a, const void *b) {
    int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    return (x > y) - (x < y);
}

static int32_t quantile(int32_t *samples, size_t count, double q) {
    if (!count) return -1;
    qsort(samples, count, sizeof *samples, ascending);
    return samples[(size_t)((double)(count - 1) * q)];
}

static void begin(int fd) {
    connections[fd]->events = 0, connections[fd]->have = 0;
    if (send(fd, request, (size_t)request_size, MSG_NOSIGNAL) != request_size) broken++;
}

static void dial(void) {
    int one = 1, fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (connect(fd, (struct sockaddr *)&to, sizeof to)) perror("connect"), exit(1);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (!connections[fd]) connections[fd] = malloc(sizeof *connections[fd]);
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
    epoll_ctl(poll_fd, EPOLL_CTL_ADD, fd, &event);
    begin(fd);
}

/* Take the events out of what was read: each holds `@time@`. The last chunk ends the stream. */
static void receive(int fd) {
    ssize_t n = recv(fd, connections[fd]->in + connections[fd]->have, BUFFER - connections[fd]->have - 1, 0);
    if (n <= 0) {
        broken += connections[fd]->events != 0;
        close(fd);
        dial();
        return;
    }
    size_t have = connections[fd]->have += (size_t)n;
    char *in = connections[fd]->in, *at = in, *mark, *close_mark;
    in[have] = 0;
    int64_t now = now_us();
    while ((mark = memchr(at, '@', have - (size_t)(at - in)))
           && (close_mark = memchr(mark + 1, '@', have - (size_t)(mark + 1 - in)))) {
        int32_t delay = (int32_t)(now - strtoll(mark + 1, NULL, 10));
        if (all_count < MAX_SAMPLES) all[all_count++] = delay;
        if (!connections[fd]->events++ && first_count < MAX_SAMPLES) first[first_count++] = delay;
        at = close_mark + 1;
    }
    if (have >= 5 && !memcmp(in + have - 5, "0\r\n\r\n", 5)) {
        streams++;
        broken += connections[fd]->events != expected;
        begin(fd);
        return;
    }
    size_t rest = have - (size_t)(at - in);
    memmove(in, at, rest);
    connections[fd]->have = rest;
}

int main(int argc, char **argv) {
    if (argc != 5) return fprintf(stderr, "usage: streams PORT CONNECTIONS SECONDS EVENTS\n"), 2;
    port = atoi(argv[1]), expected = atoi(argv[4]);
    static const char body[] = "{\"model\":\"chat\",\"messages\":[{\"role\":\"user\",\"content\":\"hello\"}],\"stream\":true}";
    request_size = snprintf(request, sizeof request,
                            "POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
                            "content-length: %zu\r\n\r\n%s", sizeof body - 1, body);
    all = malloc(sizeof *all * MAX_SAMPLES), first = malloc(sizeof *first * MAX_SAMPLES);
    poll_fd = epoll_create1(0);
    for (int i = 0; i < atoi(argv[2]); i++) dial();
    int64_t end = now_us() + (int64_t)(atof(argv[3]) * 1e6);
    struct epoll_event ready[256];
    while (now_us() < end) {
        int n = epoll_wait(poll_fd, ready, 256, 100);
        for (int i = 0; i < n; i++) receive(ready[i].data.fd);
    }
    printf("{\"streams\": %zu, \"broken\": %zu, \"events\": %zu, \"first_p50_us\": %d, \"first_p99_us\": %d, "
           "\"event_p50_us\": %d, \"event_p99_us\": %d}\n",
           streams, broken, all_count, quantile(first, first_count, 0.5), quantile(first, first_count, 0.99),
           quantile(all, all_count, 0.5), quantile(all, all_count, 0.99));
}
