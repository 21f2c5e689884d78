// Edit jobs of ranks as processes, for tests: what each rank is given, where it fails, and what it returned.
#ifndef ER_TEST_RANK_JOB_H
#define ER_TEST_RANK_JOB_H
#include "engine/job/ranks.h"

enum { JOB_RANKS = 4 };

typedef struct rank_job {
    er_job_options o;
    size_t ranks;
    // The rank to which something happens, and what; SIZE_MAX: to none. `o` of that rank may be another one.
    size_t victim;
    const er_job_options *other;
    const char *stop_in;    // a stage in which it is asked to stop
    bool dies_with_values;  // is killed once any rank has kept a target value in the cache
    double killed_after;    // seconds; 0: never
    size_t fails_at;        // its so manieth collective fails there and then, counted from 1; 0: none
    bool dies;              // ... by a signal that ends the process
} rank_job;

typedef struct rank_outcome {
    bool ended;  // the rank returned: else it was killed
    int rc;
    char said[512];
    size_t collectives, cached, found;
} rank_outcome;

// Runs the job in processes of their own and fills out [ranks]. *seconds, if any, gets how long it took.
void rank_job_run(rank_outcome *out, const rank_job *j, double *seconds);
#endif
