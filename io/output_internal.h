// The parts of an output folder: its checks, its making, its putting in place.
#ifndef ER_OUTPUT_INTERNAL_H
#define ER_OUTPUT_INTERNAL_H
#include "io/output.h"

struct er_output {
    char *dir;      // no trailing slash
    char *partial;  // DIR.partial-<pid>
    char *parent;
    char *aside;           // what replace() moved the old folder to
    int lock, aside_lock;  // on the partial folder, and on that one
    bool force, committed;
};

// `path` without trailing slashes, and the folder it lies in; the caller frees both. EOUTPUT when it names no
// new folder.
er_status er_output_split(char **dir, char **parent, const char *path);
// What stands at `dir` may be replaced, or nothing stands there. EOUTPUT.
er_status er_output_check_existing(const char *dir, bool force);
// Once a folder stands at `dir` again: removes those that killed jobs moved aside for it
// (DIR.replaced-<pid>). Until then they are the only ones there are.
void er_output_sweep_replaced(const char *dir);
#endif
