// Words to the user: stderr only. Results go to stdout by the caller.
#ifndef ER_LOG_H
#define ER_LOG_H
#include <stdbool.h>
#include <stddef.h>
#include "io/base/signals.h"

typedef enum er_log_level { ER_LOG_QUIET, ER_LOG_WARN, ER_LOG_INFO, ER_LOG_DEBUG } er_log_level;
void er_log_set_level(er_log_level level);  // default INFO
er_log_level er_log_get_level(void);
void er_warn(const char *fmt, ...)
    __attribute__((format(printf, 1, 2)));  // "warning: ..."; io/base/warnings.h keeps them
void er_info(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void er_debug(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

// Progress of one stage with rate and ETA: redrawn at most 6 times a second when stderr is a terminal, otherwise a line
// when the stage starts, one each 30 s and one when it ends. One at a time.
typedef struct er_progress er_progress;
er_progress *er_progress_begin(const char *stage, size_t total, const char *unit);  // never NULL
void er_progress_update(er_progress *p, size_t done, const char *note);  // note may be NULL: "loss 0.31"
void er_progress_skip(
    er_progress *p, size_t done);      // found done by an earlier run: shown, but not counted in the rate
void er_progress_end(er_progress *p);  // frees
#endif
