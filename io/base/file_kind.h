// What a file is by its first bytes, in words. For refusals: a reader that cannot make sense of a file asks
// here before it says so, since "byte 0: not a JSON value" tells nobody that a download went wrong.
#ifndef ER_FILE_KIND_H
#define ER_FILE_KIND_H
#include <stdbool.h>
#include <stddef.h>
#include "io/base/status.h"

#define ER_KIND_BYTES ((size_t)1024)  // of the beginning; more is not looked at

typedef struct er_file_kind {
    const char *words;  // "is gzip-compressed: unpack it first (gunzip)": goes behind the file's name
    bool text;          // made of plain text all the same (HTML, XML)
} er_file_kind;

// NULL when the bytes are of no kind that is told apart here: JSON, YAML, prose and safetensors among them.
const er_file_kind *er_file_kind_of(const void *head, size_t n);

// For a reader that has failed with `rc` on the file `path`: EFORMAT with what the file is instead, when that
// can be told; else `rc`, with the message as it stands. Only EFORMAT and EUNSUPPORTED are looked into.
er_status er_file_kind_refuse(er_status rc, const char *path);

// For readers to whom every byte is text: EFORMAT when these bytes are not, naming `name` and what they are.
// HTML and XML are text.
er_status er_text_check(const char *bytes, size_t n, const char *name);
// What is doubtful in the first MiB of such a file is warned of: markup, bytes that are not UTF-8.
void er_text_warn(const char *path);
#endif
