// Inside engine/statistics/: rows and sums of keys among ranks.
#ifndef ER_STATISTICS_RANKS_H
#define ER_STATISTICS_RANKS_H
#include "engine/statistics.h"

// *rows of rank 0 become everybody's; NULL on the others before.
er_status er_sequences_tell(er_sequences **rows, const er_comm *c);
// This rank's part of all rows, a copy: consecutive rows of about as many tokens on every rank. With more ranks than rows some have none.
er_status er_sequences_share(er_sequences **own, const er_sequences *all, const er_comm *c);
// The finished sum of each rank's own rows becomes that of all.
er_status er_statistics_sum(er_second_moment *m, er_device *dev, const er_comm *c);
#endif
