// The JSON files of engine/presets/, compiled in. The last entry has name NULL.
#ifndef ER_PRESETS_H
#define ER_PRESETS_H
typedef struct er_preset_file {
    const char *name;  // file name without .json
    const char *text;
} er_preset_file;
extern const er_preset_file er_preset_files[];
#endif
