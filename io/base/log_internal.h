// Private to io/: how log lines and the progress bar share a terminal.
#ifndef ER_LOG_PRIVATE_H
#define ER_LOG_PRIVATE_H
#include <stddef.h>
#include <stdint.h>

void er_log_lock(void);
void er_log_unlock(void);
// With the lock held: takes the bar off the terminal line, and puts it back behind a message.
void er_progress_hide(void);
void er_progress_show(void);

// The text of a bar, without newline: tests call it with times of their own. `elapsed_s` counts from `base`
// items on.
void er_progress_format(char *text, size_t size, const char *stage, size_t done, size_t total, size_t base,
    double elapsed_s, const char *unit, const char *note, int with_bar);
#endif
