// The parts of bench_job: its settings, its stages and what they measured.
#ifndef ER_BENCH_JOB_H
#define ER_BENCH_JOB_H
#include "benchmarks/ceilings.h"
#include "benchmarks/floors.h"
#include "benchmarks/random_model.h"

enum { JOB_COVARY = 1, JOB_VALUES = 2, JOB_SOLVE = 4 };

typedef struct job_options {
    const er_shape *shape;
    er_device_options device;
    size_t layers, facts, steps, batch_tokens, cov_tokens, cov_batch, limit_values, limit_solve, gemm_size,
        memory_mb;  // 0: as the shape, the stage or the device says
    const char *layers_edited, *json, *dump_facts, *dump_model, *dump_losses;
    unsigned stages;
    double budget;  // seconds from the start of the program; 0: none
    uint64_t seed;
    bool floors_only;
    double rate, rate64, copy_rate;  // of floors_only
} job_options;

typedef struct job_stage {
    const char *name, *request;  // request: "tokens" or "facts"
    bool ran, whole, interrupted;
    size_t done, asked;                  // of `request`
    double seconds, flops, floor_flops;  // of what was done
    double bytes;                        // that had to be read at least, or 0
    double ceiling;                      // FLOP/s that the floor is taken at
    double projected;                    // seconds for `project` facts, from what was done
    size_t project;
    size_t peak_bytes;
} job_stage;
enum { STAGE_COVARY, STAGE_VALUES, STAGE_GATHER, STAGE_SOLVE, STAGE_COUNT };

typedef struct job {
    job_options o;
    er_device *dev;
    er_model *m;
    er_requests *requests;
    er_hparams h;
    er_unit_means means;
    er_ceilings ceilings;
    job_stage stage[STAGE_COUNT];
    double start, model_seconds;
    size_t weight_bytes, model_peak, slots, batch_tokens;
    struct er_second_moment *moments[ER_MAX_EDIT_LAYERS];
    float *z;      // [facts, hidden]
    size_t have;   // the first so many are optimised ones
    void *losses;  // FILE of dump_losses
} job;

// All calls of the engine's stages stand in job_stages.c. EINTERRUPTED leaves what was done in `stage`.
er_status job_run_covary(job *j);
er_status job_run_values(job *j);
er_status job_run_spread(job *j);
void job_free_moments(job *j);

void job_print_head(const job *j);
void job_print_stage(const job *j, const job_stage *s);
void job_print_sum(const job *j);
er_status job_write_json(const job *j, const char *path);
er_status job_print_floors(const job *j);

er_status job_dump_facts(const job *j, const char *path);  // a line of settings, then one line per fact
// The model's tensors as members of an .npz, while it is made.
typedef struct job_dump job_dump;
er_status job_dump_open(job_dump **out, const char *path);
er_status job_dump_tensor(void *dump, const char *name, const float *values, size_t rows, size_t cols);
er_status job_dump_close(job_dump *d);  // completes the file; NULL is fine
#endif
