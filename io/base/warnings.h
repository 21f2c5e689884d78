// What a job warned of, kept for its manifest, its report and `--json`, where programs and later readers
// look.
#ifndef ER_WARNINGS_H
#define ER_WARNINGS_H
#include <cjson/cJSON.h>
#include <stdarg.h>
#include <stddef.h>
#include "io/base/status.h"

// From er_warnings_begin to er_warnings_end every er_warn() of the calling thread is kept, whatever the log
// level shows; a text that is there already is kept once. Several may be open in one thread, and each gets
// all. The thread that began it ends it.
typedef struct er_warnings er_warnings;
er_status er_warnings_begin(er_warnings **out);
void er_warnings_end(er_warnings *w);  // frees; NULL is fine
// The lists that are open in the calling thread are closed to what follows, and open again when what was
// returned is given back: for a job that is run from within another one.
er_warnings *er_warnings_swap(er_warnings *w);
size_t er_warnings_count(const er_warnings *w);
const char *er_warnings_at(const er_warnings *w, size_t i);  // borrowed, without "warning: "
// "warnings": [text, ...] as the last entry of `object`, also when there are none.
er_status er_warnings_add_json(const er_warnings *w, cJSON *object);

// Private to io/: the text of one warning. When memory is out it was shown and is not kept.
void er_warnings_keep(const char *fmt, va_list ap) __attribute__((format(printf, 1, 0)));
#endif
