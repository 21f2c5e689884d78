#include "kernels/comm/comm.h"

#include <stdlib.h>

#include "io/base/log.h"

static er_status self_sum(const er_comm *c, double *x, size_t n) {
    (void)c, (void)x, (void)n;
    return ER_OK;
}
static er_status self_sum_dev(const er_comm *c, er_device *d, double *x, size_t n) {
    (void)c, (void)d, (void)x, (void)n;
    return ER_OK;
}
static er_status self_agree(const er_comm *c, er_status mine, bool *stop) {
    (void)c;
    *stop = er_stop_requested();
    return mine;
}

const er_comm *er_comm_self(void) {
    static const er_comm_ops ops = {.sum = self_sum, .sum_dev = self_sum_dev, .agree = self_agree};
    static const er_comm self = {.op = &ops, .rank = 0, .size = 1};
    return &self;
}

er_status er_comm_sum_host(const er_comm *c, double *x, size_t n) { return c->op->sum(c, x, n); }

er_status er_comm_sum_f64(const er_comm *c, er_device *d, double *dev, size_t n) {
    er_status rc = ER_OK;
    if (c->op->sum_dev) return c->op->sum_dev(c, d, dev, n);
    double *host = malloc((n + 1) * sizeof *host);
    if (!host) ER_FAIL(ER_ENOMEM, "%zu sums on their way between ranks", n);
    ER_TRY(d->op->download(d, host, dev, n * sizeof *host));
    ER_TRY(c->op->sum(c, host, n));
    ER_TRY(d->op->upload(d, dev, host, n * sizeof *host));
out:
    free(host);
    return rc;
}

er_status er_comm_agree(const er_comm *c, er_status mine, const char *what) {
    bool stop = false;
    er_status rc = c->op->agree(c, mine, &stop);
    return rc == ER_OK && stop ? er_fail(ER_EINTERRUPTED, "%s", what) : rc;
}

void er_comm_share(const er_comm *c, size_t n, size_t *first, size_t *count) {
    size_t each = n / c->size, more = n % c->size;
    *first = c->rank * each + (c->rank < more ? c->rank : more);
    *count = each + (c->rank < more);
}
