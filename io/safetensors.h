// Private to io/: what checkpoints need of an open file beyond io/checkpoint.h.
#ifndef ER_SAFETENSORS_H
#define ER_SAFETENSORS_H
#include "io/checkpoint.h"

int er_safetensors_fd(const er_safetensors *s);  // open for reading; -1 when parsed from memory
const char *er_safetensors_path(const er_safetensors *s);
uint64_t er_safetensors_file_size(const er_safetensors *s);
uint64_t er_checkpoint_shard_size(const er_checkpoint *c, size_t shard);  // bytes, when it was opened
#endif
