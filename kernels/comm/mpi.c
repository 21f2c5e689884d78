// Finding and loading the MPI module.
#include "kernels/comm/mpi.h"

#include <dlfcn.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static size_t number_in(const char *variable) {
    const char *text = getenv(variable);
    char *end = NULL;
    unsigned long n = text ? strtoul(text, &end, 10) : 0;
    return text && end != text && *end == 0 ? n : 0;
}

size_t er_mpi_launched(const char **variable) {
    static const char *const sizes[] = {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_STEP_NUM_TASKS"};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        // A batch script has its step's size too; tasks of srun are told by their number.
        bool by_srun =
            i < 2 || (getenv("SLURM_STEP_ID") && getenv("SLURM_PROCID") && getenv("SLURM_SRUN_COMM_HOST"));
        size_t n = by_srun ? number_in(sizes[i]) : 0;
        if (n <= 1) continue;
        *variable = sizes[i];
        return n;
    }
    return 1;
}

typedef int open_module(er_wire *out, char *error, size_t size);

static open_module *entry_of(void *module) {
    void *found = dlsym(module, "er_mpi_module_open");
    open_module *entry = NULL;
    *(void **)&entry = found;
    return entry;
}

er_status er_mpi_wire(er_wire *out, const char *const *folders) {
    const char *given = getenv("ERRATA_MPI_MODULE");
    char path[PATH_MAX], error[ER_WIRE_MESSAGE] = "";
    void *module = NULL;
    if (given) {
        if (!(module = dlopen(given, RTLD_NOW | RTLD_GLOBAL)))
            return er_fail(ER_ENODEVICE, "ERRATA_MPI_MODULE: %s", dlerror());
    }
    for (; !module && folders && *folders; folders++) {
        if (snprintf(path, sizeof path, "%s/errata_mpi.so", *folders) >= (int)sizeof path) continue;
        if (access(path, R_OK) != 0) continue;
        if (!(module = dlopen(path, RTLD_NOW | RTLD_GLOBAL))) return er_fail(ER_ENODEVICE, "%s", dlerror());
    }
    if (!module)
        return er_fail(ER_ENODEVICE, "errata_mpi.so, which joins the ranks, is not there: build errata where "
                                     "MPI is installed, or name it in "
                                     "ERRATA_MPI_MODULE");
    open_module *entry = entry_of(module);
    if (!entry) return er_fail(ER_ENODEVICE, "the MPI module is none of errata's: %s", dlerror());
    if (entry(out, error, sizeof error) != 0) return er_fail(ER_EDEVICE, "MPI: %s", error);
    if (out->op->version == ER_WIRE_VERSION) return ER_OK;
    return er_fail(ER_ENODEVICE, "the MPI module speaks version %u of the wire, this errata %d",
        out->op->version, (int)ER_WIRE_VERSION);
}
