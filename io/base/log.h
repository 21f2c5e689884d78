// Words to the user, and how far a stage has come. Both go to whoever listens to the calling thread
// (io/base/listener.h); nothing here prints. Results are no words: the caller prints those.
#ifndef ER_LOG_H
#define ER_LOG_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "io/base/signals.h"

// The two types below stand in engine/errata.h too, which includes nothing of ours; a test compares them.
#ifndef ER_LOG_TYPES
#define ER_LOG_TYPES
typedef enum er_log_level { ER_LOG_QUIET, ER_LOG_WARN, ER_LOG_INFO, ER_LOG_DEBUG } er_log_level;

typedef enum er_progress_phase { ER_PROGRESS_BEGIN, ER_PROGRESS_UPDATE, ER_PROGRESS_END } er_progress_phase;
typedef struct er_progress_event {
    er_progress_phase phase;  // END comes also where a stage breaks off, with what was done
    const char *stage;        // "values"
    const char *unit;         // of done and total: "facts"
    uint64_t done, total;     // total 0: not known
    double seconds;           // since the stage began
} er_progress_event;
#endif

// Of whoever listens to the calling thread: the most that is said. INFO unless set.
void er_log_set_level(er_log_level level);
er_log_level er_log_get_level(void);
// What the user must know, once per kind; io/base/warnings.h keeps it whatever the level.
void er_warn(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void er_info(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void er_debug(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

// Progress of one stage, told to the listener at its begin, at every update and at its end. Begin, updates
// and end are the same thread's.
typedef struct er_progress er_progress;
er_progress *er_progress_begin(const char *stage, size_t total, const char *unit);  // never NULL
void er_progress_update(er_progress *p, size_t done);
void er_progress_end(er_progress *p);  // frees
#endif
