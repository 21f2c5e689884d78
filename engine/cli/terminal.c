#include "engine/cli/terminal.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "io/base/clock.h"
#include "io/base/listener.h"

#define REDRAW_S (1.0 / 6.0)
#define LINE_S 30.0
#define BAR_CELLS 40

// What stands on the terminal is the process's, whichever thread draws it.
static struct {
    pthread_mutex_t lock;
    er_progress_event event;  // of the stage last told of
    double told, drawn;       // er_clock(), when it was told and when a line of it was printed
    bool visible;             // a bar stands on the terminal's current line
} screen = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void format_clock(char *text, size_t size, double seconds) {
    unsigned long s = seconds < 0 ? 0 : seconds > 3.6e8 ? 360000000ul : (unsigned long)(seconds + 0.5);
    (void)snprintf(text, size, "%lu:%02lu:%02lu", s / 3600, s / 60 % 60, s % 60);
}

void er_terminal_format(char *text, size_t size, const er_progress_event *e, int with_bar) {
    char bar[BAR_CELLS + 4] = "", rate[64] = "", eta[48] = "";
    unsigned long long done = e->done, total = e->total;
    double per_s = done > 0 && e->seconds > 0 ? (double)done / e->seconds : 0;
    if (with_bar && total > 0) {
        size_t full = done >= total ? BAR_CELLS : (size_t)((double)done / (double)total * BAR_CELLS);
        bar[0] = '[';
        memset(bar + 1, '.', BAR_CELLS);
        memset(bar + 1, '#', full);
        memcpy(bar + 1 + BAR_CELLS, "] ", 3);
    }
    if (per_s > 0) (void)snprintf(rate, sizeof rate, "  %.*f %s/s", per_s < 100 ? 1 : 0, per_s, e->unit);
    if (per_s > 0 && done < total) {
        memcpy(eta, "  ETA ", 7);
        format_clock(eta + 6, sizeof eta - 6, (double)(total - done) / per_s);
    }
    if (total > 0)
        (void)snprintf(text, size, "%-8s %s%llu/%llu %s%s%s", e->stage, bar, done, total, e->unit, rate, eta);
    else (void)snprintf(text, size, "%-8s %llu %s%s", e->stage, done, e->unit, rate);
}

// ---- with the lock held ----

static void draw(const er_progress_event *e, bool with_bar) {
    char text[320];
    er_terminal_format(text, sizeof text, e, with_bar);
    (void)fprintf(stderr, with_bar ? "\r%s\033[K" : "%s\n", text);
    (void)fflush(stderr);
}

static void hide_bar(void) {
    if (screen.visible) (void)fputs("\r\033[K", stderr);
}

static void show_bar(void) {
    er_progress_event e = screen.event;
    if (!screen.visible) return;
    screen.drawn = er_clock();
    e.seconds += screen.drawn - screen.told;
    draw(&e, true);
}

static void print_end(const er_progress_event *e) {
    char text[320], took[32];
    er_terminal_format(text, sizeof text, e, 0);
    format_clock(took, sizeof took, e->seconds);
    hide_bar();
    (void)fprintf(stderr, "%s  in %s\n", text, took);
    (void)fflush(stderr);
    screen.visible = false;
}

// ---- what the listener is called with ----

static void on_log(void *unused, er_log_level level, const char *line) {
    (void)unused;
    (void)pthread_mutex_lock(&screen.lock);
    hide_bar();
    (void)fprintf(stderr, "%s%s\n", level == ER_LOG_WARN ? "warning: " : "", line);
    show_bar();
    (void)fflush(stderr);
    (void)pthread_mutex_unlock(&screen.lock);
}

static void on_progress(void *unused, const er_progress_event *e) {
    (void)unused;
    if (er_log_get_level() < ER_LOG_INFO) return;
    (void)pthread_mutex_lock(&screen.lock);
    bool terminal = isatty(STDERR_FILENO) == 1;
    if (e->phase == ER_PROGRESS_BEGIN) hide_bar();
    screen.event = *e;
    screen.told = er_clock();
    if (e->phase == ER_PROGRESS_END) {
        print_end(e);
    } else if (e->phase == ER_PROGRESS_BEGIN ||
               screen.told - screen.drawn >= (terminal ? REDRAW_S : LINE_S)) {
        screen.drawn = screen.told;
        screen.visible = terminal;
        draw(e, terminal);
    }
    (void)pthread_mutex_unlock(&screen.lock);
}

static er_listener terminal = {.level = ER_LOG_INFO, .log = on_log, .progress = on_progress};
void er_terminal_listen(void) { er_listener_set_process(&terminal); }
void er_terminal_quiet(void) {
    static er_listener nobody = {.level = ER_LOG_QUIET};
    er_listener_set_process(&nobody);
}
