// Hugging Face checkpoints: safetensors, single or sharded. Everything is verified against the file size
// before any read; bytes are read with pread (no mapping, so a file that shrinks is an error and not a
// signal). Shards stay open from opening to writing: what is copied are the files that were read, and a
// folder that changed meanwhile is an error (io/base/folder.h).
#ifndef ER_CHECKPOINT_H
#define ER_CHECKPOINT_H
#include <stdbool.h>
#include <stdint.h>
#include "io/dtype.h"
#include "io/base/file.h"
#include "io/base/folder.h"
#include "io/base/status.h"
#include "io/output.h"

#define ER_MAX_RANK 64

typedef struct er_tensor {
    const char *name;  // owned by the checkpoint
    er_dtype dtype;
    int rank;               // 0 .. 64
    const uint64_t *shape;  // [rank], row-major
    uint64_t elements, bytes;
    uint32_t shard;   // index of its file
    uint64_t offset;  // first byte, from the start of that file
} er_tensor;

// One safetensors file, its header verified against its size. EFORMAT says what is malformed
// (tests/io/test_safetensors.c has the cases).
typedef struct er_safetensors er_safetensors;
er_status er_safetensors_open(er_safetensors **out, const char *path);
// The header alone, from memory: `file_size` is what the offsets are checked against. The fuzz target's entry
// point.
er_status er_safetensors_parse(
    er_safetensors **out, const char *bytes, size_t len, uint64_t file_size, const char *name);
size_t er_safetensors_count(const er_safetensors *s);
const er_tensor *er_safetensors_at(const er_safetensors *s, size_t i);  // in file order
void er_safetensors_free(er_safetensors *s);

// A model folder: model.safetensors, or model.safetensors.index.json and its shards. ENOENT when the folder
// or the weights are missing (a folder with only pytorch_model*.bin says so by name: EUNSUPPORTED).
typedef struct er_checkpoint er_checkpoint;
er_status er_checkpoint_open(er_checkpoint **out, const char *dir);
// Of a folder that is open; borrowed, it outlives the checkpoint.
er_status er_checkpoint_open_in(er_checkpoint **out, er_folder *folder);
er_folder *er_checkpoint_folder_of(const er_checkpoint *c);  // borrowed
void er_checkpoint_free(er_checkpoint *c);
const char *er_checkpoint_dir(const er_checkpoint *c);
size_t er_checkpoint_count(const er_checkpoint *c);
const er_tensor *er_checkpoint_at(const er_checkpoint *c, size_t i);
const er_tensor *er_checkpoint_find(const er_checkpoint *c, const char *name);  // NULL when absent
size_t er_checkpoint_shards(const er_checkpoint *c);
const char *er_checkpoint_shard_name(const er_checkpoint *c, size_t shard);  // file name, no folder
const char *er_checkpoint_shard_path(const er_checkpoint *c, size_t shard);  // with its folder, for messages
er_status er_checkpoint_read(const er_checkpoint *c, const er_tensor *t, void *dst);  // t->bytes, as stored
er_status er_checkpoint_read_f32(const er_checkpoint *c, const er_tensor *t, float *dst);  // t->elements
// From here on the bytes of every tensor that is read are digested as they come by (1.8 GB/s a core), so that
// er_checkpoint_digest need not read them again: it then speaks of the very bytes that were loaded.
void er_checkpoint_watch(er_checkpoint *c);
// SHA-256 over names, types, shapes and the SHA-256 of the bytes of every tensor in name order, and
// config.json: what caches are keyed by. Reads what was not read since er_checkpoint_watch; computed once and
// kept.
er_status er_checkpoint_digest(er_checkpoint *c, char hex[65]);

// The edited checkpoint into `o`. Each shard is copied from the descriptor it was opened with, the edits'
// byte ranges replaced; whatever was digested when it was read is compared as it is copied, and the folder's
// files before and after. EIO names what changed. Each edited range is read back and must hold exactly
// `bytes`. Every other file of the folder and of its sub-folders travels along, links to files followed; left
// behind are errata-manifest.json, hidden sub-folders and every file that holds weights (io/weights_file.h):
// they would be the unedited model. Which, is warned of once. EARG when two edits name one tensor, EOUTPUT
// when the output is the model's own folder or inside it, EINTERRUPTED when a stop was asked for.
typedef struct er_edited_tensor {
    const er_tensor *tensor;
    const void *bytes;  // tensor->bytes of them, in the stored type
} er_edited_tensor;
typedef struct er_write_options {
    bool copy_all;             // leave nothing behind but errata-manifest.json
    char (*shard_digest)[65];  // NULL or [shards]: SHA-256 of each file written
} er_write_options;
// With the default options.
er_status er_checkpoint_write(
    const er_checkpoint *base, er_output *o, const er_edited_tensor *edits, size_t n_edits);
er_status er_checkpoint_write_with(const er_checkpoint *base, er_output *o, const er_edited_tensor *edits,
    size_t n_edits, const er_write_options *options);
#endif
