// Asking a job to stop, and the signals that ask. A job that was asked finishes the batch in hand, keeps what
// is done, clears away what is not, and returns EINTERRUPTED.
#ifndef ER_SIGNALS_H
#define ER_SIGNALS_H
#include <stdbool.h>
#include "io/base/status.h"

// From any thread, and from a signal handler. Meant for every job of the process, also for one that is begun
// later, until er_stop_clear(). One job alone is stopped through its thread's listener (io/base/listener.h).
void er_stop_request(void);
void er_stop_clear(void);
// Was either asked for, of the process or of the calling thread's listener?
bool er_stop_requested(void);
// A second one to ask, for the work of this thread: er_stop_requested() is true there once `asked` is, as for
// a job that stops where another rank does. It is asked in every check, so it must be cheap. NULL: nobody.
void er_stop_watch(bool (*asked)(void *ctx), void *ctx);

// For whoever does the work, about once a second of it: EINTERRUPTED, in the words of `what`, once a stop was
// asked for. In front of them the stage is named, "interrupted in values: ...", by er_interrupted_in(), which
// leaves every other status and what is named already alone; `said` instead of the words so far, or NULL.
er_status er_stop_check(const char *what);
er_status er_interrupted_in(er_status rc, const char *stage, const char *said);

// ---- for the main() of a program only: a library never touches handlers or masks of its host ----

// oneDNN 2.6 keeps a part of its GEMM's state below the stack pointer, where a handler's frame lands: a
// handler that runs on a thread in the middle of dnnl_sgemm corrupts the product and the heap. So no thread
// that computes may take a signal. er_signals_block() comes before the first thread and before an exec, and
// all of them inherit the mask; er_signals_install() starts the one thread that takes the signals:
//     SIGINT, SIGTERM, SIGUSR1   er_stop_request(); the second (the same one: 0.3 s later) exits with
//                                75 at once, whatever the other threads are at
//     SIGHUP, SIGXCPU            er_stop_request(), however often they come: terminals and limits repeat them
//     SIGPIPE, SIGXFSZ           ignored: the write fails and says so
// A signal that was ignored when the program began stays ignored (nohup, background jobs of scripts). The
// rest, SIGTSTP and SIGCONT among them, is as it was. Without a thread to be had a signal ends the program as
// it would any other; that is warned of. A second call does nothing; a child after fork() needs one of its
// own.
void er_signals_block(void);
bool er_signals_blocked(void);  // the above was called
void er_signals_install(void);
// main() has its exit code: from now on a second signal no longer changes it.
void er_signals_finish(void);
#endif
