// Inside engine/statistics/: the documents of text files, in an order drawn from a seed.
#ifndef ER_STATISTICS_DOCUMENTS_H
#define ER_STATISTICS_DOCUMENTS_H
#include <stddef.h>
#include <stdint.h>
#include "io/base/status.h"

typedef struct er_documents er_documents;
// A file whose first byte past white space is '{' is JSON Lines: one document per line, its "text". Anything
// else is plain text, cut at blank lines into runs of paragraphs of at least `run_bytes`.
er_status er_documents_read(
    er_documents **out, const char *const *paths, size_t n_paths, size_t run_bytes, uint64_t seed);
// EIO when the bytes that were read of a file are not those of this digest: it changed since that was taken.
er_status er_documents_check(const er_documents *d, size_t file, const char *digest);
size_t er_documents_count(const er_documents *d);
er_status er_documents_text(char **out, size_t *len, const er_documents *d, size_t i);  // malloc'd
void er_documents_free(er_documents *d);

// Bytes up to the end of the first blank line (or run of them) of the text, or all of it.
size_t er_paragraph_length(const char *text, size_t len);
#endif
