// Weights larger than the card: those that do not fit stay in pinned host memory and pass through a few
// places on the device, copied on a stream of their own while earlier layers compute.
//
// Which weight comes next is not asked of the engine but remembered: behind each use stands the use that
// followed it last time, and a decoder's layers follow one another in the same order, forward and backward. A
// wrong guess costs a copy, never a wrong result.
#include <stdlib.h>
#include "kernels/cuda/device.cuh"

enum { PLACES = 3, AHEAD = 2 };

typedef struct place {
    void *at;
    size_t bytes;             // room
    const er_weight *of;      // what stands there or is on its way, or NULL
    cudaEvent_t filled;       // on the copy stream
    cudaEvent_t used;         // behind the last work that reads it
    unsigned long long when;  // of the last use or fetch
} place;

struct er_weight_offload {
    cudaStream_t copy;
    place at[PLACES];
    unsigned long long clock;
    er_weight *last;  // the use before this one
    bool last_backward;
};

static void offload_free(er_cuda *c, er_weight_offload *r) {
    if (!r) return;
    if (r->copy) (void)cudaStreamSynchronize(r->copy);
    for (int i = 0; i < PLACES; i++) {
        if (r->at[i].filled) (void)cudaEventDestroy(r->at[i].filled);
        if (r->at[i].used) (void)cudaEventDestroy(r->at[i].used);
        er_cuda_release(&c->base, r->at[i].at);
    }
    if (r->copy) (void)cudaStreamDestroy(r->copy);
    free(r);
}

void er_cuda_offload_close(er_cuda *c) {
    offload_free(c, c->offload);
    c->offload = NULL;
}

static er_status offload_open(er_cuda *c) {
    er_status rc = ER_OK;
    er_weight_offload *r = (er_weight_offload *)calloc(1, sizeof *r);
    if (!r) ER_FAIL(ER_ENOMEM, "places for weights");
    ER_CUDA(cudaStreamCreateWithFlags(&r->copy, cudaStreamNonBlocking));
    for (int i = 0; i < PLACES; i++) {
        ER_CUDA(cudaEventCreateWithFlags(&r->at[i].filled, cudaEventDisableTiming));
        ER_CUDA(cudaEventCreateWithFlags(&r->at[i].used, cudaEventDisableTiming));
    }
    c->offload = r;
    r = NULL;
out:
    offload_free(c, r);
    return rc;
}

er_status er_cuda_offload_reserve(er_cuda *c, size_t bytes) {
    er_status rc = ER_OK;
    if (!c->offload) ER_TRY(offload_open(c));
    for (int i = 0; i < PLACES; i++) {
        place *p = &c->offload->at[i];
        if (p->bytes >= bytes) continue;
        er_cuda_release(&c->base, p->at);
        p->at = NULL, p->bytes = 0, p->of = NULL;
        ER_TRY(er_cuda_alloc(&c->base, &p->at, bytes));
        p->bytes = bytes;
    }
out:
    return rc;
}

static place *find(er_weight_offload *r, const er_weight *w) {
    for (int i = 0; i < PLACES; i++)
        if (r->at[i].of == w) return &r->at[i];
    return NULL;
}

// Starts the copy into the place that was idle longest; `keep` is in use and stays.
static er_status start_copy(er_cuda *c, const er_weight *w, const er_weight *keep, place **out) {
    er_status rc = ER_OK;
    er_weight_offload *r = c->offload;
    place *p = NULL;
    for (int i = 0; i < PLACES; i++)
        if ((!keep || r->at[i].of != keep) && (!p || r->at[i].when < p->when)) p = &r->at[i];
    p->of = NULL;
    ER_CUDA(cudaStreamWaitEvent(r->copy, p->used, 0));
    ER_CUDA(cudaMemcpyAsync(p->at, w->host, w->bytes, cudaMemcpyHostToDevice, r->copy));
    ER_CUDA(cudaEventRecord(p->filled, r->copy));
    p->of = w;
    p->when = ++r->clock;
    *out = p;
out:
    return rc;
}

er_status er_cuda_offload_fetch(er_cuda *c, cudaStream_t at, er_weight *w, bool backward, const void **out) {
    er_status rc = ER_OK;
    place *p = NULL;
    er_weight_offload *r;
    if (w->stored) {
        *out = w->stored;
        return ER_OK;
    }
    r = c->offload;
    if (r->last)
        r->last->next[r->last_backward].weight = w, r->last->next[r->last_backward].backward = backward;
    r->last = w, r->last_backward = backward;
    if (!(p = find(r, w))) ER_TRY(start_copy(c, w, NULL, &p));
    p->when = ++r->clock;
    ER_CUDA(cudaStreamWaitEvent(at, p->filled, 0));
    *out = p->at;
out:
    return rc;
}

// The work that reads `w` is queued: its place may be filled again behind it, and what comes next is fetched.
er_status er_cuda_offload_done(er_cuda *c, cudaStream_t at, er_weight *w) {
    er_status rc = ER_OK;
    er_weight_offload *r = c->offload;
    place *p = NULL;
    const er_weight *next = w;
    bool backward;
    if (w->stored) return ER_OK;
    if ((p = find(r, w))) ER_CUDA(cudaEventRecord(p->used, at));
    backward = r->last_backward;
    for (int i = 0; i < AHEAD; i++) {
        bool turn = backward;
        backward = next->next[turn].backward;
        next = next->next[turn].weight;
        if (!next || next == w) break;
        if (!find(r, next)) ER_TRY(start_copy(c, next, w, &p));
        else find(r, next)->when = ++r->clock;
    }
out:
    return rc;
}

// Nothing may lead to a weight that is about to change or to go.
void er_cuda_offload_forget(er_cuda *c, const er_weight *w) {
    er_weight_offload *r = c->offload;
    if (!r || w->stored) return;
    (void)cudaStreamSynchronize(r->copy);
    for (er_weight *o = c->on_host; o; o = o->link)
        for (int i = 0; i < 2; i++)
            if (o->next[i].weight == w) o->next[i].weight = NULL;
    if (r->last == w) r->last = NULL;
    for (int i = 0; i < PLACES; i++)
        if (r->at[i].of == w) r->at[i].of = NULL;
}
