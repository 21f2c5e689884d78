// What a walk will need, before it begins: its share of the requests, the shape of its solves, its bytes.
#include "engine/editors/apply_internal.h"
#include "engine/solve/lambda.h"

const char er_walk_interrupted[] = "interrupted in solve: nothing is written";

const er_editor *er_walk_editor(const er_apply *a) { return a->editor ? a->editor : er_editor_at(0); }

const er_comm *er_walk_comm(const er_apply *a) { return a->comm ? a->comm : er_comm_self(); }

er_requests er_walk_share(const er_apply *a, size_t *first) {
    er_requests share = *a->requests;
    size_t count = 0;
    er_comm_share(er_walk_comm(a), share.count, first, &count);
    share.at += *first;
    share.count = count;
    return share;
}

er_normal_shape er_walk_shape(const er_apply *a, const er_arch *m, const er_microbatches *l) {
    const er_editor *e = er_walk_editor(a);
    bool averaged = e->averaged || !a->h->key_per_prompt;
    er_normal_shape s = {.d_key = m->d_ff,
        .d_out = m->hidden,
        .n = averaged ? l->requests : l->rows,
        .summed = !averaged || e->keeps_history || er_walk_comm(a)->size > 1,
        .definite = a->h->lambda > 0,
        .restricted = e->restricted,
        .hard = e->hard};
    s.capacity = averaged || s.n < ER_MICROBATCH_PROMPTS ? s.n : ER_MICROBATCH_PROMPTS;
    return s;
}

er_status er_walk_take(er_walk *s, er_arena *a, const er_normal_shape *shape) {
    er_status rc = ER_OK;
    ER_TRY(er_normal_take(&s->normal, a, shape));
    ER_TRY(er_arena_take(a, &s->diagonals, er_traces_workspace(shape->d_key), sizeof *s->diagonals));
out:
    return rc;
}

// A GPU needs more work at a time to be busy.
size_t er_apply_tokens(const er_device *dev) { return dev->is_async ? 8192 : 2048; }

er_status er_apply_bytes(size_t *bytes, const er_arch *arch, const er_apply *a) {
    er_microbatches *l = NULL;
    er_walk s = {0};
    size_t first = 0;
    er_requests share = er_walk_share(a, &first);
    er_status rc = er_microbatches_create(&l, &share, a->max_tokens);
    if (rc != ER_OK) return rc;
    er_normal_shape shape = er_walk_shape(a, arch, l);
    ER_TRY(er_walk_take(&s, &s.memory, &shape));
    ER_TRY(er_hidden_pass_measure(&s.memory, arch, l, a->h->layers[a->h->n_layers - 1]));
    ER_TRY(er_gather_measure(&s.memory, arch, l, er_walk_editor(a)->averaged || !a->h->key_per_prompt));
    *bytes = s.memory.bytes;
out:
    er_microbatches_free(l);
    return rc;
}

er_status er_apply_room(size_t *max_tokens, er_device *dev, const er_arch *arch, const er_apply *a) {
    er_status rc = ER_OK;
    er_apply try = *a;
    size_t need = 0, available = 0, total = 0, moment = arch->d_ff * arch->d_ff * sizeof(double);
    *max_tokens = try.max_tokens = er_apply_tokens(dev);
    if (!dev->is_async) return ER_OK;
    if (er_walk_editor(a)->keeps_history) moment *= 2;
    ER_TRY(er_apply_bytes(&need, arch, &try));
    ER_TRY(er_second_moment_evict(dev, a->c, a->h->n_layers, need + moment));
    ER_TRY(dev->op->memory(dev, &available, &total));
    while (need + moment > available && try.max_tokens > 2048) {
        *max_tokens = try.max_tokens /= 2;
        ER_TRY(er_apply_bytes(&need, arch, &try));
    }
out:
    return rc;
}
