#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "io/base/clock.h"
#include "io/base/log.h"
#include "io/base/log_internal.h"

#define REDRAW_S (1.0 / 6.0)
#define LINE_S 30.0
#define BAR_CELLS 40
#define NOTE_BYTES 96

struct er_progress {
    char stage[32], unit[24], note[NOTE_BYTES];
    size_t done, total, base;
    double began, drawn;  // seconds of the monotonic clock
    bool visible;         // a bar stands on the terminal's current line
};

static er_progress *active;   // the one on screen
static er_progress fallback;  // when memory is out: progress is never a reason to fail

static void format_clock(char *text, size_t size, double seconds) {
    unsigned long s = seconds < 0 ? 0 : seconds > 3.6e8 ? 360000000ul : (unsigned long)(seconds + 0.5);
    (void)snprintf(text, size, "%lu:%02lu:%02lu", s / 3600, s / 60 % 60, s % 60);
}

void er_progress_format(char *text, size_t size, const char *stage, size_t done, size_t total, size_t base,
    double elapsed_s, const char *unit, const char *note, int with_bar) {
    char bar[BAR_CELLS + 4] = "", rate[64] = "", eta[48] = "";
    double per_s = done > base && elapsed_s > 0 ? (double)(done - base) / elapsed_s : 0;
    if (with_bar && total > 0) {
        size_t full = done >= total ? BAR_CELLS : (size_t)((double)done / (double)total * BAR_CELLS);
        bar[0] = '[';
        memset(bar + 1, '.', BAR_CELLS);
        memset(bar + 1, '#', full);
        memcpy(bar + 1 + BAR_CELLS, "] ", 3);
    }
    if (per_s > 0) (void)snprintf(rate, sizeof rate, "  %.*f %s/s", per_s < 100 ? 1 : 0, per_s, unit);
    if (per_s > 0 && done < total) {
        memcpy(eta, "  ETA ", 7);
        format_clock(eta + 6, sizeof eta - 6, (double)(total - done) / per_s);
    }
    if (total > 0)
        (void)snprintf(text, size, "%-8s %s%zu/%zu %s%s%s%s%s", stage, bar, done, total, unit, rate, eta,
            note[0] ? "  " : "", note);
    else (void)snprintf(text, size, "%-8s %zu %s%s%s%s", stage, done, unit, rate, note[0] ? "  " : "", note);
}

static bool shown(void) { return er_log_get_level() >= ER_LOG_INFO; }

// With the lock held.
static void draw(er_progress *p, double now, bool with_bar) {
    char text[320];
    er_progress_format(
        text, sizeof text, p->stage, p->done, p->total, p->base, now - p->began, p->unit, p->note, with_bar);
    p->drawn = now;
    p->visible = with_bar;
    (void)fprintf(stderr, with_bar ? "\r%s\033[K" : "%s\n", text);
    (void)fflush(stderr);
}

void er_progress_hide(void) {
    if (active && active->visible) (void)fputs("\r\033[K", stderr);
}

void er_progress_show(void) {
    if (active && active->visible) draw(active, er_clock(), true);
}

er_progress *er_progress_begin(const char *stage, size_t total, const char *unit) {
    er_progress *p = malloc(sizeof *p);
    if (!p) p = &fallback;
    memset(p, 0, sizeof *p);
    (void)snprintf(p->stage, sizeof p->stage, "%s", stage);
    (void)snprintf(p->unit, sizeof p->unit, "%s", unit);
    p->total = total;
    er_log_lock();
    er_progress_hide();
    active = p;
    p->began = er_clock();
    if (shown()) draw(p, p->began, isatty(STDERR_FILENO) == 1);
    er_log_unlock();
    return p;
}

void er_progress_skip(er_progress *p, size_t done) {
    er_log_lock();
    p->base = p->done = done;
    er_log_unlock();
}

void er_progress_update(er_progress *p, size_t done, const char *note) {
    double now = er_clock();
    er_log_lock();
    p->done = done;
    (void)snprintf(p->note, sizeof p->note, "%s", note ? note : "");
    if (shown()) {
        bool terminal = isatty(STDERR_FILENO) == 1;
        if (now - p->drawn >= (terminal ? REDRAW_S : LINE_S)) draw(p, now, terminal);
    }
    er_log_unlock();
}

void er_progress_end(er_progress *p) {
    er_log_lock();
    if (shown()) {
        char text[320], took[32];
        double elapsed = er_clock() - p->began;
        er_progress_format(
            text, sizeof text, p->stage, p->done, p->total, p->base, elapsed, p->unit, p->note, 0);
        format_clock(took, sizeof took, elapsed);
        er_progress_hide();
        (void)fprintf(stderr, "%s  in %s\n", text, took);
        (void)fflush(stderr);
    }
    if (active == p) active = NULL;
    er_log_unlock();
    if (p != &fallback) free(p);
}
