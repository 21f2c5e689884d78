// Internal to engine/hparams/: what an object of presets.json and a settings file have in common.
#ifndef ER_HPARAMS_FIELDS_H
#define ER_HPARAMS_FIELDS_H
#include "engine/hparams.h"

// Keys that are absent or null leave h as it is. ECONFIG names `name` and the key.
er_status er_hparams_read_fields(er_hparams *h, const cJSON *obj, const char *name);
er_status er_hparams_read_layers(er_hparams *h, const cJSON *obj, const char *name);
bool er_hparams_has_field(const char *key);
#endif
