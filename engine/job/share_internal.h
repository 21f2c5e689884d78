// Inside engine/job/: which rank finds which target values, and how all get to know them.
#ifndef ER_JOB_SHARE_H
#define ER_JOB_SHARE_H
#include "engine/job/job_internal.h"

typedef struct er_share {
    size_t *owner;     // [requests] the rank that has, or is to find, the request's z
    er_requests own;   // what this rank's er_targets_optimise() runs on; borrows from the job's
    er_request *list;  // [own.count] `own.at`, where it is not the job's
    size_t *request;   // [own.count] places in the job's requests; NULL: the same
    bool *have;        // [own.count] those among them that it need not find
} er_share;

// Of the requests that no rank has (j->have, made the same on all ranks) each rank gets its share: long ones
// first, dealt in turn and back, so that every rank has about as much to do; in a deterministic job batch g
// goes to rank g mod size. All ranks decide alike.
er_status er_share_begin(er_share *s, er_job *j);
size_t er_share_request(const er_share *s, size_t own);  // the place in the job's requests
// j->z of all requests from their owners to everybody.
er_status er_share_exchange(const er_share *s, er_job *j);
void er_share_free(er_share *s);

// What a rank's share is like before it is known which values are there: for planning memory.
er_requests er_share_expected(const er_job *j);
#endif
