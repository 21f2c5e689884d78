// Inside io/: an open checkpoint, for the files that read it and copy it.
#ifndef ER_CHECKPOINT_INTERNAL_H
#define ER_CHECKPOINT_INTERNAL_H
#include <sys/types.h>
#include "io/checkpoint.h"
#include "io/safetensors.h"

typedef struct er_shard {
    char *name;
    er_safetensors *file;  // over a descriptor of the folder
    dev_t dev;
    ino_t ino;
    char (*digest)[65];  // [tensors, in file order] SHA-256 of the bytes, "" until they were read
} er_shard;

struct er_checkpoint {
    er_folder *folder;
    bool owns_folder;
    const char *dir;   // the folder's
    er_shard *shards;  // in name order
    size_t n_shards;
    er_tensor *tensors;  // in name order, for the search
    size_t count;
    bool watched;  // whatever is read is digested
    char digest[65];
};

// The place for the digest of a tensor's bytes.
char *er_checkpoint_tensor_digest(const er_checkpoint *c, const er_tensor *t);
// Everything of the folder but the shards, in so far as it travels.
er_status er_checkpoint_copy_others(const er_checkpoint *c, er_output *o, bool copy_all);
#endif
