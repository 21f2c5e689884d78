// Every number that shapes an edit, resolved in this order: family preset < --hparams FILE (the reference's
// keys, as JSON or as EasyEdit's YAML) < flags.
#ifndef ER_HPARAMS_H
#define ER_HPARAMS_H
#include <stdbool.h>
#include <stddef.h>
#include "engine/model.h"
#include "io/facts.h"
#include "io/base/json.h"

#define ER_MAX_EDIT_LAYERS 64
#define ER_RULE_OF_THUMB "rule of thumb"
#define ER_HPARAM_PATH 256
#define ER_HPARAM_KEYS 24

typedef enum er_hparam_from { ER_FROM_PRESET, ER_FROM_FILE, ER_FROM_FLAG } er_hparam_from;

typedef struct er_hparams {
    char profile[16];  // "default" or "reference"
    char preset[64];   // which preset the rest came from; it begins with ER_RULE_OF_THUMB when the size is
                       // unknown
    size_t layers[ER_MAX_EDIT_LAYERS];  // ascending; the last is the z layer
    size_t n_layers;
    size_t steps;        // v_num_grad_steps: at most steps-1 Adam steps, as the reference counts
    double lr;           // v_lr
    double clamp;        // clamp_norm_factor: |delta| <= clamp * |z0|
    double decay;        // v_weight_decay
    double kl;           // kl_factor
    double stop;         // stop once the loss is below; 0.05 in the reference
    double lambda;       // mom2_update_weight
    double trace_ratio;  // mom2_trace_ratio: each layer's lambda is such that tr(lambda C) is this share of
                         // tr(K K^T) there; 0: lambda as it stands
    size_t cov_tokens;   // 0: 10 * d_in
    size_t n_prefixes;   // context templates besides the bare prompt
    double key_bare;  // share of the bare prompt in a fact's key; the other rows share the rest (0.5 in the
                      // reference)
    bool key_per_prompt;  // each row is a column of the solve, with its own residual, instead of one averaged
                          // key per subject
    size_t n_relation_prompts;  // phrasings of other facts of the same relation, at most
    bool merge_subjects;        // facts that share a subject get one z together
    size_t loss_layer;          // v_loss_layer of a file, counted from 1; 0: not given
    bool layers_guessed;        // no preset and nobody said which layers
    bool lambda_guessed;  // no preset and nobody said which lambda: it stands for room, not for a weight
    er_space space;       // between prompt and target: by the text, but always one in the reference profile
    unsigned long long seed;
    char editor[16];    // --editor, or alg_name of a file: "memit", "memit_seq", "emmet", "alphaedit"
    bool editor_given;  // by --editor
    double l2;          // L2 (AlphaEdit): A + l2 I
    double nullspace_threshold;          // AlphaEdit: eigenvalues of C below it are free to be edited
    double emmet_lambda;                 // EMMET: 0 is the hard constraint
    double update_norm_lambda;           // EMMET: + this I to the covariance
    unsigned char from[ER_HPARAM_KEYS];  // er_hparam_from of each key, for refusals
    char file[ER_HPARAM_PATH];           // the settings file, "" without one
    // What the file says of its model, checked against the model by er_hparams_check. "": nothing
    char model_name[128], rewrite_module[128], layer_module[128];
} er_hparams;

// The preset of the model's family and size under `profile`; a rule of thumb, marked as a guess, when there
// is none.
er_status er_hparams_resolve(er_hparams *out, const er_arch *arch, const char *profile);
// YAML by the ending .yaml or .yml, else JSON. A mom2_update_weight switches the trace ratio off, and the
// other way round. ECONFIG names file, key and reason: also for settings of another method than MEMIT, of
// what is not computed here, and for a file in which nothing applies. A key that is not known is warned of.
er_status er_hparams_merge_file(er_hparams *h, const char *path);
// By its own name or as the peers spell it ("AlphaEdit"); EARG naming the known ones.
er_status er_hparams_set_editor(er_hparams *h, const char *name);
er_status er_hparams_set_layers(er_hparams *h, const char *text);  // "3-8" or "3,4,5"; EARG
bool er_hparams_is_from_file(const er_hparams *h, const char *key);
void er_hparams_mark(er_hparams *h, const char *key, er_hparam_from from);  // whoever sets a value says so
// ECONFIG with the flag, file or preset that the value of `key` came from in front.
er_status er_hparams_refuse(const er_hparams *h, const char *key, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
// ECONFIG names the flag, file or preset that a value came from: also when the file's module names are
// another model's. A model_name that seems to mean another model is warned of.
er_status er_hparams_check(const er_hparams *h, const er_arch *arch);
cJSON *er_hparams_json(const er_hparams *h);  // NULL when memory is out
#endif
