// A listener that prints to stderr: lines as they come, warnings behind "warning: ", and the progress of one
// stage at a time: a bar with rate and ETA, redrawn at most 6 times a second, when stderr is a terminal;
// otherwise a line when the stage begins, one each 30 s and one when it ends.
#ifndef ER_TERMINAL_H
#define ER_TERMINAL_H
#include <stddef.h>
#include "io/base/log.h"

// From here on the process's listener (io/base/listener.h), at level INFO.
void er_terminal_listen(void);
void er_terminal_quiet(void);  // no longer

// The text of a bar, without newline.
void er_terminal_format(char *text, size_t size, const er_progress_event *e, int with_bar);
#endif
