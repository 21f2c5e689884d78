// Covariances of a model's keys: all wanted layers in ONE pass over a text, cached on disk by what they
// depend on, exchanged with the reference's .npz files. The text is a corpus (plain text or JSON Lines) or
// the model's own (er_sample_text).
#ifndef ER_STATISTICS_H
#define ER_STATISTICS_H
#include <stdbool.h>
#include "covariance/covariance.h"
#include "engine/generate.h"
#include "engine/model.h"
#include "engine/sequences.h"
#include "kernels/comm/comm.h"

typedef struct er_statistics_options {
    const char *const *corpus;  // files; none: the model's own text
    size_t n_corpus;
    size_t tokens;  // budget, met exactly where the text is long enough; 0: 10 * d_ff
    // 0: 512 for a corpus and 128 for sampled text, or the model's positions when there are fewer
    size_t row_tokens;
    uint64_t seed;          // order of the documents, and sampling
    const char *cache_dir;  // NULL: nothing is read from or kept on disk
    bool must_keep;         // what cannot be kept there is a failure; else it is warned about, once
    size_t batch_tokens;    // 0: 2,048, on a GPU 8,192 or what there is room for
    bool counted;           // er_statistics_count has been asked, and what is short has been said
    // Ranks that all call er_statistics with the same model, or NULL: alone. Rank 0 alone reads the text and
    // the cache and writes to it; each rank runs a part of the rows, and all end with the same bits.
    const er_comm *comm;
    bool
        // ranks share the batches of one rank's pass, for the same sums but for their order; else rows
        whole_batches;
} er_statistics_options;

typedef struct er_statistics_report {
    size_t cached, computed;            // layers
    size_t tokens, rows;                // run in this call by all ranks; 0 when all was cached
    double text_seconds, pass_seconds;  // sampling or tokenising; the pass itself
    bool lost;                          // something could not be kept in the cache, and that has been said
    double
        flops;  // of the pass on all ranks: GEMMs of the layers plus d_in^2 multiply-adds per token and layer
} er_statistics_report;

// Is this a failure of a place where results are kept for later, so that a job that can do without goes on?
bool er_cache_failure(er_status rc);

// out [n_layers], freed with er_statistics_free. The weights must be the checkpoint's own, as loaded: the
// cache is keyed by its digest. A cache file that is damaged or cannot be read is warned about and computed
// anew. EINTERRUPTED leaves nothing half-written. `report` may be NULL.
er_status er_statistics(er_second_moment **out, er_model *m, const size_t *layers, size_t n_layers,
    const er_statistics_options *o, er_statistics_report *report);
// The cached ones alone, NULL where there is none; needs no loaded weights (check_only is enough). Counts
// them in *found.
er_status er_statistics_lookup(er_second_moment **out, size_t *found, er_model *m, const size_t *layers,
    size_t n_layers, const er_statistics_options *o);
// Tokens that a pass over the corpus of `o` would take, tokenised as it would be, no more than the budget:
// what is no text is refused here, before any work. Needs no loaded weights.
er_status er_statistics_count(size_t *tokens, er_model *m, const er_statistics_options *o);
void er_statistics_free(
    er_second_moment **moments, size_t n_layers, er_device *dev);  // each and leaves NULLs; not the array

// ---- pieces ----

// Documents (records of JSON Lines with a "text" field; runs of paragraphs of a plain text) in an order drawn
// from `seed`, tokenised and packed paragraph by paragraph into rows of at most row_tokens, BOS first where
// the template has one. A paragraph that is longer than a row is cut. Stops at `tokens`, the last row cut.
er_status er_corpus_rows(er_sequences **out, const er_model *m, const char *const *paths, size_t n_paths,
    size_t tokens, size_t row_tokens, uint64_t seed);
// Texts are read twice, digested and later tokenised, so only files will do: EFORMAT for a pipe, a device, a
// folder, an empty file or one above 8 GiB, ENOENT for what is missing. Asked before the work begins.
er_status er_corpus_check(const char *const *paths, size_t n_paths);
// The sums of these rows for all layers, out[i] made here: one pass for as many layers as the device holds
// sums of, which is all of them where memory is not short; finished ones are offloaded where the next need
// the room. `done`, if any, sees each as it is finished. Among ranks (comm, NULL: alone) `rows` are this
// rank's own and the sums those of all; *flops are this rank's.
typedef er_status (*er_statistics_done)(void *ctx, size_t i, const er_second_moment *m);
er_status er_statistics_collect(er_second_moment **out, er_model *m, const size_t *layers, size_t n_layers,
    const er_sequences *rows, size_t batch_tokens, const er_comm *comm, er_statistics_done done, void *ctx,
    double *flops);
// What rank 0 has of moments [n_layers] becomes everybody's, made on the others where it is NULL there; what
// rank 0 lacks stays NULL.
er_status er_statistics_tell(
    er_second_moment **moments, size_t n_layers, er_device *dev, size_t dim, const er_comm *comm);
// Runs the rows through layers 0 .. max(layers), the last one just to its key, and adds the keys of each
// wanted layer.
er_status er_statistics_rows(er_second_moment *const *moments, er_model *m, const size_t *layers,
    size_t n_layers, const er_sequences *rows, size_t batch_tokens, double *flops);
// Of the device, that a pass takes for batches of so many tokens, beside weights and sums.
size_t er_statistics_pass_bytes(const er_arch *a, size_t batch_tokens);

// ---- exchange with the reference ----

// `from` is a file pattern in which "{}" stands for the module name (shell wildcards allowed), or a folder,
// in which <module>_float*_mom2*.npz is looked for, then in its *_stats/ and */*_stats/. ENOENT names the
// layer's module; EARG names two files when more than one fits.
er_status er_statistics_import(
    er_second_moment **out, er_model *m, const size_t *layers, size_t n_layers, const char *from);
// The path of the file of layers[i] alone, malloc'd; nothing of it is read.
er_status er_statistics_find_import(
    char **path, er_model *m, const size_t *layers, size_t n_layers, size_t i, const char *from);
// DIR/<model>/<dataset>_stats/<module>_float32_mom2_<sample_size>.npz (float64 when as_f64). <model>: the
// checkpoint folder's name. The reference reads a file only if sample_size is its own mom2_n_samples.
er_status er_statistics_export(er_second_moment *const *moments, er_model *m, const size_t *layers,
    size_t n_layers, const char *dir, const char *dataset, int64_t sample_size, bool as_f64);
#endif
