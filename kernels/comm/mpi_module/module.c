// The MPI module: parcels by MPI_Isend and MPI_Irecv, notices on a communicator of their own. Uses nothing of
// errata but wire_ops.h, so `mpicc -shared -fPIC -I SOURCE module.c -o errata_mpi.so` builds it for any MPI.
#include <mpi.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "kernels/comm/wire_ops.h"

enum { AT_MOST = 1 << 30, TAG_NOTICE = 1, TAG_BEAT = 2 };  // bytes of one message

typedef struct mpi_wire {
    MPI_Comm data, notices;
    size_t rank, size;
    MPI_Request *request;  // of the parcels under way
    size_t *peer;          // whose they are
    int *incoming;
    size_t n, room;
    er_notice *last;                       // [size] from each rank
    er_notice mine[2];                     // an alarm, and the end: each is sent from its own
    MPI_Request *sent_notice, *sent_beat;  // [size]
    uint32_t beats;
    pthread_mutex_t lock;  // of notices
    char error[300];
    int broken;
} mpi_wire;

static int fails(mpi_wire *w, const char *what, int code) {
    char words[MPI_MAX_ERROR_STRING];
    int n = 0;
    (void)MPI_Error_string(code, words, &n);
    (void)snprintf(w->error, sizeof w->error, "%s: %.*s", what, n, words);
    w->broken = 1;
    return -1;
}

static int reserve(mpi_wire *w, size_t more) {
    if (w->n + more <= w->room) return 0;
    size_t room = (w->n + more) * 2;
    void *r = realloc(w->request, room * sizeof *w->request);
    if (r) w->request = r;
    void *p = realloc(w->peer, room * sizeof *w->peer);
    if (p) w->peer = p;
    void *i = realloc(w->incoming, room * sizeof *w->incoming);
    if (i) w->incoming = i;
    if (!r || !p || !i) {
        (void)snprintf(w->error, sizeof w->error, "no memory for %zu messages", room);
        return -1;
    }
    w->room = room;
    return 0;
}

static int start(mpi_wire *w, uint32_t tag, const er_parcel *p, int incoming) {
    for (size_t at = 0; at < p->n; at += AT_MOST) {
        size_t n = p->n - at < AT_MOST ? p->n - at : AT_MOST;
        if (reserve(w, 1) != 0) return -1;
        char *bytes = (char *)p->bytes + at;
        int rc = incoming
                     ? MPI_Irecv(bytes, (int)n, MPI_BYTE, (int)p->peer, (int)tag, w->data, &w->request[w->n])
                     : MPI_Isend(bytes, (int)n, MPI_BYTE, (int)p->peer, (int)tag, w->data, &w->request[w->n]);
        if (rc != MPI_SUCCESS) return fails(w, incoming ? "MPI_Irecv" : "MPI_Isend", rc);
        w->peer[w->n] = p->peer;
        w->incoming[w->n++] = incoming;
    }
    return 0;
}

static int begin(
    void *wire, uint32_t tag, const er_parcel *out, size_t n_out, const er_parcel *in, size_t n_in) {
    mpi_wire *w = wire;
    w->n = 0;
    for (size_t i = 0; i < n_in; i++)
        if (start(w, tag, &in[i], 1) != 0) return -1;
    for (size_t i = 0; i < n_out; i++)
        if (start(w, tag, &out[i], 0) != 0) return -1;
    return 0;
}

static double now(void) {
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int progress(void *wire, int milliseconds) {
    mpi_wire *w = wire;
    double begun = now(), waited = 0;
    for (;;) {
        int all = 0, rc = MPI_Testall((int)w->n, w->request, &all, MPI_STATUSES_IGNORE);
        if (rc != MPI_SUCCESS) return fails(w, "MPI_Testall", rc);
        if (all) {
            w->n = 0;
            return 1;
        }
        waited = now() - begun;
        if (waited * 1000 >= milliseconds) return 0;
        // First a quick answer, then without taking the core from those who work on it.
        if (waited > 0.0002)
            (void)nanosleep(&(struct timespec){.tv_nsec = waited > 0.01 ? 1000000 : 50000}, NULL);
    }
}

static int waits_for(void *wire, size_t peer) {
    mpi_wire *w = wire;
    for (size_t i = 0; i < w->n; i++)
        if (w->peer[i] == peer && w->request[i] != MPI_REQUEST_NULL) return 1;
    return 0;
}

static void give_up(void *wire) {
    mpi_wire *w = wire;
    for (size_t i = 0; i < w->n; i++) {
        if (w->request[i] == MPI_REQUEST_NULL) continue;
        w->broken = 1;  // what was sent to somebody who does not take it cannot be called back
        if (!w->incoming[i]) continue;
        // One that is matched already comes in all the same: it is waited for as long as that may take.
        int done = 0;
        (void)MPI_Cancel(&w->request[i]);
        for (double until = now() + 2; !done && now() < until;)
            if (MPI_Test(&w->request[i], &done, MPI_STATUS_IGNORE) != MPI_SUCCESS) break;
    }
}

static void send_to_all(mpi_wire *w, int tag, MPI_Request *sent, const void *bytes, size_t n) {
    for (size_t r = 0; r < w->size; r++) {
        int done = 1;
        if (r == w->rank) continue;
        if (sent[r] != MPI_REQUEST_NULL) (void)MPI_Test(&sent[r], &done, MPI_STATUS_IGNORE);
        if (!done && tag == TAG_BEAT) continue;  // it has not taken the last one
        if (!done) (void)MPI_Request_free(&sent[r]);
        (void)MPI_Isend(bytes, (int)n, MPI_BYTE, (int)r, tag, w->notices, &sent[r]);
    }
}

static void post(void *wire, const er_notice *mine) {
    mpi_wire *w = wire;
    pthread_mutex_lock(&w->lock);
    er_notice *keep = &w->mine[mine->state != ER_RANK_RUNS];
    *keep = *mine;
    send_to_all(w, TAG_NOTICE, w->sent_notice, keep, sizeof *keep);
    pthread_mutex_unlock(&w->lock);
}

static void beat(void *wire) {
    static const char sign = 1;
    mpi_wire *w = wire;
    pthread_mutex_lock(&w->lock);
    send_to_all(w, TAG_BEAT, w->sent_beat, &sign, sizeof sign);
    pthread_mutex_unlock(&w->lock);
}

static void listen(mpi_wire *w) {
    for (;;) {
        MPI_Status s;
        int there = 0;
        er_notice n;
        if (MPI_Iprobe(MPI_ANY_SOURCE, MPI_ANY_TAG, w->notices, &there, &s) != MPI_SUCCESS || !there) return;
        if (MPI_Recv(&n, sizeof n, MPI_BYTE, s.MPI_SOURCE, s.MPI_TAG, w->notices, MPI_STATUS_IGNORE) !=
            MPI_SUCCESS)
            return;
        er_notice *last = &w->last[s.MPI_SOURCE];
        uint32_t beats = last->beat + 1;
        if (s.MPI_TAG == TAG_NOTICE && last->state == ER_RANK_RUNS) *last = n;
        last->beat = beats;
    }
}

static void look(void *wire, size_t peer, er_notice *out) {
    mpi_wire *w = wire;
    pthread_mutex_lock(&w->lock);
    listen(w);
    *out = w->last[peer];
    pthread_mutex_unlock(&w->lock);
}

static const char *error(void *wire) { return ((mpi_wire *)wire)->error; }

// MPI_Finalize waits for what can no longer be delivered, so a broken job is aborted: the launcher then ends
// the other ranks.
static void close_wire(void *wire, int exit_code) {
    mpi_wire *w = wire;
    int finalised = 0;
    (void)MPI_Finalized(&finalised);
    if (!finalised && (w->broken || exit_code != 0)) {
        // Time for the others to read the notice and to say what they have to say.
        for (int i = 0; i < 20; i++) {
            pthread_mutex_lock(&w->lock);
            listen(w);
            pthread_mutex_unlock(&w->lock);
            (void)nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
        }
    }
    if (!finalised && w->broken) (void)MPI_Abort(MPI_COMM_WORLD, exit_code ? exit_code : 1);
    if (!finalised) (void)MPI_Finalize();
    pthread_mutex_destroy(&w->lock);
    free(w->request);
    free(w->peer);
    free(w->incoming);
    free(w->last);
    free(w->sent_notice);
    free(w->sent_beat);
    free(w);
}

static int set_up(mpi_wire *w, er_wire *out) {
    int rank = 0, size = 0, local_rank = 0, local_size = 1, rc;
    MPI_Comm local;
    if ((rc = MPI_Comm_rank(MPI_COMM_WORLD, &rank)) != MPI_SUCCESS) return fails(w, "MPI_Comm_rank", rc);
    if ((rc = MPI_Comm_size(MPI_COMM_WORLD, &size)) != MPI_SUCCESS) return fails(w, "MPI_Comm_size", rc);
    if ((rc = MPI_Comm_dup(MPI_COMM_WORLD, &w->data)) != MPI_SUCCESS ||
        (rc = MPI_Comm_dup(MPI_COMM_WORLD, &w->notices)) != MPI_SUCCESS)
        return fails(w, "MPI_Comm_dup", rc);
    (void)MPI_Comm_set_errhandler(w->data, MPI_ERRORS_RETURN);
    (void)MPI_Comm_set_errhandler(w->notices, MPI_ERRORS_RETURN);
    if ((rc = MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, rank, MPI_INFO_NULL, &local)) !=
        MPI_SUCCESS)
        return fails(w, "MPI_Comm_split_type", rc);
    (void)MPI_Comm_rank(local, &local_rank);
    (void)MPI_Comm_size(local, &local_size);
    (void)MPI_Comm_free(&local);
    w->rank = (size_t)rank, w->size = (size_t)size;
    w->last = calloc(w->size, sizeof *w->last);
    w->sent_notice = malloc(w->size * sizeof *w->sent_notice);
    w->sent_beat = malloc(w->size * sizeof *w->sent_beat);
    if (!w->last || !w->sent_notice || !w->sent_beat) {
        (void)snprintf(w->error, sizeof w->error, "no memory for %d ranks", size);
        return -1;
    }
    for (size_t r = 0; r < w->size; r++) w->sent_notice[r] = w->sent_beat[r] = MPI_REQUEST_NULL;
    *out = (er_wire){NULL, w, w->rank, w->size, (size_t)local_rank, (size_t)local_size};
    return 0;
}

__attribute__((visibility("default"))) int er_mpi_module_open(er_wire *out, char *error_out, size_t size);
int er_mpi_module_open(er_wire *out, char *error_out, size_t size) {
    static er_wire_ops ops = {.version = ER_WIRE_VERSION,
        .begin = begin,
        .progress = progress,
        .waits_for = waits_for,
        .give_up = give_up,
        .post = post,
        .look = look,
        .error = error,
        .close = close_wire};
    int provided = 0, rc = MPI_Init_thread(NULL, NULL, MPI_THREAD_MULTIPLE, &provided);
    mpi_wire *w = calloc(1, sizeof *w);
    if (rc != MPI_SUCCESS || !w) {
        (void)snprintf(error_out, size, "%s", w ? "MPI_Init_thread failed" : "no memory");
        free(w);
        return -1;
    }
    (void)MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
    pthread_mutex_init(&w->lock, NULL);
    ops.beat = provided == MPI_THREAD_MULTIPLE ? beat : NULL;
    if (set_up(w, out) != 0) {
        (void)snprintf(error_out, size, "%s", w->error);
        free(w);
        return -1;
    }
    out->op = &ops;
    return 0;
}
