// The communicator over a wire: collectives as exchanges of parcels.
#include "kernels/comm/wire.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/base/clock.h"
#include "io/base/signals.h"
#include "kernels/comm/wire_internal.h"

enum {
    TAG_SUM = 1,
    TAG_GATHER,
    TAG_BROADCAST,
    TAG_AGREE,
    PIECE = 1 << 20,  // doubles of a sum that are under way at a time
    SMALL = 1 << 12   // doubles, of all ranks together, that everybody sends to everybody
};

static const er_comm_ops wire_ops;
static er_wire_comm *of(const er_comm *c) { return (er_wire_comm *)c; }

static er_status to_all(er_wire_comm *w, const char *what, uint32_t tag, const void *mine, size_t own,
    char *all, const size_t *bytes, size_t *at) {
    size_t n = 0;
    for (size_t r = 0; r < w->comm.size; r++) {
        if (r == w->comm.rank) continue;
        w->out[n] = (er_parcel){.peer = r, .n = own, .bytes = (void *)(uintptr_t)mine};
        w->in[n++] = (er_parcel){.peer = r, .n = bytes[r], .bytes = all + at[r]};
    }
    return er_wire_exchange(w, what, tag, n, n);
}

static er_status wire_gather(const er_comm *c, void *all, const void *mine, const size_t *bytes) {
    er_wire_comm *w = of(c);
    if (w->ended != ER_OK) return er_wire_as_it_ended(w);
    size_t *at = malloc(c->size * sizeof *at), total = 0;
    if (!at) return er_fail(ER_ENOMEM, "%zu ranks", c->size);
    for (size_t r = 0; r < c->size; total += bytes[r++]) at[r] = total;
    if (bytes[c->rank]) memmove((char *)all + at[c->rank], mine, bytes[c->rank]);
    er_status rc = to_all(w, "gather", TAG_GATHER, (char *)all + at[c->rank], bytes[c->rank], all, bytes, at);
    free(at);
    return rc;
}

// A binomial tree: in round k the ranks below 2^k, counted from `from`, each pass it on to the one 2^k
// further.
static er_status wire_broadcast(const er_comm *c, void *x, size_t bytes, size_t from) {
    er_wire_comm *w = of(c);
    if (w->ended != ER_OK) return er_wire_as_it_ended(w);
    size_t me = (c->rank + c->size - from) % c->size;
    er_status rc = ER_OK;
    for (size_t k = 1; k < c->size && rc == ER_OK; k *= 2) {
        bool gives = me < k && me + k < c->size, takes = me >= k && me < 2 * k;
        if (!gives && !takes) continue;
        er_parcel p = {
            .peer = (gives ? c->rank + k : c->rank + c->size - k) % c->size, .n = bytes, .bytes = x};
        w->out[0] = w->in[0] = p;
        rc = er_wire_exchange(w, "broadcast", TAG_BROADCAST, gives, takes);
    }
    return rc;
}

static er_status room_for(er_wire_comm *w, size_t n) {
    if (w->room_size >= n) return ER_OK;
    free(w->room);
    w->room_size = 0;
    if (!(w->room = malloc(n * sizeof *w->room)))
        return er_fail(ER_ENOMEM, "%zu sums on their way between ranks", n);
    w->room_size = n;
    return ER_OK;
}

// x [n]: everybody's added in rank order by everybody.
static er_status sum_small(er_wire_comm *w, double *x, size_t n) {
    size_t size = w->comm.size, bytes[256], at[256];
    for (size_t r = 0; r < size; r++) bytes[r] = n * sizeof *x, at[r] = r * n * sizeof *x;
    memcpy(w->room + w->comm.rank * n, x, n * sizeof *x);
    er_status rc = to_all(w, "sum", TAG_SUM, x, n * sizeof *x, (char *)w->room, bytes, at);
    for (size_t i = 0; rc == ER_OK && i < n; i++) {
        double s = 0;
        for (size_t r = 0; r < size; r++) s += w->room[r * n + i];
        x[i] = s;
    }
    return rc;
}

static void part_of(size_t n, size_t size, size_t r, size_t *first, size_t *count) {
    er_comm_share(&(er_comm){.rank = r, .size = size}, n, first, count);
}

// Each rank gets its part of x from all, adds it in rank order and gives the sum to all: twice the bytes of
// x, whatever the number of ranks.
static er_status sum_large(er_wire_comm *w, double *x, size_t n) {
    size_t size = w->comm.size, me = w->comm.rank, first, count, own, from, k = 0;
    er_status rc = ER_OK;
    part_of(n, size, me, &from, &own);
    for (size_t r = 0; r < size; r++) {
        if (r == me) continue;
        part_of(n, size, r, &first, &count);
        w->out[k] = (er_parcel){.peer = r, .n = count * sizeof *x, .bytes = x + first};
        w->in[k++] = (er_parcel){.peer = r, .n = own * sizeof *x, .bytes = w->room + r * own};
    }
    ER_TRY(er_wire_exchange(w, "sum", TAG_SUM, k, k));
    if (own) memcpy(w->room + me * own, x + from, own * sizeof *x);
    for (size_t i = 0; i < own; i++) {
        double s = 0;
        for (size_t r = 0; r < size; r++) s += w->room[r * own + i];
        x[from + i] = s;
    }
    k = 0;
    for (size_t r = 0; r < size; r++) {
        if (r == me) continue;
        part_of(n, size, r, &first, &count);
        w->out[k] = (er_parcel){.peer = r, .n = own * sizeof *x, .bytes = x + from};
        w->in[k++] = (er_parcel){.peer = r, .n = count * sizeof *x, .bytes = x + first};
    }
    ER_TRY(er_wire_exchange(w, "sum", TAG_SUM, k, k));
out:
    return rc;
}

static er_status wire_sum(const er_comm *c, double *x, size_t n) {
    er_wire_comm *w = of(c);
    er_status rc = ER_OK;
    if (w->ended != ER_OK) return er_wire_as_it_ended(w);
    bool small = c->size <= 256 && n * c->size <= SMALL;
    size_t piece = n < PIECE ? n : PIECE;
    if ((rc = room_for(w, small ? n * c->size : piece + c->size * c->size)) != ER_OK)
        return er_wire_fail(w, rc);
    if (small) return n ? sum_small(w, x, n) : ER_OK;
    for (size_t at = 0; at < n && rc == ER_OK; at += piece)
        rc = sum_large(w, x + at, n - at < piece ? n - at : piece);
    return rc;
}

static er_status wire_sum_dev(const er_comm *c, er_device *d, double *x, size_t n) {
    er_wire_comm *w = of(c);
    if (w->ended != ER_OK) return er_wire_as_it_ended(w);
    if (w->device_sum) return n ? w->device_sum->sum(w->device_state, c, d, x, n) : ER_OK;
    return er_comm_sum_by_host(c, d, x, n);
}

// ---- sums of devices, and their waits ----

er_status er_comm_watch(const er_comm *c, const char *what, double since) {
    return of(c)->ended != ER_OK ? er_wire_as_it_ended(of(c)) : er_wire_watch(of(c), what, since);
}

er_status er_comm_failed(const er_comm *c, er_status rc) {
    return of(c)->ended != ER_OK ? er_wire_as_it_ended(of(c)) : er_wire_fail(of(c), rc);
}

void er_comm_leave(const er_comm *c) {
    er_wire_comm *w = of(c);
    if (c->op != &wire_ops || !w->device_sum) return;
    w->device_sum->close(w->device_state, w->ended != ER_OK);
    w->device_sum = NULL;
}

er_status er_comm_join(const er_comm *c, er_device *d, const char **how) {
    er_wire_comm *w = of(c);
    er_status rc = ER_OK;
    size_t *bytes = NULL;
    char *has = NULL, mine = 0;
    const er_device_sum *ops = NULL;
    *how = "host memory";
    if (c->op != &wire_ops || w->device_sum) return ER_OK;
    mine = d->sums && d->sums->there(d);
    bytes = malloc(c->size * sizeof *bytes);
    has = malloc(c->size);
    if (!bytes || !has) ER_TRY(er_wire_fail(w, er_fail(ER_ENOMEM, "%zu ranks", c->size)));
    for (size_t r = 0; r < c->size; r++) bytes[r] = 1;
    ER_TRY(er_comm_gather(c, has, &mine, bytes));
    for (size_t r = 0; r < c->size; r++)
        if (!has[r]) goto out;
    ER_TRY(d->sums->open(d, c, &ops, &w->device_state));
    w->device_sum = ops;
    *how = "NCCL";
out:
    free(bytes);
    free(has);
    return rc;
}

// ---- agreement ----

// Round k tells the rank 2^k further what this one knows of 2^k ranks; after the last, everybody knows of
// all.
static er_status wire_agree(const er_comm *c, er_status mine, bool *stop) {
    er_wire_comm *w = of(c);
    if (w->ended != ER_OK) return er_wire_as_it_ended(w);
    if (mine != ER_OK) return er_wire_fail(w, mine);
    er_status rc = ER_OK;
    uint64_t known = er_stop_requested(), theirs = 0;
    for (size_t k = 1; k < c->size && rc == ER_OK; k *= 2) {
        w->out[0] = (er_parcel){.peer = (c->rank + k) % c->size, .n = sizeof known, .bytes = &known};
        w->in[0] =
            (er_parcel){.peer = (c->rank + c->size - k) % c->size, .n = sizeof theirs, .bytes = &theirs};
        rc = er_wire_exchange(w, "agree", TAG_AGREE, 1, 1);
        known |= theirs;
    }
    *stop = known != 0;
    return rc;
}

static bool wire_alarm(const er_comm *c, bool raise) {
    er_wire_comm *w = of(c);
    if (raise && !w->mine.alarm) {
        w->mine.alarm = 1;
        w->wire.op->post(w->wire.self, &w->mine);
    }
    bool any = w->mine.alarm || w->ended != ER_OK;
    er_notice n;
    for (size_t r = 0; r < c->size && !any; r++) {
        if (r == c->rank) continue;
        w->wire.op->look(w->wire.self, r, &n);
        any = n.alarm || (n.state != ER_RANK_RUNS && n.state != ER_RANK_DONE);
    }
    return any;
}

// ---- opening and closing ----

static const er_comm_ops wire_ops = {.sum = wire_sum,
    .sum_dev = wire_sum_dev,
    .gather = wire_gather,
    .broadcast = wire_broadcast,
    .agree = wire_agree,
    .alarm = wire_alarm};

er_status er_comm_over(er_comm **out, const er_wire *wire, er_comm_waits waits) {
    er_status rc = ER_OK;
    er_wire_comm *w = calloc(1, sizeof *w);
    if (!w) {
        wire->op->close(wire->self, 1);
        return er_fail(ER_ENOMEM, "communicator");
    }
    w->comm = (er_comm){.op = &wire_ops, .rank = wire->rank, .size = wire->size};
    w->wire = *wire;
    w->waits = waits;
    if (w->waits.silence <= 0) w->waits.silence = 30;
    pthread_mutex_init(&w->lock, NULL);
    pthread_condattr_t monotonic;  // beats go on when the clock is set
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&w->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    w->beat = calloc(wire->size, sizeof *w->beat);
    w->heard = calloc(wire->size, sizeof *w->heard);
    w->out = calloc(wire->size, sizeof *w->out);
    w->in = calloc(wire->size, sizeof *w->in);
    if (!w->beat || !w->heard || !w->out || !w->in)
        ER_FAIL(ER_ENOMEM, "communicator of %zu ranks", wire->size);
    for (size_t r = 0; r < wire->size; r++) w->heard[r] = er_clock();
    ER_TRY(er_wire_beat_begin(w));
    *out = &w->comm;
    w = NULL;
out:
    if (w) er_comm_close(&w->comm);
    return rc;
}

void er_comm_close(er_comm *c) {
    if (!c || c->op != &wire_ops) return;
    er_wire_comm *w = of(c);
    er_wire_beat_end(w);
    er_comm_leave(c);
    w->wire.op->close(w->wire.self, er_exit_code(w->ended));
    pthread_mutex_destroy(&w->lock);
    pthread_cond_destroy(&w->changed);
    free(w->beat);
    free(w->heard);
    free(w->out);
    free(w->in);
    free(w->room);
    free(w);
}

bool er_comm_speaks(const er_comm *c) {
    if (c->op != &wire_ops) return c->rank == 0;
    er_notice n;
    for (size_t r = 0; r < c->rank; r++) {
        of(c)->wire.op->look(of(c)->wire.self, r, &n);
        bool unheard = of(c)->ended != ER_OK && n.state == ER_RANK_RUNS;  // it hangs, or is late
        if (n.state != ER_RANK_GONE && !unheard) return false;
    }
    return true;
}

void er_comm_local(const er_comm *c, size_t *rank, size_t *size) {
    bool wired = c->op == &wire_ops;
    *rank = wired ? of(c)->wire.local_rank : 0;
    *size = wired ? of(c)->wire.local_size : 1;
}
