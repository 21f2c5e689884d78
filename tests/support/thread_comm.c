#include "tests/support/thread_comm.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "io/base/signals.h"

typedef struct rank {
    er_comm comm;  // first: what ranks are known by
    thread_comms *all;
    const char *in;  // the collective it waits in
    size_t n;        // and its size, the same for all ranks
    void *x;
    const void *mine;
    const size_t *bytes;
    size_t from;
    er_status status;
    char message[512];
    bool stop, asked;
} rank;

struct thread_comms {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    rank at[THREAD_RANKS];
    size_t size, arrived, left;
    unsigned long round;
    double seconds, *sum;
    er_status outcome;
    char said[512];  // of the outcome
    er_status ended;
    bool raised, stop;
};

static er_status missing(thread_comms *t, const rank *r) {
    char who[64] = "";
    for (size_t i = 0; i < t->size; i++)
        if (!t->at[i].in) (void)snprintf(who + strlen(who), sizeof who - strlen(who), " %zu", i);
    return er_fail(ER_EDEVICE, "rank %zu waited %g s in %s for rank%s", r->comm.rank, t->seconds, r->in, who);
}

static void keep(thread_comms *t, er_status rc) {
    t->outcome = rc;
    (void)snprintf(t->said, sizeof t->said, "%s", rc == ER_OK ? "" : er_last_error());
}

// A rank that fails ends whatever the others wait in.
static er_status judge(thread_comms *t) {
    er_status status[THREAD_RANKS];
    bool everywhere = false, same = true;
    for (size_t i = 0; i < t->size; i++) {
        status[i] = t->at[i].status;
        same = same && !strcmp(t->at[i].in, t->at[0].in) && t->at[i].n == t->at[0].n;
    }
    size_t worst = er_comm_gravest(status, t->size, &everywhere);
    if (status[worst] != ER_OK)
        return er_comm_verdict(status[worst], t->at[worst].message, worst, everywhere);
    for (size_t i = 1; !same && i < t->size; i++)
        if (strcmp(t->at[i].in, t->at[0].in) != 0 || t->at[i].n != t->at[0].n)
            return er_fail(ER_EARG, "rank 0 is in %s of %zu, rank %zu in %s of %zu", t->at[0].in, t->at[0].n,
                i, t->at[i].in, t->at[i].n);
    return ER_OK;
}

// The last to come does the work of all.
static void finish(thread_comms *t, void (*work)(thread_comms *)) {
    keep(t, judge(t));
    if (t->outcome == ER_OK) work(t);
    t->ended = t->outcome;
    t->left = t->size, t->arrived = 0, t->round++;
    for (size_t i = 0; i < t->size; i++) t->at[i].in = NULL;
    pthread_cond_broadcast(&t->changed);
}

// Nobody enters a collective before all have left the last one.
static er_status meet(rank *r, const char *what, size_t n, void (*work)(thread_comms *)) {
    thread_comms *t = r->all;
    er_status late = ER_OK;
    struct timespec until;
    (void)clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += (time_t)t->seconds + 1;
    pthread_mutex_lock(&t->lock);
    while (t->left && pthread_cond_timedwait(&t->changed, &t->lock, &until) != ETIMEDOUT) {}
    if (t->ended == ER_OK) {
        unsigned long round = t->round;
        r->in = what, r->n = n;
        if (++t->arrived == t->size) finish(t, work);
        while (t->round == round && t->ended == ER_OK && late == ER_OK)
            if (pthread_cond_timedwait(&t->changed, &t->lock, &until) == ETIMEDOUT && t->round == round &&
                t->ended == ER_OK)
                late = missing(t, r);
        if (late != ER_OK) {
            keep(t, late);
            t->ended = late, t->raised = true, t->left = 0;
            pthread_cond_broadcast(&t->changed);
        } else if (t->left) {
            t->left--;
            pthread_cond_broadcast(&t->changed);
        }
    }
    er_status rc = t->ended;
    if (rc != ER_OK) (void)er_fail(rc, "%s", t->said);
    pthread_mutex_unlock(&t->lock);
    return rc;
}

// ---- the collectives ----

static void begin(rank *r) {
    r->status = ER_OK;
    r->x = NULL, r->mine = NULL, r->bytes = NULL;
}

static void add_up(thread_comms *t) {
    size_t n = t->at[0].n;
    memset(t->sum, 0, n * sizeof *t->sum);
    for (size_t i = 0; i < t->size; i++)
        for (size_t j = 0; j < n; j++) t->sum[j] += ((const double *)t->at[i].x)[j];
    for (size_t i = 0; i < t->size; i++) memcpy(t->at[i].x, t->sum, n * sizeof *t->sum);
}

static er_status sum(const er_comm *c, double *x, size_t n) {
    rank *r = (rank *)c;
    pthread_mutex_lock(&r->all->lock);
    double *grown = realloc(r->all->sum, (n + 1) * sizeof *grown);
    if (grown) r->all->sum = grown;
    pthread_mutex_unlock(&r->all->lock);
    if (!grown) return er_fail(ER_ENOMEM, "%zu sums", n);
    begin(r);
    r->x = x;
    return meet(r, "sum", n, add_up);
}

static void put_together(thread_comms *t) {
    for (size_t i = 0; i < t->size; i++) {
        char *to = t->at[i].x;
        for (size_t j = 0; j < t->size; j++) {
            size_t n = t->at[j].bytes[j];
            if (n) memcpy(to, t->at[j].mine, n);
            to += n;
        }
    }
}

static er_status gather(const er_comm *c, void *all, const void *mine, const size_t *bytes) {
    rank *r = (rank *)c;
    size_t total = 0;
    for (size_t i = 0; i < c->size; i++) total += bytes[i];
    begin(r);
    r->x = all, r->mine = mine, r->bytes = bytes;
    return meet(r, "gather", total, put_together);
}

static void spread(thread_comms *t) {
    const rank *from = &t->at[t->at[0].from];
    for (size_t i = 0; i < t->size; i++)
        if (&t->at[i] != from && from->n) memcpy(t->at[i].x, from->x, from->n);
}

static er_status broadcast(const er_comm *c, void *x, size_t bytes, size_t from) {
    rank *r = (rank *)c;
    begin(r);
    r->x = x, r->from = from;
    return meet(r, "broadcast", bytes, spread);
}

static void ask(thread_comms *t) {
    t->stop = false;
    for (size_t i = 0; i < t->size; i++) t->stop = t->stop || t->at[i].stop;
}

static er_status agree(const er_comm *c, er_status mine, bool *stop) {
    rank *r = (rank *)c;
    begin(r);
    r->status = mine;
    r->stop = r->asked || er_stop_requested();
    (void)snprintf(r->message, sizeof r->message, "%s", mine == ER_OK ? "" : er_last_error());
    er_status rc = meet(r, "agree", 0, ask);
    *stop = r->all->stop;
    return rc;
}

static bool alarm_of(const er_comm *c, bool raise) {
    rank *r = (rank *)c;
    pthread_mutex_lock(&r->all->lock);
    if (raise) r->all->raised = true;
    bool raised = r->all->raised || r->asked;
    pthread_mutex_unlock(&r->all->lock);
    return raised;
}

er_status thread_comms_create(
    thread_comms **out, const er_comm *comm[THREAD_RANKS], size_t size, double seconds) {
    static const er_comm_ops ops = {
        .sum = sum, .gather = gather, .broadcast = broadcast, .agree = agree, .alarm = alarm_of};
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

void thread_comms_stop(thread_comms *t, size_t i) {
    pthread_mutex_lock(&t->lock);
    t->at[i].asked = true;
    pthread_mutex_unlock(&t->lock);
}
