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
#define ER_HPARAM_KEYS 32  // that a file or a preset may give
#define ER_OWN_FIELDS 8    // that an editor may have of its own

// Where a value came from.
typedef enum er_hparam_from { ER_FROM_PRESET, ER_FROM_FILE, ER_FROM_FLAG } er_hparam_from;

// A number that only one editor has.
typedef struct er_field {
    const char *key;  // in settings files, as the peers spell it
    double initial;   // where no file gives one
} er_field;

// What settings know of an editor. Its strings and fields live as long as the program.
typedef struct er_editor_settings {
    const char *name;        // --editor, manifest
    const char *alg_name;    // of the peers' settings files
    const er_field *fields;  // [n_fields], at most ER_OWN_FIELDS
    size_t n_fields;
} er_editor_settings;
// The i-th of the editors there are, false behind the last: whoever reads a name or a file says which there
// are (er_editor_settings_at of engine/editors).
typedef bool (*er_editor_list)(er_editor_settings *out, size_t i);

typedef struct er_hparams {
    char profile[16];  // "default" or "reference"
    char preset[64];   // which preset the rest came from; begins with ER_RULE_OF_THUMB where none fits

    // Which layers, and how a target value is found.
    size_t layers[ER_MAX_EDIT_LAYERS];  // ascending; the last is the z layer
    size_t n_layers;
    size_t steps;       // v_num_grad_steps: at most steps - 1 Adam steps, as the reference counts
    double lr;          // v_lr
    double clamp;       // clamp_norm_factor: |delta| <= clamp |z0|
    double decay;       // v_weight_decay
    double kl;          // kl_factor
    double stop;        // a request stops once its loss is below; 0.05 in the reference
    size_t loss_layer;  // v_loss_layer of a file, counted from 1; 0: not given

    // The weight of the statistics.
    double lambda;  // mom2_update_weight
    // mom2_trace_ratio: each layer's lambda is such that tr(lambda C) = trace_ratio tr(K K^T); 0: `lambda` as
    // it stands.
    double trace_ratio;
    size_t cov_tokens;    // 0: 10 d_in
    bool layers_guessed;  // no preset, and nobody said which layers
    bool lambda_guessed;  // no preset, and nobody said which lambda: only the trace ratio can be used

    // Prompts.
    size_t n_prefixes;          // context templates besides the bare prompt
    size_t n_relation_prompts;  // phrasings of other facts of the same relation, at most
    // Share of the bare prompt in a request's averaged key; the other prompts share the rest. 0.5 in the
    // reference.
    double key_bare;
    // Each prompt is a column of the solve with its own residual, instead of one averaged key a request.
    bool key_per_prompt;
    bool merge_subjects;  // facts that share a subject get one z together
    er_space space;       // between prompt and target: by the text, but always one in the reference profile

    unsigned long long seed;
    er_editor_settings editor;           // by --editor or alg_name
    bool editor_given;                   // by --editor
    double own[ER_OWN_FIELDS];           // the values of editor.fields
    unsigned char from[ER_HPARAM_KEYS];  // er_hparam_from of each key, for refusals
    char file[ER_HPARAM_PATH];           // the settings file, "" without one
    // What the file says of its model, checked against the model by er_hparams_check. "": nothing
    char model_name[128], rewrite_module[128], layer_module[128];
} er_hparams;

// The preset of the model's family and size under `profile`; a rule of thumb, marked as a guess, when there
// is none. The editor is MEMIT. EARG for another profile.
er_status er_hparams_resolve(er_hparams *out, const er_arch *arch, const char *profile);
// A settings file over `h`: YAML by the ending .yaml or .yml, else JSON. A mom2_update_weight switches the
// trace ratio off, and the other way round. ECONFIG names file, key and reason: also for settings of another
// method than the editor's, of what is not computed here, and for a file in which nothing applies. A key that
// is not known is warned of. `h` stays as it was then.
er_status er_hparams_merge_file(er_hparams *h, const char *path, er_editor_list editors);
// By its own name or as the peers spell it ("AlphaEdit"); its own numbers are the preset's, or as it has them
// at first. EARG names the known ones.
er_status er_hparams_set_editor(er_hparams *h, const char *name, er_editor_list editors);
er_status er_hparams_set_layers(er_hparams *h, const char *text);           // "3-8" or "3,4,5"; EARG
bool er_hparams_is_given(const er_hparams *h, const char *key);             // by a file or a flag
void er_hparams_mark(er_hparams *h, const char *key, er_hparam_from from);  // whoever sets a value says so
// ECONFIG with the flag, file or preset that the value of `key` came from in front.
er_status er_hparams_refuse(const er_hparams *h, const char *key, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
// ECONFIG names the flag, file or preset that a value came from: also when the file's module names are
// another model's. A model_name that seems to mean another model is warned of.
er_status er_hparams_check(const er_hparams *h, const er_arch *arch);
cJSON *er_hparams_json(const er_hparams *h);  // NULL when memory is out
#endif
