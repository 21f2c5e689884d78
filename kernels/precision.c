// Names of the precisions.
#include "kernels/device.h"

#include <string.h>

static const char *const names[] = {"fp32", "bf16", "fp16", "tf32"};

const char *er_precision_name(er_precision p) { return names[p]; }

bool er_precision_parse(er_precision *out, const char *name) {
    for (int i = 0; i < 4; i++)
        if (!strcmp(names[i], name)) {
            *out = (er_precision)i;
            return true;
        }
    return false;
}
