// What ranks do in the tests of their wires. Each returns what the rank comes to.
#ifndef ER_RANK_BODIES_H
#define ER_RANK_BODIES_H
#include "kernels/comm/comm.h"

er_status rank_every_collective(const er_comm *c);  // at most 8 ranks; OK
er_status rank_fails_while_others_sum(const er_comm *c);
er_status rank_all_fail(const er_comm *c);
er_status rank_dies(const er_comm *c);        // rank 2 is killed at a random moment while all sum
er_status rank_hangs(const er_comm *c);       // rank 1 stops itself
er_status rank_comes_late(const er_comm *c);  // rank 1, by 3 s, to the first of two barriers
er_status rank_disagrees(const er_comm *c);
er_status rank_stops_with_all(const er_comm *c);  // ten seconds of work in which a signal may come
er_status rank_works_until_raised(const er_comm *c);
er_status rank_is_suspended(const er_comm *c);  // all stop for 4 s, one after another, and go on
er_status rank_leaves_early(const er_comm *c);
#endif
