// What another program needs to do the same work: settings, facts, and the model's tensors.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "benchmarks/job.h"
#include "io/npz.h"

static const char *act_name(er_act_kind k) { return k == ER_SILU ? "silu" : "gelu_new"; }
static const char *rope_name(er_rope_style s) {
    return s == ER_ROPE_NONE ? "none" : s == ER_ROPE_HALF ? "half" : "pairs";
}

static void head(FILE *f, const job *j) {
    const er_shape *s = j->o.shape;
    const er_arch *a = &j->m->arch;
    const er_hparams *h = &j->h;
    fprintf(f,
        "{\"shape\":\"%s\",\"layers\":%zu,\"hidden\":%zu,\"heads\":%zu,\"kv_heads\":%zu,\"head_dim\":%zu,"
        "\"d_ff\":%zu,\"vocab\":%zu,\"positions\":%zu,",
        s->name, a->layers, a->hidden, a->heads, a->kv_heads, a->head_dim, a->d_ff, a->vocab,
        a->max_position_embeddings);
    fprintf(f,
        "\"norm\":\"%s\",\"eps\":%.9g,\"act\":\"%s\",\"gated\":%d,\"parallel\":%d,\"tied\":%d,\"learned\":%d,"
        "\"rope\":\"%s\",\"rope_dims\":%zu,\"rope_base\":%.17g,",
        a->norm == ER_RMS_NORM ? "rms" : "layer", (double)a->norm_eps, act_name(a->act), a->gated,
        a->parallel_residual, a->tied_head, a->learned_positions, rope_name(a->rope.style), a->rope.dims,
        a->rope.base);
    fprintf(f,
        "\"norm_bias\":%d,\"norm2\":%d,\"qkv_bias\":%d,\"out_bias\":%d,\"mlp_bias\":%d,\"head_bias\":%d,",
        s->norm_bias, s->norm2, s->qkv_bias, s->out_bias, s->mlp_bias, s->head_bias);
    fprintf(f, "\"steps\":%zu,\"lr\":%.17g,\"clamp\":%.17g,\"decay\":%.17g,\"kl\":%.17g,\"edited\":[",
        h->steps, h->lr, h->clamp, h->decay, h->kl);
    for (size_t i = 0; i < h->n_layers; i++) fprintf(f, "%s%zu", i ? "," : "", h->layers[i]);
    fprintf(f, "]}\n");
}

static void ids(FILE *f, const char *key, const int32_t *id, size_t n) {
    fprintf(f, ",\"%s\":[", key);
    for (size_t i = 0; i < n; i++) fprintf(f, "%s%d", i ? "," : "", id[i]);
    fprintf(f, "]");
}

static void row(FILE *f, const er_prompt *r) {
    fprintf(f, "{\"subject_last\":%zu,\"first_label\":%zu,\"key_weight\":%.9g,\"nll_weight\":%.9g",
        r->subject_last, r->first_label, (double)r->key_weight, (double)r->nll_weight);
    ids(f, "token", r->token, r->length);
    ids(f, "label", r->label, r->n_labels);
    fprintf(f, "}");
}

er_status job_dump_facts(const job *j, const char *path) {
    FILE *f = fopen(path, "w");
    if (!f) return er_fail(ER_EOUTPUT, "%s cannot be written", path);
    head(f, j);
    for (size_t i = 0; i < j->requests->count; i++) {
        const er_request *u = &j->requests->at[i];
        fprintf(f, "{\"fact\":%zu,\"rows\":[", i);
        for (size_t r = 0; r < u->n_rows; r++) {
            if (r) fprintf(f, ",");
            row(f, &u->row[r]);
        }
        fprintf(f, "]}\n");
    }
    bool failed = ferror(f) != 0;
    if (fclose(f) != 0 || failed) return er_fail(ER_EIO, "%s cannot be written", path);
    return ER_OK;
}

struct job_dump {
    er_npz_writer *w;
};

er_status job_dump_open(job_dump **out, const char *path) {
    job_dump *d = calloc(1, sizeof *d);
    if (!d) return er_fail(ER_ENOMEM, "a dump");
    er_status rc = er_npz_create(&d->w, path);
    if (rc == ER_OK) *out = d;
    else free(d);
    return rc;
}

er_status job_dump_tensor(void *dump, const char *name, const float *values, size_t rows, size_t cols) {
    size_t bytes = rows * (cols ? cols : 1) * sizeof *values;
    er_npy a = {.type = ER_NPY_F4, .item_bytes = sizeof *values, .rank = cols ? 2 : 1, .shape = {rows, cols}};
    if (!(a.data = malloc(bytes))) return er_fail(ER_ENOMEM, "%zu bytes", bytes);
    memcpy(a.data, values, bytes);
    er_status rc = er_npz_add(((job_dump *)dump)->w, name, &a);
    free(a.data);
    return rc;
}

er_status job_dump_close(job_dump *d) {
    if (!d) return ER_OK;
    er_status rc = er_npz_finish(d->w);
    er_npz_writer_free(d->w);
    free(d);
    return rc;
}
