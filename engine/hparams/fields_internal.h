// Internal to engine/hparams/: what an object of presets.json and a settings file have in common.
#ifndef ER_HPARAMS_FIELDS_H
#define ER_HPARAMS_FIELDS_H
#include "engine/hparams.h"

// Keys that are absent or null leave h as it is. ECONFIG names `name` and the key.
er_status er_hparams_read_fields(er_hparams *h, const cJSON *obj, const char *name);
// The editor's own fields alone.
er_status er_hparams_read_own(er_hparams *h, const cJSON *obj, const char *name);
// Those that h's preset has for its editor.
er_status er_hparams_own_of_preset(er_hparams *h);
er_status er_hparams_read_layers(er_hparams *h, const cJSON *obj, const char *name);
bool er_hparams_has_field(const er_hparams *h, const char *key);  // of all editors, or of its own
size_t er_hparams_index(const er_hparams *h, const char *key);    // in er_hparams.from
const char *er_hparams_key(size_t i);  // of the fields of all editors, NULL behind the last
// ECONFIG when the keys of a settings file are those of another method.
er_status er_hparams_check_method(
    const er_hparams *h, const cJSON *obj, const char *path, er_editor_list editors);
// By name or alg_name, letters of either case.
bool er_hparams_find_editor(er_editor_settings *out, const char *name, er_editor_list editors);
// In er_hparams.own; SIZE_MAX: the editor has no such field of its own.
size_t er_hparams_own_index(const er_editor_settings *e, const char *key);
// Is it a key of another editor than h's, and of none of h's? *whose: of that one.
bool er_hparams_is_idle(
    er_editor_settings *whose, const er_hparams *h, const char *key, er_editor_list editors);
// The known key, of the fields, of the editors' own, or of `others` (NULL behind the last), that `key` is a
// slip of; or NULL.
const char *er_hparams_nearest(const char *key, const char *const *others, er_editor_list editors);
// Warns when the settings' model_name seems to mean another model than this one.
void er_hparams_compare_model(const er_hparams *h, const er_arch *a);
#endif
