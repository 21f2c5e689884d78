// Inside engine/statistics/: rows and sums of keys among ranks.
#ifndef ER_STATISTICS_RANKS_H
#define ER_STATISTICS_RANKS_H
#include "engine/statistics.h"

// *rows of rank 0 become everybody's; NULL on the others before.
er_status er_sequences_tell(er_sequences **rows, const er_comm *c);
// This rank's part of all rows, a copy: consecutive rows of about as many tokens on every rank. `batch`
// tokens: as many whole batches of a pass over all rows as on every other rank, so that the batches, and with
// them all but the order of the sums, are those of one rank; 0: rows. With more ranks than these some have
// none.
er_status er_sequences_share(er_sequences **own, const er_sequences *all, size_t batch, const er_comm *c);
// The batch of a pass over all rows where memory is not short; `wanted` 0: as the device likes it.
size_t er_statistics_batch(const er_device *dev, const er_sequences *rows, size_t wanted);
// The finished sum of each rank's own rows becomes that of all.
er_status er_statistics_sum(er_second_moment *m, er_device *dev, const er_comm *c);
#endif
