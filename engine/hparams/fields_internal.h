// Internal to engine/hparams/: what an object of presets.json and a settings file have in common.
#ifndef ER_HPARAMS_FIELDS_H
#define ER_HPARAMS_FIELDS_H
#include "engine/hparams.h"

// Keys that are absent or null leave h as it is. ECONFIG names `name` and the key.
er_status er_hparams_read_fields(er_hparams *h, const cJSON *obj, const char *name);
er_status er_hparams_read_layers(er_hparams *h, const cJSON *obj, const char *name);
bool er_hparams_has_field(const char *key);
size_t er_hparams_index(const char *key);  // in er_hparams.from
const char *er_hparams_key(size_t i);      // of the fields, NULL behind the last
// ECONFIG when the keys of a settings file are those of another method.
er_status er_hparams_check_method(const er_hparams *h, const cJSON *obj, const char *path);
bool er_hparams_knows_editor(const char *name);
const char *er_hparams_alg_name(const er_hparams *h);           // as files spell its editor
bool er_hparams_is_idle(const er_hparams *h, const char *key);  // a key of another editor than h's
// The known key, of the fields or of `others` (NULL behind the last), that `key` is a slip of; or NULL.
const char *er_hparams_nearest(const char *key, const char *const *others);
// Warns when the settings' model_name seems to mean another model than this one.
void er_hparams_compare_model(const er_hparams *h, const er_arch *a);
#endif
