#include "kernels/comm/comm.h"

#include <stdlib.h>
#include <string.h>

#include "io/base/log.h"

static er_status self_sum(const er_comm *c, double *x, size_t n) {
    (void)c, (void)x, (void)n;
    return ER_OK;
}
static er_status self_sum_dev(const er_comm *c, er_device *d, double *x, size_t n) {
    (void)c, (void)d, (void)x, (void)n;
    return ER_OK;
}
static er_status self_gather(const er_comm *c, void *all, const void *mine, const size_t *bytes) {
    (void)c;
    if (bytes[0]) memmove(all, mine, bytes[0]);
    return ER_OK;
}
static er_status self_broadcast(const er_comm *c, void *x, size_t bytes, size_t from) {
    (void)c, (void)x, (void)bytes, (void)from;
    return ER_OK;
}
static er_status self_agree(const er_comm *c, er_status mine, bool *stop) {
    (void)c;
    *stop = er_stop_requested();
    return mine;
}
static bool self_alarm(const er_comm *c, bool raise) {
    (void)c, (void)raise;
    return false;
}

const er_comm *er_comm_self(void) {
    static const er_comm_ops ops = {.sum = self_sum,
        .sum_dev = self_sum_dev,
        .gather = self_gather,
        .broadcast = self_broadcast,
        .agree = self_agree,
        .alarm = self_alarm};
    static const er_comm self = {.op = &ops, .rank = 0, .size = 1};
    return &self;
}

er_status er_comm_sum_host(const er_comm *c, double *x, size_t n) { return c->op->sum(c, x, n); }

er_status er_comm_gather(const er_comm *c, void *all, const void *mine, const size_t *bytes) {
    return c->op->gather(c, all, mine, bytes);
}

er_status er_comm_broadcast(const er_comm *c, void *x, size_t bytes, size_t from) {
    return c->op->broadcast(c, x, bytes, from);
}

enum { PIECE = 1 << 22 };  // numbers on their way at a time: 32 MB

er_status er_comm_sum_f64(const er_comm *c, er_device *d, double *dev, size_t n) {
    return c->op->sum_dev ? c->op->sum_dev(c, d, dev, n) : er_comm_sum_by_host(c, d, dev, n);
}

er_status er_comm_sum_by_host(const er_comm *c, er_device *d, double *dev, size_t n) {
    er_status rc = ER_OK;
    size_t room = n < PIECE ? n : PIECE;
    double *host = malloc((room + 1) * sizeof *host);
    if (!host) ER_FAIL(ER_ENOMEM, "%zu sums on their way between ranks", room);
    for (size_t at = 0; at < n; at += room) {
        size_t part = n - at < room ? n - at : room;
        ER_TRY(d->op->download(d, host, dev + at, part * sizeof *host));
        ER_TRY(c->op->sum(c, host, part));
        ER_TRY(d->op->upload(d, dev + at, host, part * sizeof *host));
    }
out:
    free(host);
    return rc;
}

er_status er_comm_collect(const er_comm *c, void **all, size_t *bytes, const void *mine, size_t own) {
    er_status rc = ER_OK;
    size_t total = 0, *lengths = malloc(c->size * sizeof *lengths);
    char *parts = NULL;
    for (size_t r = 0; lengths && r < c->size; r++) lengths[r] = sizeof own;
    rc = lengths ? ER_OK : er_fail(ER_ENOMEM, "lengths of %zu ranks", c->size);
    ER_TRY(er_comm_agree(c, rc, NULL));
    ER_TRY(er_comm_gather(c, bytes, &own, lengths));
    for (size_t r = 0; r < c->size; r++) total += bytes[r];
    rc = (parts = malloc(total + 1)) ? ER_OK : er_fail(ER_ENOMEM, "%zu bytes of all ranks", total);
    ER_TRY(er_comm_agree(c, rc, NULL));
    ER_TRY(er_comm_gather(c, parts, mine, bytes));
    *all = parts;
    parts = NULL;
out:
    free(parts);
    free(lengths);
    return rc;
}

er_status er_comm_tell(const er_comm *c, void **x, size_t *bytes, size_t from) {
    er_status rc = ER_OK;
    size_t n = *bytes;
    void *got = NULL;
    ER_TRY(er_comm_broadcast(c, &n, sizeof n, from));
    if (c->rank != from && !(got = malloc(n + 1))) rc = er_fail(ER_ENOMEM, "%zu bytes of rank %zu", n, from);
    ER_TRY(er_comm_agree(c, rc, NULL));
    ER_TRY(er_comm_broadcast(c, got ? got : *x, n, from));
    if (got) *x = got, *bytes = n;
    got = NULL;
out:
    free(got);
    return rc;
}

er_status er_comm_barrier(const er_comm *c) { return er_comm_agree(c, ER_OK, NULL); }

er_status er_comm_agree(const er_comm *c, er_status mine, const char *what) {
    bool stop = false;
    if (mine != ER_OK) er_comm_raise(c);
    er_status rc = c->op->agree(c, mine, &stop);
    return rc == ER_OK && stop && what ? er_fail(ER_EINTERRUPTED, "%s", what) : rc;
}

void er_comm_raise(const er_comm *c) { (void)c->op->alarm(c, true); }
bool er_comm_is_raised(const er_comm *c) { return c->op->alarm(c, false); }

void er_comm_share(const er_comm *c, size_t n, size_t *first, size_t *count) {
    size_t each = n / c->size, more = n % c->size;
    *first = c->rank * each + (c->rank < more ? c->rank : more);
    *count = each + (c->rank < more);
}

size_t er_comm_gravest(const er_status *status, size_t size, bool *everywhere) {
    size_t worst = 0, same = 0;
    for (size_t r = size; r-- > 0;)
        if (status[r] != ER_OK) worst = r;
    for (size_t r = size; r-- > 0;)
        if (status[r] != ER_OK && status[r] != ER_EINTERRUPTED) worst = r;
    for (size_t r = 0; r < size; r++) same += status[r] == status[worst];
    *everywhere = same == size;
    return worst;
}

er_status er_comm_verdict(er_status status, const char *message, size_t rank, bool everywhere) {
    if (status == ER_OK) return ER_OK;
    if (everywhere || status == ER_EINTERRUPTED) return er_fail(status, "%s", message);
    return er_fail(status, "rank %zu: %s", rank, message);
}
