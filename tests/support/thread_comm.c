#include "tests/support/thread_comm.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef struct rank {
    er_comm comm;  // first: what ranks are known by
    thread_comms *all;
    const char *in;  // the collective it waits in
    double *x;
    size_t n;
    er_status status;
    char message[512];
    bool stop;
} rank;

struct thread_comms {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    rank at[THREAD_RANKS];
    size_t size, arrived, left;
    unsigned long round;
    double seconds, *sum;
    er_status outcome;
    size_t worst;
    bool stop;
};

static er_status missing(thread_comms *t, const rank *r) {
    char who[64] = "";
    for (size_t i = 0; i < t->size; i++)
        if (!t->at[i].in) (void)snprintf(who + strlen(who), sizeof who - strlen(who), " %zu", i);
    return er_fail(ER_EDEVICE, "rank %zu waited %g s in %s for rank%s", r->comm.rank, t->seconds, r->in, who);
}

// The last to come does the work of all; nobody enters the next collective before all have left this one.
static er_status meet(rank *r, const char *what, void (*work)(thread_comms *)) {
    thread_comms *t = r->all;
    er_status rc = ER_OK;
    struct timespec until;
    (void)clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += (time_t)t->seconds + 1;
    pthread_mutex_lock(&t->lock);
    while (t->left && pthread_cond_timedwait(&t->changed, &t->lock, &until) != ETIMEDOUT) {}
    r->in = what;
    unsigned long round = t->round;
    if (++t->arrived == t->size) {
        for (size_t i = 0; i < t->size; i++)
            if (strcmp(t->at[i].in, what) != 0 || t->at[i].n != r->n)
                rc = er_fail(ER_EARG, "rank %zu is in %s of %zu, rank %zu in %s of %zu", i, t->at[i].in,
                    t->at[i].n, r->comm.rank, what, r->n);
        if (rc == ER_OK) work(t);
        t->outcome = rc;
        t->left = t->size, t->arrived = 0, t->round++;
        for (size_t i = 0; i < t->size; i++) t->at[i].in = NULL;
        pthread_cond_broadcast(&t->changed);
    } else {
        while (t->round == round && rc == ER_OK)
            if (pthread_cond_timedwait(&t->changed, &t->lock, &until) == ETIMEDOUT && t->round == round)
                rc = missing(t, r);
    }
    if (rc == ER_OK) {
        rc = t->outcome;
        t->left--;
        pthread_cond_broadcast(&t->changed);
    }
    pthread_mutex_unlock(&t->lock);
    return rc;
}

static void add_up(thread_comms *t) {
    size_t n = t->at[0].n;
    memset(t->sum, 0, n * sizeof *t->sum);
    for (size_t i = 0; i < t->size; i++)
        for (size_t j = 0; j < n; j++) t->sum[j] += t->at[i].x[j];
    for (size_t i = 0; i < t->size; i++) memcpy(t->at[i].x, t->sum, n * sizeof *t->sum);
}

static er_status sum(const er_comm *c, double *x, size_t n) {
    rank *r = (rank *)c;
    pthread_mutex_lock(&r->all->lock);
    double *grown = realloc(r->all->sum, (n + 1) * sizeof *grown);
    if (grown) r->all->sum = grown;
    pthread_mutex_unlock(&r->all->lock);
    if (!grown) return er_fail(ER_ENOMEM, "%zu sums", n);
    r->x = x, r->n = n;
    return meet(r, "sum", add_up);
}

static void weigh(thread_comms *t) {
    t->worst = 0;
    t->stop = false;
    for (size_t i = 0; i < t->size; i++) {
        t->stop = t->stop || t->at[i].stop;
        if (t->at[i].status > t->at[t->worst].status) t->worst = i;
    }
}

static er_status agree(const er_comm *c, er_status mine, bool *stop) {
    rank *r = (rank *)c;
    r->n = 0, r->status = mine;
    (void)snprintf(r->message, sizeof r->message, "%s", mine == ER_OK ? "" : er_last_error());
    er_status rc = meet(r, "agree", weigh);
    if (rc != ER_OK) return rc;
    const rank *worst = &r->all->at[r->all->worst];
    *stop = r->all->stop;
    return worst->status == ER_OK ? ER_OK : er_fail(worst->status, "%s", worst->message);
}

er_status thread_comms_create(
    thread_comms **out, const er_comm *comm[THREAD_RANKS], size_t size, double seconds) {
    static const er_comm_ops ops = {.sum = sum, .agree = agree};
    thread_comms *t = calloc(1, sizeof *t);
    if (!t) return er_fail(ER_ENOMEM, "ranks");
    pthread_mutex_init(&t->lock, NULL);
    pthread_cond_init(&t->changed, NULL);
    t->size = size, t->seconds = seconds;
    for (size_t i = 0; i < size; i++) {
        t->at[i].comm = (er_comm){&ops, i, size};
        t->at[i].all = t;
        comm[i] = &t->at[i].comm;
    }
    *out = t;
    return ER_OK;
}

void thread_comms_free(thread_comms *t) {
    if (!t) return;
    pthread_mutex_destroy(&t->lock);
    pthread_cond_destroy(&t->changed);
    free(t->sum);
    free(t);
}

void thread_comms_stop(thread_comms *t, size_t i) { t->at[i].stop = true; }
