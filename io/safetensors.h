// Private to io/: what checkpoints need of an open file beyond io/checkpoint.h.
#ifndef ER_SAFETENSORS_H
#define ER_SAFETENSORS_H
#include "io/checkpoint.h"

// As er_safetensors_open, over a descriptor that the caller keeps open and closes.
er_status er_safetensors_open_at(er_safetensors **out, int fd, uint64_t size, const char *path);
int er_safetensors_fd(const er_safetensors *s);  // open for reading; -1 when parsed from memory
const char *er_safetensors_path(const er_safetensors *s);
uint64_t er_safetensors_file_size(const er_safetensors *s);
uint64_t er_safetensors_data_begin(const er_safetensors *s);  // where the header ends
// SHA-256 of the bytes before that; "" from memory
const char *er_safetensors_head_digest(const er_safetensors *s);
// The file's own entry of a tensor that stands at the same place under the same name, or NULL.
const er_tensor *er_safetensors_find(const er_safetensors *s, const er_tensor *t);
#endif
