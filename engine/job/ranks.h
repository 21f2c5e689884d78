// The edit job among ranks: er_job_edit() is this with er_comm_self().
#ifndef ER_JOB_RANKS_H
#define ER_JOB_RANKS_H
#include "engine/job/job.h"
#include "kernels/comm/comm.h"

// All ranks call it with the same model, facts and settings, and return the same status with the same
// message; ranks that read something else than rank 0 end all of them with ECONFIG, which says what. A stop
// that is asked of one rank stops all. Rank 0 alone writes the output and the manifest, so that report->json
// is NULL on the others, and alone keeps the key statistics; every rank keeps the target values that it finds
// in a file of its own and reads those of all. Facts and texts are files, no pipes. On ranks other than 0 the
// log is best set to ER_LOG_QUIET: rank 0 says what concerns all, and what the others warn of. A
// deterministic job finds the same bits of target values on any number of ranks, and its weights differ only
// where the order of sums of fp64 turns a rounding; other jobs differ by the rounding of fp32.
er_status er_job_edit_ranks(er_job_report **report, const er_job_options *options, const er_comm *comm);
#endif
