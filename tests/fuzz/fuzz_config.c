// Any bytes are a config.json: refused, or sizes that later products and tables can be built on.
#include <math.h>
#include <stdlib.h>
#include "engine/model.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void demand(bool promise) {
    if (!promise) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    er_arch a;
    if (er_arch_parse(&a, (const char *)data, size, "fuzz") != ER_OK) return 0;
    demand(a.layers && a.hidden && a.heads && a.kv_heads && a.head_dim && a.d_ff && a.vocab &&
           a.max_position_embeddings);
    demand(a.heads % a.kv_heads == 0 && a.heads * a.head_dim <= (size_t)1 << 20 && a.d_ff <= (size_t)1 << 22);
    demand(a.eos >= -1 && (a.eos < 0 || (size_t)a.eos < a.vocab) && a.norm_eps >= 0.0f &&
           a.attention_scale > 0.0f);
    bool windowed = false;
    for (size_t l = 0; l < a.layers; l++) windowed |= er_layer_in(&a.windowed, l);
    demand(windowed == (a.window > 0));
    demand(isfinite(a.embed_scale) && a.embed_scale > 0 && a.residual_scale > 0 && isfinite(a.logit_scale) &&
           a.clip_qkv >= 0 && isfinite(a.attention_scale) && isfinite(a.norm_eps));
    demand(er_arch_layer_flops(&a) > 0 && er_arch_qkv_rows(&a) >= 3 * a.head_dim);
    demand(
        a.rope.style == ER_ROPE_NONE || (a.rope.dims && a.rope.dims <= a.head_dim && a.rope.dims % 2 == 0));
    if (a.rope.style == ER_ROPE_NONE || a.rope.dims > 4096) return 0;
    enum { POSITIONS = 4 };
    float *table = malloc(POSITIONS * a.rope.dims * sizeof *table);
    if (!table) return 0;
    er_rope_table(table, &a.rope, POSITIONS);
    for (size_t i = 0; i < POSITIONS * a.rope.dims; i++) demand(fabsf(table[i]) <= 1e3f);
    free(table);
    return 0;
}
