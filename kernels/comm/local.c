// A collective: every rank sends rank 0 a head that says what it is in, rank 0 compares them and sends its
// verdict, then the bytes follow. Who finds that it cannot go on writes why into memory that all share and
// shuts its sockets down, which wakes whoever waits for it; so all end with the same message.
#include "kernels/comm/local_internal.h"

#include <errno.h>
#include <math.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "io/base/clock.h"
#include "io/base/signals.h"

typedef er_local_head head;
typedef enum kind { SUM, GATHER, BROADCAST, AGREE } kind;
static const char *const kind_name[] = {"sum", "gather", "broadcast", "agree"};

// ---- the end ----

static er_status end(er_local *l, er_status status, const char *said) {
    if (l->ended == ER_OK) {
        l->ended = status;
        (void)snprintf(l->said, sizeof l->said, "%s", said);
    }
    return er_fail(l->ended, "%s", l->said);
}

// This rank cannot go on, or found that another one did not. The first reason is everybody's.
static er_status give_up(er_local *l, er_status status, const char *said) {
    int none = 0;
    if (atomic_compare_exchange_strong(&l->all->broken, &none, 1)) {
        l->all->status = (int)status;
        (void)snprintf(l->all->said, sizeof l->all->said, "%s", said);
        atomic_store(&l->all->broken, 2);
    }
    atomic_store(&l->all->raised, 1);
    for (size_t r = 0; r < l->comm.size; r++)
        if (l->fd[r] >= 0) (void)shutdown(l->fd[r], SHUT_RDWR);
    for (int i = 0; i < 1000 && atomic_load(&l->all->broken) != 2; i++) (void)usleep(1000);
    if (atomic_load(&l->all->broken) != 2) return end(l, status, said);  // its writer was killed
    return end(l, (er_status)l->all->status, l->all->said);
}

static er_status gone(er_local *l, size_t rank, const char *in) {
    char said[ER_LOCAL_SAID];
    (void)snprintf(
        said, sizeof said, "rank %zu is gone: rank %zu waited for it in %s", rank, l->comm.rank, in);
    return give_up(l, ER_EDEVICE, said);
}

static er_status too_long(er_local *l, const char *who, const char *in) {
    char said[ER_LOCAL_SAID];
    (void)snprintf(
        said, sizeof said, "rank %zu waited %g s in %s for rank%.200s", l->comm.rank, l->seconds, in, who);
    return give_up(l, ER_EDEVICE, said);
}

// ---- bytes ----

// Rank 0 sees who is missing, so its patience ends first.
static double patience(const er_local *l) {
    return l->seconds <= 0 ? (double)INFINITY : l->comm.rank ? 2 * l->seconds : l->seconds;
}

static int wait_ms(double until) {
    double left = (until - er_clock()) * 1e3;
    return left <= 0 ? 0 : left > 1000 ? 1000 : (int)left + 1;
}

// All n bytes to or from a peer.
static er_status move(er_local *l, size_t peer, void *bytes, size_t n, bool out, const char *in) {
    double until = er_clock() + patience(l);
    char who[32];
    for (size_t done = 0; done < n;) {
        char *at = (char *)bytes + done;
        ssize_t k = out ? send(l->fd[peer], at, n - done, MSG_DONTWAIT | MSG_NOSIGNAL)
                        : recv(l->fd[peer], at, n - done, MSG_DONTWAIT);
        if (k > 0) {
            done += (size_t)k;
            until = er_clock() + patience(l);
            continue;
        }
        if (k == 0 || (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR)) return gone(l, peer, in);
        if (er_clock() > until) {
            (void)snprintf(who, sizeof who, " %zu", peer);
            return too_long(l, who, in);
        }
        struct pollfd p = {.fd = l->fd[peer], .events = out ? POLLOUT : POLLIN};
        (void)poll(&p, 1, wait_ms(until));
    }
    return ER_OK;
}

// ---- heads ----

// The heads of all others, in the order in which they come. A rank that is gone is noticed whoever else is
// waited for.
static er_status receive_heads(er_local *l, const char *in) {
    double until = er_clock() + patience(l);
    char who[ER_LOCAL_SAID / 2];
    for (;;) {
        struct pollfd p[64];
        size_t of[64], n = 0, used = 0;
        for (size_t r = 1; r < l->comm.size && n < 64; r++)
            if (l->heads[r].kind == UINT32_MAX)
                of[n] = r, p[n++] = (struct pollfd){.fd = l->fd[r], .events = POLLIN};
        if (!n) return ER_OK;
        if (poll(p, (nfds_t)n, wait_ms(until)) <= 0 && er_clock() > until) {
            for (size_t i = 0; i < n && used < sizeof who - 24; i++)
                used += (size_t)snprintf(who + used, sizeof who - used, " %zu", of[i]);
            return too_long(l, who, in);
        }
        for (size_t i = 0; i < n; i++) {
            if (!p[i].revents) continue;
            er_status rc = move(l, of[i], &l->heads[of[i]], sizeof(head), false, in);
            if (rc != ER_OK) return rc;
        }
    }
}

// What rank 0 answers to all heads. A rank that fails ends whatever the others wait in.
static void judge(er_local *l, head *verdict) {
    const head *h = l->heads;
    bool everywhere = false;
    er_status *status = malloc(l->comm.size * sizeof *status), rc = ER_OK;
    if (!status) rc = er_fail(ER_ENOMEM, "statuses of %zu ranks", l->comm.size);
    for (size_t r = 0; status && r < l->comm.size; r++) status[r] = (er_status)h[r].status;
    size_t worst = status ? er_comm_gravest(status, l->comm.size, &everywhere) : 0;
    if (status && status[worst] != ER_OK)
        rc = er_comm_verdict(status[worst], h[worst].said, worst, everywhere);
    for (size_t r = 1; rc == ER_OK && r < l->comm.size; r++)
        if (h[r].kind != h[0].kind || h[r].n != h[0].n)
            rc = er_fail(ER_EARG, "rank 0 is in %s of %llu, rank %zu in %s of %llu", kind_name[h[0].kind],
                (unsigned long long)h[0].n, r, kind_name[h[r].kind], (unsigned long long)h[r].n);
    *verdict = (head){.kind = h[0].kind, .status = (int32_t)rc};
    for (size_t r = 0; r < l->comm.size; r++) verdict->stop |= h[r].stop;
    (void)snprintf(verdict->said, sizeof verdict->said, "%s", rc == ER_OK ? "" : er_last_error());
    free(status);
}

// ER_OK: all are in the same collective, and its bytes may follow.
static er_status meet(er_local *l, kind k, size_t n, er_status mine, bool *stop) {
    er_status rc = ER_OK;
    head own = {.kind = (uint32_t)k, .n = n, .status = (int32_t)mine, .stop = er_stop_requested()},
         verdict = {0};
    if (l->ended != ER_OK) return er_fail(l->ended, "%s", l->said);
    if (mine != ER_OK) (void)snprintf(own.said, sizeof own.said, "%s", er_last_error());
    if (l->comm.rank == 0) {
        l->heads[0] = own;
        for (size_t r = 1; r < l->comm.size; r++) l->heads[r].kind = UINT32_MAX;
        ER_TRY(receive_heads(l, kind_name[k]));
        judge(l, &verdict);
        for (size_t r = 1; r < l->comm.size; r++)
            ER_TRY(move(l, r, &verdict, sizeof verdict, true, kind_name[k]));
    } else {
        ER_TRY(move(l, 0, &own, sizeof own, true, kind_name[k]));
        ER_TRY(move(l, 0, &verdict, sizeof verdict, false, kind_name[k]));
    }
    if (stop) *stop = verdict.stop != 0;
    if (verdict.status != ER_OK) rc = end(l, (er_status)verdict.status, verdict.said);
out:
    return rc;
}

// ---- collectives ----

// Piece by piece, so that nobody sends while nobody receives.
static er_status sum(const er_comm *c, double *x, size_t n) {
    er_local *l = (er_local *)c;
    er_status rc = meet(l, SUM, n, ER_OK, NULL);
    for (size_t at = 0; rc == ER_OK && at < n; at += ER_LOCAL_PIECE) {
        size_t part = n - at < ER_LOCAL_PIECE ? n - at : ER_LOCAL_PIECE, bytes = part * sizeof *x;
        if (c->rank) {
            rc = move(l, 0, x + at, bytes, true, "sum");
            if (rc == ER_OK) rc = move(l, 0, x + at, bytes, false, "sum");
            continue;
        }
        for (size_t r = 1; rc == ER_OK && r < c->size; r++) {
            rc = move(l, r, l->part, bytes, false, "sum");
            for (size_t i = 0; rc == ER_OK && i < part; i++) x[at + i] += l->part[i];
        }
        for (size_t r = 1; rc == ER_OK && r < c->size; r++) rc = move(l, r, x + at, bytes, true, "sum");
    }
    return rc;
}

static er_status gather(const er_comm *c, void *all, const void *mine, const size_t *bytes) {
    er_local *l = (er_local *)c;
    size_t total = 0, at = bytes[0];
    for (size_t r = 0; r < c->size; r++) total += bytes[r];
    er_status rc = meet(l, GATHER, total, ER_OK, NULL);
    if (rc != ER_OK) return rc;
    if (c->rank) {
        rc = move(l, 0, (void *)mine, bytes[c->rank], true, "gather");
        return rc == ER_OK ? move(l, 0, all, total, false, "gather") : rc;
    }
    if (bytes[0]) memmove(all, mine, bytes[0]);
    for (size_t r = 1; rc == ER_OK && r < c->size; at += bytes[r++])
        rc = move(l, r, (char *)all + at, bytes[r], false, "gather");
    for (size_t r = 1; rc == ER_OK && r < c->size; r++) rc = move(l, r, all, total, true, "gather");
    return rc;
}

static er_status broadcast(const er_comm *c, void *x, size_t bytes, size_t from) {
    er_local *l = (er_local *)c;
    er_status rc = meet(l, BROADCAST, bytes, ER_OK, NULL);
    if (rc != ER_OK) return rc;
    if (c->rank) return move(l, 0, x, bytes, c->rank == from, "broadcast");
    if (from) rc = move(l, from, x, bytes, false, "broadcast");
    for (size_t r = 1; rc == ER_OK && r < c->size; r++)
        if (r != from) rc = move(l, r, x, bytes, true, "broadcast");
    return rc;
}

static er_status agree(const er_comm *c, er_status mine, bool *stop) {
    return meet((er_local *)c, AGREE, 0, mine, stop);
}

// Also true once a process is gone: the collective that follows says whose.
static bool alarm_of(const er_comm *c, bool raise) {
    er_local *l = (er_local *)c;
    if (raise) atomic_store(&l->all->raised, 1);
    for (size_t r = 0; !atomic_load(&l->all->raised) && r < c->size; r++) {
        struct pollfd p = {.fd = l->fd[r], .events = POLLRDHUP};
        if (l->fd[r] >= 0 && poll(&p, 1, 0) > 0) atomic_store(&l->all->raised, 1);
    }
    return atomic_load(&l->all->raised) != 0;
}

const er_comm_ops er_local_ops = {
    .sum = sum, .gather = gather, .broadcast = broadcast, .agree = agree, .alarm = alarm_of};
