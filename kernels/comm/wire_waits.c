// How ranks wait for one another: a wait ends when a rank fails, is gone or is silent, and then all end
// alike.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "io/base/clock.h"
#include "kernels/comm/wire_internal.h"

enum {
    POLL_MS = 50,
    FAREWELL_SECONDS = 20  // that a rank which has failed waits for the others to hear of it
};

// ---- signs of life ----

static void *beat(void *p) {
    er_wire_comm *w = p;
    pthread_mutex_lock(&w->lock);
    while (!w->stop_beating) {
        w->wire.op->beat(w->wire.self);
        struct timespec until;
        (void)clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_sec++;
        (void)pthread_cond_timedwait(&w->changed, &w->lock, &until);
    }
    pthread_mutex_unlock(&w->lock);
    return NULL;
}

er_status er_wire_beat_begin(er_wire_comm *w) {
    if (!w->wire.op->beat) return ER_OK;
    if (pthread_create(&w->beater, NULL, beat, w) != 0)
        return er_fail(ER_EDEVICE, "no thread for signs of life");
    w->beating = true;
    return ER_OK;
}

void er_wire_beat_end(er_wire_comm *w) {
    if (!w->beating) return;
    pthread_mutex_lock(&w->lock);
    w->stop_beating = true;
    pthread_cond_broadcast(&w->changed);
    pthread_mutex_unlock(&w->lock);
    (void)pthread_join(w->beater, NULL);
    w->beating = false;
}

// ---- the end of a communicator ----

er_status er_wire_as_it_ended(const er_wire_comm *w) { return er_fail(w->ended, "%s", w->message); }

static void ended_as(er_notice *n, const er_wire_comm *w, size_t rank) {
    if (rank == w->comm.rank) *n = w->mine;
    else w->wire.op->look(w->wire.self, rank, n);
}

// Seconds since rank r was heard of, counted from `since` at the earliest.
static double silent_for(er_wire_comm *w, size_t r, const er_notice *n, double since) {
    double now = er_clock();
    if (n->beat != w->beat[r] || w->heard[r] < since) w->heard[r] = now;
    w->beat[r] = n->beat;
    return w->wire.op->beat ? now - w->heard[r] : 0;
}

// Everybody who can still hear learns of the failure, and all choose the same of several.
static void hear_of_all(er_wire_comm *w) {
    er_notice n;
    bool all = false;
    double since = er_clock();
    while (!all && er_clock() < since + FAREWELL_SECONDS) {
        all = true;
        for (size_t r = 0; r < w->comm.size; r++) {
            ended_as(&n, w, r);
            double silence = w->waits.silence < 3 ? w->waits.silence : 3;
            all = all && (r == w->comm.rank || n.state != ER_RANK_RUNS || silent_for(w, r, &n, 0) > silence);
        }
        if (!all) (void)nanosleep(&(struct timespec){.tv_nsec = POLL_MS * 1000000L}, NULL);
    }
}

static er_status farewell(er_wire_comm *w, uint32_t state, er_status status, const char *message) {
    er_status *each = calloc(w->comm.size, sizeof *each);
    er_notice n;
    w->mine.state = state, w->mine.status = (uint32_t)status;
    (void)snprintf(w->mine.message, sizeof w->mine.message, "%s", message);
    w->wire.op->give_up(w->wire.self);
    w->wire.op->post(w->wire.self, &w->mine);
    hear_of_all(w);
    size_t worst = w->comm.rank;
    bool everywhere = false;
    for (size_t r = 0; each && r < w->comm.size; r++) {
        ended_as(&n, w, r);
        each[r] = n.state == ER_RANK_FAILED ? (er_status)n.status
                  : n.state == ER_RANK_GONE ? ER_EDEVICE
                                            : ER_OK;
    }
    if (each) worst = er_comm_gravest(each, w->comm.size, &everywhere);
    if (each && each[worst] != ER_OK) {
        ended_as(&n, w, worst);
        status = each[worst], message = n.message;
    }
    w->ended = er_comm_verdict(status, message, worst, everywhere);
    (void)snprintf(w->message, sizeof w->message, "%s", er_last_error());
    free(each);
    return w->ended;
}

static er_status left(er_wire_comm *w) {
    return farewell(w, ER_RANK_LEFT, ER_EDEVICE, "another rank failed");
}

er_status er_wire_fail(er_wire_comm *w, er_status rc) {
    char words[ER_WIRE_MESSAGE];
    (void)snprintf(words, sizeof words, "%s", er_last_error());
    return farewell(w, ER_RANK_FAILED, rc, words);
}

static er_status waited_for(er_wire_comm *w, const char *what, double seconds) {
    char who[128] = "";
    for (size_t r = 0, at = 0; r < w->comm.size && at < sizeof who - 16; r++)
        if (r != w->comm.rank && w->wire.op->waits_for(w->wire.self, r))
            at += (size_t)snprintf(who + at, sizeof who - at, " %zu", r);
    return er_fail(ER_EDEVICE, "waited %.0f s in %s for rank%s, which lives", seconds, what, who);
}

// A rank that hangs gives no sign of life; one that has failed or gone says so.
er_status er_wire_watch(er_wire_comm *w, const char *what, double since) {
    er_notice n;
    double now = er_clock();
    // This process was stopped itself (SIGTSTP, a suspended job): nobody's silence can be told from its own.
    bool was_away = w->watched >= since && now - w->watched > w->waits.silence / 2;
    for (size_t r = 0; was_away && r < w->comm.size; r++) w->heard[r] = now;
    w->watched = now;
    for (size_t r = 0; r < w->comm.size; r++) {
        if (r == w->comm.rank) continue;
        w->wire.op->look(w->wire.self, r, &n);
        if (n.state == ER_RANK_DONE)
            continue;  // what it sent lies there; what it did not, a closed wire tells
        if (n.state != ER_RANK_RUNS) return left(w);
        double silent = silent_for(w, r, &n, since);
        if (silent > w->waits.silence)
            return er_wire_fail(
                w, er_fail(ER_EDEVICE, "rank %zu has given no sign of life for %.0f s, waited for in %s", r,
                       silent, what));
    }
    double waited = er_clock() - since;
    if (w->waits.longest > 0 && waited > w->waits.longest)
        return er_wire_fail(w, waited_for(w, what, waited));
    return ER_OK;
}

// ---- parcels ----

er_status er_wire_exchange(er_wire_comm *w, const char *what, uint32_t tag, size_t n_out, size_t n_in) {
    double since = er_clock(), looked = since;
    er_status rc;
    int done = w->wire.op->begin(w->wire.self, tag, w->out, n_out, w->in, n_in);
    for (; done == 0; done = w->wire.op->progress(w->wire.self, POLL_MS)) {
        double now = er_clock();
        if (now - looked < 0.1) continue;
        looked = now;
        if ((rc = er_wire_watch(w, what, since)) != ER_OK) return rc;
    }
    if (done > 0) return ER_OK;
    // A peer that is gone breaks its end of the wire before anybody has said how it went.
    for (int i = 0; i < 20; i++) {
        if ((rc = er_wire_watch(w, what, since)) != ER_OK) return rc;
        (void)nanosleep(&(struct timespec){.tv_nsec = POLL_MS * 1000000L}, NULL);
    }
    return er_wire_fail(w, er_fail(ER_EDEVICE, "%s: %s", what, w->wire.op->error(w->wire.self)));
}
