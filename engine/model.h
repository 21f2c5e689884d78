// A decoder on a device. All families are one block with switches, filled in from config.json by a row of a
// table (engine/model/families.c); a new family is a new row.
#ifndef ER_MODEL_H
#define ER_MODEL_H
#include <stdbool.h>
#include <stddef.h>
#include "io/checkpoint.h"
#include "io/tokenizer.h"
#include "kernels/device.h"

#define ER_MAX_ROPE_PAIRS 256
#define ER_MAX_LAYERS 4096
#define ER_PARAM_ROLES                                                                                       \
    13  // linear maps and norms of a block: er_param_role of engine/model/family_internal.h

// Layers, by number.
typedef struct er_layer_set {
    uint64_t bits[ER_MAX_LAYERS / 64];
} er_layer_set;
static inline bool er_layer_in(const er_layer_set *s, size_t layer) {
    return s->bits[layer / 64] >> layer % 64 & 1;
}
static inline void er_layer_put(er_layer_set *s, size_t layer) {
    s->bits[layer / 64] |= (uint64_t)1 << layer % 64;
}

typedef struct er_rope_config {
    er_rope_style style;
    size_t dims;  // rotary dimensions of each head
    double base;
    enum { ER_ROPE_PLAIN, ER_ROPE_LINEAR, ER_ROPE_LLAMA3, ER_ROPE_YARN, ER_ROPE_LONG } scaling;
    double factor, low_freq_factor, high_freq_factor, original_positions;
    double beta_fast, beta_slow;  // yarn: full turns within the original context
    bool whole_pairs;             // yarn: its ramp begins and ends at whole pairs
    double attention;             // multiplies cosines and sines; 0 counts as 1
    // longrope: divisors of the frequencies, for texts within the original context.
    float short_factor[ER_MAX_ROPE_PAIRS];
} er_rope_config;

typedef struct er_arch {
    char family[32];  // model_type of config.json
    size_t layers, hidden, heads, kv_heads, head_dim, d_ff, vocab, max_position_embeddings;
    er_norm_kind norm;
    float norm_eps;
    er_act_kind act;
    bool gated, parallel_residual, learned_positions, tied_head;
    // Names of the block's parts under the layer, NULL for those that this model lacks.
    const char *module[ER_PARAM_ROLES];
    bool qk_norms;  // norm of every q and k head, before rotation
    er_norm_kind qk_norm;
    bool qk_norm_per_head;  // every head has weights of its own; else all share one vector
    float clip_qkv;         // q, k and v are clipped to -clip_qkv .. clip_qkv; 0: not
    int32_t position_offset;
    float attention_scale;
    bool scale_by_layer;  // layer l divides it by l + 1
    size_t window;        // layers of `windowed` see that many tokens back; 0: all see all a row may have
    er_layer_set windowed, unrotated;  // unrotated: layers without rotary positions
    er_rope_config rope;
    float embed_scale;  // multiplies the rows of the embedding
    // Every branch is multiplied by it before it joins the stream. The stream is held divided by it instead:
    // then W k joins it as it is, an added weight means what it says, and states are those of other
    // implementations divided by this. 1 for all but Granite.
    float residual_scale;
    float logit_scale;              // multiplies the logits
    bool attention_bias, mlp_bias;  // of config.json; only families that make biases optional look at them
    int32_t eos;                    // eos_token_id (the first of a list), -1 when absent
    const struct er_family *row;    // of the table in engine/model/families.c
} er_arch;

typedef struct er_block {  // weights of one layer; [dev]. Absent ones are NULL
    float *norm1_w, *norm1_b;
    float *norm2_w, *norm2_b;  // no norm2: the MLP reads norm1's output (parallel residual only)
    er_weight *qkv;            // [(heads + 2 kv_heads) * head_dim, hidden]: q, k, v rows fused at load
    float *qkv_b;
    float *q_norm_w, *q_norm_b;  // [heads, head_dim]
    float *k_norm_w, *k_norm_b;  // [kv_heads, head_dim]
    er_weight *out;              // [hidden, heads * head_dim]
    float *out_b;
    er_weight *up;  // [d_ff, hidden], or gate | up fused [2 d_ff, hidden] when gated
    float *up_b;
    // [hidden, d_ff]: the edited weight. Its input is the key, its output goes to the residual stream.
    er_weight *down;
    float *down_b;
    const er_tensor *down_tensor;  // where it is stored; borrowed from the checkpoint
    char *down_name;               // module name without ".weight", e.g. "model.layers.3.mlp.down_proj"
} er_block;

typedef struct er_model {
    er_arch arch;
    er_device *dev;             // borrowed
    er_folder *folder;          // owned; NULL when the options gave one
    er_checkpoint *checkpoint;  // owned
    er_tokenizer *tokenizer;    // owned
    er_block *block;            // [layers]; of a check_only model only down_tensor and down_name are set
    er_weight *embed, *position, *head;  // head == embed when tied
    float *head_b;
    float *final_w, *final_b;
    float *rope_table;      // [dev] [rope_positions, rope.dims]; NULL without rotary positions
    size_t rope_positions;  // rows of rope_table: er_arch_max_seq_len, or 0 without rotary positions
    int32_t eos;            // -1 when unknown
    size_t weight_bytes;
} er_model;

typedef struct er_model_options {
    const size_t *editable;  // [n_editable] layers whose `down` will be edited
    size_t n_editable;
    // Read and verify config, tensors and tokenizer, load no weights; the device may be NULL
    bool check_only;
    // Digest the weights as they are loaded, so that er_checkpoint_digest need not read them
    bool digest;
    er_folder *folder;  // the model's, open already; borrowed, it outlives the model. NULL: opened here
} er_model_options;

// config.json, weights and tokenizer are of one moment: EIO when the folder changed while it was loaded.
// EUNSUPPORTED names the family or feature and the reason; EFORMAT names the tensor whose shape or type is
// off.
er_status er_model_open(er_model **out, er_device *dev, const char *dir, const er_model_options *options);
// The same without the tokenizer, which stays NULL: config.json and tensors alone. `options` may be NULL.
er_status er_model_load(er_model **out, er_device *dev, const char *dir, const er_model_options *options);
void er_model_free(er_model *m);
er_status er_arch_read(er_arch *out, const char *config_path);  // config.json alone
er_status er_arch_read_in(er_arch *out, er_folder *folder);     // of a folder that is open
er_status er_arch_parse(er_arch *out, const char *json, size_t len, const char *name);  // its text
// The edited module as the peers' settings say it, "model.layers.{}.mlp.down_proj"; needs a->row.
void er_arch_down_module(char *out, size_t size, const er_arch *a);
// `down`: does `module`, with "{}" for the number of the layer, name the edited module? Else: does it name a
// layer of this architecture, or a part of one?
bool er_arch_has_module(const er_arch *a, const char *module, bool down);
// EFORMAT names folder and token when the embedding has no row for one of them; needs the tokenizer.
er_status er_model_check_tokens(const er_model *m, const int32_t *token, size_t n);
// Rotary cosines and sines as er_device_ops.rope reads them: table [positions, rope.dims].
void er_rope_table(float *table, const er_rope_config *rope, size_t positions);
// Tokens that a text may have: max_position_embeddings; of rotary positions at most 32,768, and under
// longrope the original context.
size_t er_arch_max_seq_len(const er_arch *a);
size_t er_arch_qkv_rows(const er_arch *a);  // (heads + 2 kv_heads) * head_dim
size_t er_arch_up_rows(const er_arch *a);   // d_ff, twice that when gated
// FLOPs of one token through one layer, and through the head (forward, GEMMs only).
double er_arch_layer_flops(const er_arch *a);
double er_arch_head_flops(const er_arch *a);
#endif
