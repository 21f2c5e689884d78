// Target values on disk: found once, kept for good. One append-only file per (weights, tokenizer,
// hyper-parameters, precision) and rank; one checksummed record per request, keyed by the request's own
// digest. A rank writes a file of its own and reads those of all ranks, of earlier jobs with any number of
// them too. Several jobs may share a file: it is locked for the length of one record. A record cut short by a
// kill is cut off, a damaged one passed over.
#ifndef ER_TARGET_STORE_H
#define ER_TARGET_STORE_H
#include "engine/targets.h"

#define ER_VALUE_STORE_SYNC_S 3.0  // records reach the disk this often at least while there are new ones

typedef struct er_target_store er_target_store;
// Creates or opens DIR/values-<key>.bin, of rank 0, or values-<key>.<rank>.bin, reads what is there, and what
// is in the files of other ranks that can be read. EOUTPUT when it cannot be made, EIO when it cannot be
// read. One that may be read and not written, or whose lock cannot be had, is opened to be read alone.
er_status er_target_store_open_rank(
    er_target_store **out, const char *dir, const char *key, size_t hidden, size_t rank);
er_status er_target_store_open(
    er_target_store **out, const char *dir, const char *key, size_t hidden);  // rank 0
// z [hidden] of the request with this digest: true and copied when it is there.
bool er_target_store_get(const er_target_store *s, const char *request_digest, float *z);
// Why nothing can be put, in words; NULL when it can.
const char *er_target_store_refusal(const er_target_store *s);
// EIO leaves the file as it was, but for what the disk itself did. A store that cannot be written takes
// nothing.
er_status er_target_store_put(er_target_store *s, const char *request_digest, const er_target_z *v);
size_t er_target_store_count(const er_target_store *s);  // records, those of other ranks included
void er_target_store_close(er_target_store *s);
#endif
