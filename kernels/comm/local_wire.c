// Parcels over socket pairs, notices in shared memory.
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "kernels/comm/local_internal.h"

typedef struct frame {  // what goes in front of a parcel's bytes
    uint64_t tag, n;
} frame;

typedef struct flow {  // one way of one socket
    frame head;
    char *bytes;
    size_t n, done;  // of head and bytes together
    bool busy;
} flow;

typedef struct local_wire {
    er_local_rank *page;
    size_t rank, size;
    int socket[ER_LOCAL_RANKS];
    flow out[ER_LOCAL_RANKS], in[ER_LOCAL_RANKS];
    uint32_t tag;
    char error[200];
} local_wire;

enum { AT_ONCE = 1 << 20 };

static int broke(local_wire *w, size_t peer, const char *why) {
    (void)snprintf(w->error, sizeof w->error, "rank %zu: %s", peer, why);
    return -1;
}

static const char closed[] = "has closed its end";
static const char *went(int why) { return why == EPIPE || why == ECONNRESET ? closed : strerror(why); }

// What is next of a flow, head first.
static char *next_of(flow *f, size_t *n) {
    size_t head = sizeof f->head;
    if (f->done < head) {
        *n = head - f->done;
        return (char *)&f->head + f->done;
    }
    *n = head + f->n - f->done;
    if (*n > AT_ONCE) *n = AT_ONCE;
    return f->bytes + (f->done - head);
}

static int push(local_wire *w, size_t peer) {
    flow *f = &w->out[peer];
    while (f->busy) {
        size_t n;
        char *at = next_of(f, &n);
        ssize_t sent = send(w->socket[peer], at, n, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent < 0 && errno == EINTR) continue;
        if (sent < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return 0;
        if (sent < 0) return broke(w, peer, went(errno));
        f->done += (size_t)sent;
        f->busy = f->done < sizeof f->head + f->n;
    }
    return 0;
}

static int pull(local_wire *w, size_t peer) {
    flow *f = &w->in[peer];
    while (f->busy) {
        size_t n;
        char *at = next_of(f, &n);
        ssize_t got = recv(w->socket[peer], at, n, MSG_DONTWAIT);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return 0;
        if (got <= 0) return broke(w, peer, got < 0 ? went(errno) : closed);
        f->done += (size_t)got;
        if (f->done == sizeof f->head && (f->head.tag != w->tag || f->head.n != f->n)) {
            (void)snprintf(w->error, sizeof w->error,
                "rank %zu sends %llu bytes of collective %llu where %zu of collective %u were due", peer,
                (unsigned long long)f->head.n, (unsigned long long)f->head.tag, f->n, w->tag);
            return -1;
        }
        f->busy = f->done < sizeof f->head + f->n;
    }
    return 0;
}

static int begin(
    void *wire, uint32_t tag, const er_parcel *out, size_t n_out, const er_parcel *in, size_t n_in) {
    local_wire *w = wire;
    w->tag = tag;
    for (size_t i = 0; i < n_out; i++)
        if (out[i].n)
            w->out[out[i].peer] =
                (flow){.head = {tag, out[i].n}, .bytes = out[i].bytes, .n = out[i].n, .busy = true};
    for (size_t i = 0; i < n_in; i++)
        if (in[i].n) w->in[in[i].peer] = (flow){.bytes = in[i].bytes, .n = in[i].n, .busy = true};
    return 0;
}

static int progress(void *wire, int milliseconds) {
    local_wire *w = wire;
    struct pollfd p[ER_LOCAL_RANKS];
    size_t peer[ER_LOCAL_RANKS], n = 0;
    for (size_t r = 0; r < w->size; r++) {
        short wanted = (short)((w->out[r].busy ? POLLOUT : 0) | (w->in[r].busy ? POLLIN : 0));
        if (!wanted) continue;
        peer[n] = r;
        p[n++] = (struct pollfd){.fd = w->socket[r], .events = wanted};
    }
    if (n == 0) return 1;
    int ready = poll(p, (nfds_t)n, milliseconds);
    if (ready < 0 && errno != EINTR) return broke(w, w->rank, strerror(errno));
    for (size_t i = 0; i < n && ready > 0; i++) {
        // What a peer sent before it ended is still read.
        if (p[i].revents & (POLLIN | POLLHUP | POLLERR) && pull(w, peer[i]) != 0) return -1;
        if (p[i].revents & (POLLOUT | POLLERR) && push(w, peer[i]) != 0) return -1;
    }
    for (size_t r = 0; r < w->size; r++)
        if (w->out[r].busy || w->in[r].busy) return 0;
    return 1;
}

static int waits_for(void *wire, size_t peer) {
    local_wire *w = wire;
    return w->out[peer].busy || w->in[peer].busy;
}

static void give_up(void *wire) {
    local_wire *w = wire;
    for (size_t r = 0; r < w->size; r++) w->out[r].busy = w->in[r].busy = false;
}

static void post(void *wire, const er_notice *mine) {
    local_wire *w = wire;
    er_local_rank *me = &w->page[w->rank];
    atomic_store(&me->alarm, mine->alarm);
    if (mine->state == ER_RANK_RUNS || atomic_load(&me->state) != ER_RANK_RUNS) return;
    me->status = mine->status;
    memcpy(me->message, mine->message, sizeof me->message);
    atomic_store_explicit(&me->state, mine->state, memory_order_release);
}

static void look(void *wire, size_t peer, er_notice *out) {
    local_wire *w = wire;
    er_local_rank *r = &w->page[peer];
    *out = (er_notice){.state = atomic_load_explicit(&r->state, memory_order_acquire),
        .alarm = atomic_load(&r->alarm),
        .beat = atomic_load(&r->beat)};
    if (out->state == ER_RANK_RUNS) return;
    out->status = r->status;
    memcpy(out->message, r->message, sizeof out->message);
}

static void beat(void *wire) {
    local_wire *w = wire;
    atomic_fetch_add(&w->page[w->rank].beat, 1);
}

static const char *error(void *wire) { return ((local_wire *)wire)->error; }

static void close_wire(void *wire, int exit_code) {
    local_wire *w = wire;
    (void)exit_code;
    for (size_t r = 0; r < w->size; r++)
        if (w->socket[r] >= 0) (void)close(w->socket[r]);
    free(w);
}

er_status er_local_wire(er_wire *out, er_local_rank *page, size_t rank, size_t size, const int *socket) {
    static const er_wire_ops ops = {.version = ER_WIRE_VERSION,
        .begin = begin,
        .progress = progress,
        .waits_for = waits_for,
        .give_up = give_up,
        .post = post,
        .look = look,
        .beat = beat,
        .error = error,
        .close = close_wire};
    local_wire *w = calloc(1, sizeof *w);
    if (!w) return er_fail(ER_ENOMEM, "wires to %zu ranks", size);
    w->page = page, w->rank = rank, w->size = size;
    memcpy(w->socket, socket, size * sizeof *socket);
    *out = (er_wire){&ops, w, rank, size, rank, size};
    return ER_OK;
}
