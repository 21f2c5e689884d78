// Target values on disk: found once, kept for good. One append-only file per (weights, tokenizer,
// hyper-parameters, precision); one checksummed record per unit, keyed by the unit's own digest. Several jobs
// may share a file: it is locked for the length of one record. A record cut short by a kill is cut off, a
// damaged one passed over.
#ifndef ER_VALUE_STORE_H
#define ER_VALUE_STORE_H
#include "engine/values.h"

#define ER_VALUE_STORE_SYNC_S 3.0  // records reach the disk this often at least while there are new ones

typedef struct er_value_store er_value_store;
// Creates or opens DIR/values-<key>.bin and reads what is there. EOUTPUT when it cannot be made, EIO when it
// cannot be read. One that may be read and not written, or whose lock cannot be had, is opened to be read
// alone.
er_status er_value_store_open(er_value_store **out, const char *dir, const char *key, size_t hidden);
// z [hidden] of the unit with this digest: true and copied when it is there.
bool er_value_store_get(const er_value_store *s, const char *unit_digest, float *z);
// Why nothing can be put, in words; NULL when it can.
const char *er_value_store_refusal(const er_value_store *s);
// EIO leaves the file as it was, but for what the disk itself did. A store that cannot be written takes
// nothing.
er_status er_value_store_put(er_value_store *s, const char *unit_digest, const er_value *v);
size_t er_value_store_count(const er_value_store *s);
void er_value_store_close(er_value_store *s);
#endif
