// The table of model families: what config.json calls things, what the tensors are called, which switches the
// block takes. Rows are data (families_*.c); the code that reads them is arch.c (config.json) and
// tensor_map.c (tensors).
#ifndef ER_FAMILY_H
#define ER_FAMILY_H
#include "engine/model.h"
#include "io/base/json.h"

#define ER_MAX_ALIASES 3

// A linear map or norm of the block. A family has either ROLE_QKV or the three of them, either ROLE_GATE_UP
// or ROLE_UP (with ROLE_GATE when gated).
typedef enum er_param_role {
    ROLE_NORM1,
    ROLE_NORM2,
    ROLE_QKV,
    ROLE_Q,
    ROLE_K,
    ROLE_V,
    ROLE_Q_NORM,
    ROLE_K_NORM,
    ROLE_OUT,
    ROLE_GATE,
    ROLE_UP,
    ROLE_GATE_UP,
    ROLE_DOWN,
    ROLE_COUNT
} er_param_role;
_Static_assert(ROLE_COUNT == ER_PARAM_ROLES, "er_arch.module has a place for every role");

typedef enum er_bias {
    BIAS_NEVER,
    BIAS_ALWAYS,
    BIAS_ATTENTION,  // as attention_bias of config.json says
    BIAS_MLP         // as mlp_bias says
} er_bias;

typedef struct er_param_name {
    const char *module;  // under the layer, without ".weight"; NULL: the family has no such part
    er_bias bias;
} er_param_name;

typedef struct er_config_key {
    const char *name[ER_MAX_ALIASES];  // any of them; two with different values are an error
} er_config_key;

// Who looks back `sliding_window` tokens only: no layer, every layer, the upper ones, or those that do not
// rotate.
typedef enum er_window_rule { WINDOW_NONE, WINDOW_ALL, WINDOW_UPPER, WINDOW_UNROTATED } er_window_rule;

typedef struct er_family {
    const char *type;        // model_type
    const char *classes[3];  // accepted architectures[0]
    const char *prefix[3];   // of every tensor but the head, tried in turn; "" is allowed
    er_config_key layers, hidden, heads, kv_heads, head_dim, d_ff, max_position_embeddings, act,
        eps;  // empty: derived
    // What the family's configuration class takes where a key is absent (not where it is null).
    size_t default_layers, default_hidden, default_heads, default_vocab, default_max_position_embeddings,
        default_d_ff;
    const char *default_act;
    double default_eps;
    size_t default_kv_heads, default_head_dim;  // 0: as many as heads; hidden / heads
    er_norm_kind norm;
    bool norm_bias, conv1d, gated, parallel_residual, default_tied;
    bool d_ff_is_4h;  // d_ff is 4 hidden unless config.json says
    bool default_attention_bias, default_mlp_bias;
    bool fused_by_head;  // ROLE_QKV's rows are [kv_heads, the q heads of each | k | v, head_dim]
    bool norm_bare;      // norms have neither weight nor bias
    bool norm_plus_one;  // what is stored of a norm's weight is what it is above 1
    er_window_rule window;
    size_t default_window;
    er_rope_style rope;  // ER_ROPE_NONE: learned positions
    double default_rope_base;
    // Where config.json has base and rotated part of a head; NULL: "rope_theta", and no part. rope_dims
    // counts dimensions instead.
    const char *rope_base, *rope_part, *rope_dims;
    double default_rope_part;
    size_t default_rope_dims;
    size_t original_positions;                  // 0, or the original context whatever the scaling says of it
    int32_t position_offset;                    // of learned positions
    const char *embed, *position, *final_norm;  // module names
    const char *head[2];                        // either name; the head stands outside the prefix
    bool head_bias;
    const char *layer;  // "h" or "layers": layer i is "<prefix><layer>.<i>."
    er_param_name param[ROLE_COUNT];
    // What only this family has, read from its config.json, which messages call `name`; may be NULL.
    er_status (*check)(const cJSON *config, const char *name, er_arch *a);
} er_family;

// Layers, hidden size, heads, vocabulary, positions and d_ff width where config.json says nothing of them.
#define SIZES(l, h, n, v, p, i)                                                                              \
    .default_layers = l, .default_hidden = h, .default_heads = n, .default_vocab = v,                        \
    .default_max_position_embeddings = p, .default_d_ff = i
extern const er_family er_gpt_families[], er_falcon_families[], er_llama_families[];
extern const size_t er_gpt_family_rows, er_falcon_family_rows, er_llama_family_rows;

const er_family *er_family_find(const char *type);  // NULL when there is no such row
// Why `type` is refused although errata knows of it, or NULL.
const char *er_family_refusal(const char *type);
void er_family_list(char *out, size_t size);  // "gpt2, llama"

// [d_out, d_in] of a role as computed (not as stored); vectors are [n, 1].
void er_param_dims(const er_arch *a, er_param_role role, size_t *d_out, size_t *d_in);
bool er_param_is_vector(er_param_role role);
bool er_param_has_bias(const er_arch *a, er_param_role role);

// config.json: rotary settings of transformers v4 and v5.
er_status er_rope_read(er_rope_config *out, const cJSON *config, const char *name, const er_arch *a);
// Which layers look back how far. a->unrotated is known.
er_status er_window_read(er_arch *a, const cJSON *config, const char *name);

// Where everything lies in the checkpoint, verified: names, shapes, types. Borrowed from the checkpoint.
typedef struct er_block_tensors {
    const er_tensor *weight[ROLE_COUNT], *bias[ROLE_COUNT];
    // [heads + kv_heads] with qk_norm_per_head, then in place of ROLE_Q_NORM and ROLE_K_NORM.
    const er_tensor **qk_norm;
} er_block_tensors;
typedef struct er_tensor_map {
    const char *prefix;
    const er_tensor *embed, *position, *head, *head_bias, *final_w, *final_b;  // head NULL: the embedding
    er_block_tensors *block;                                                   // [layers]
    const er_tensor **qk_norms;  // what the blocks' qk_norm point into
} er_tensor_map;
er_status er_tensor_map_find(er_tensor_map *out, const er_arch *a, const er_checkpoint *c);
void er_tensor_map_free(er_tensor_map *p);

// load.c: the weights onto the model's device, out of what `map` has found. `options` may be NULL.
er_status er_model_load_weights(er_model *m, const er_tensor_map *map, const er_model_options *options);
#endif
