// What reaches stderr, in children whose stderr is a file or a pseudo-terminal.
#include "tests/io/scratch.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/wait.h>
#include "engine/cli/terminal.h"
#include "io/base/listener.h"
#include "io/base/os.h"

// Runs `body` in a child with stderr going to a file; its text (caller frees) and exit status.
static char *stderr_of(void (*body)(void), int *status) {
    const char *path = in_scratch("stderr");
    char *text = NULL;
    size_t n = 0;
    (void)fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
        dup2(fd, 2);
        body();
        (void)fflush(NULL);
        _exit(0);
    }
    assert_true(child > 0 && waitpid(child, status, 0) == child);
    OK(er_file_read(&text, &n, path, 1 << 20));
    return text;
}

static void say_everything(void) {
    er_warn("w %d", 1);
    er_info("i");
    er_debug("d");
}
static void quiet(void) { er_log_set_level(ER_LOG_QUIET), say_everything(); }
static void warn(void) { er_log_set_level(ER_LOG_WARN), say_everything(); }
static void debug(void) { er_log_set_level(ER_LOG_DEBUG), say_everything(); }

static void levels(void **state) {
    (void)state;
    static const struct {
        void (*body)(void);
        const char *text;
    } cases[] = {{quiet, ""}, {warn, "warning: w 1\n"}, {say_everything, "warning: w 1\ni\n"},
        {debug, "warning: w 1\ni\nd\n"}};
    for (size_t i = 0; i < 4; i++) {
        int status = 0;
        char *text = stderr_of(cases[i].body, &status);
        assert_string_equal(text, cases[i].text);
        free(text);
    }
}

static void bar_is(const char *text, er_progress_event e, int with_bar) {
    char made[320];
    er_terminal_format(made, sizeof made, &e, with_bar);
    assert_string_equal(made, text);
}

static void bar_text(void **state) {
    (void)state;
    char text[320];
    er_progress_event values = {.stage = "values",
                          .unit = "facts",
                          .done = 512,
                          .total = 1000,
                          .seconds = 41.6},
                      covary = {.stage = "covary", .unit = "tokens", .total = 1000, .seconds = 5},
                      solve = {.stage = "solve", .unit = "layers", .done = 5, .total = 5, .seconds = 7200};
    bar_is("values   [####################....................] 512/1000 facts  12.3 facts/s  ETA 0:00:40",
        values, 1);
    values.done = 200, values.seconds = 20;
    bar_is("values   200/1000 facts  10.0 facts/s  ETA 0:01:20", values, 0);
    bar_is("covary   0/1000 tokens", covary, 0);
    covary.done = 90000, covary.total = 0, covary.seconds = 9;
    bar_is("covary   90000 tokens  10000 tokens/s", covary, 1);
    bar_is("solve    [########################################] 5/5 layers  0.0 layers/s", solve, 1);
    solve.done = 1, solve.total = 3;
    bar_is("solve    1/3 layers  0.0 layers/s  ETA 4:00:00", solve, 0);
    er_terminal_format(text, 12, &solve, 0);
    assert_int_equal(strlen(text), 11);
}

static void a_stage(void) {
    er_progress *p = er_progress_begin("values", 300, "facts");
    for (size_t i = 1; i <= 300; i++) {
        er_progress_update(p, i);
        if (i == 150) er_info("half");
    }
    er_progress_end(p);
}
static void a_quiet_stage(void) { er_log_set_level(ER_LOG_QUIET), a_stage(); }

static void lines_when_not_a_terminal(void **state) {
    (void)state;
    int status = 0;
    char *text = stderr_of(a_stage, &status), *line = strtok(text, "\n");
    assert_string_equal(line, "values   0/300 facts");
    assert_string_equal(strtok(NULL, "\n"), "half");
    line = strtok(NULL, "\n");
    assert_true(strncmp(line, "values   300/300 facts  ", 24) == 0 && strstr(line, "facts/s  in 0:00:00"));
    assert_null(strtok(NULL, "\n"));
    free(text);
    text = stderr_of(a_quiet_stage, &status);
    assert_string_equal(text, "");
    free(text);
}

static void bar_on_a_terminal(void **state) {
    (void)state;
    char text[8192] = "";
    size_t n = 0;
    int master = posix_openpt(O_RDWR | O_NOCTTY), redraws = 0;
    if (master < 0 || grantpt(master) != 0 || unlockpt(master) != 0) skip();
    int slave = open(ptsname(master), O_RDWR | O_NOCTTY);
    assert_true(slave >= 0);
    (void)fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        dup2(slave, 2);
        er_progress *p = er_progress_begin("values", 50, "facts");
        for (size_t i = 1; i <= 50; i++) usleep(10000), er_progress_update(p, i);
        er_progress_end(p);
        _exit(0);
    }
    close(slave);
    for (ssize_t got; n + 1 < sizeof text && (got = read(master, text + n, sizeof text - 1 - n)) > 0;)
        n += (size_t)got;
    waitpid(child, NULL, 0);
    close(master);
    for (const char *p = text; (p = strstr(p, "\rvalues")); p++) redraws++;
    // 50 updates in at least half a second: a first draw and one each sixth of a second, never one per
    // update.
    assert_true(redraws >= 3 && redraws < 25);
    assert_non_null(strstr(text, "] "));
    assert_non_null(strstr(text, "values   50/50 facts"));
}

// ---- listeners ----

typedef struct heard {
    char lines[256];
    er_progress_event events[8];
    size_t n;
} heard;

static void hear_line(void *user, er_log_level level, const char *line) {
    heard *h = user;
    size_t used = strlen(h->lines);
    (void)snprintf(h->lines + used, sizeof h->lines - used, "%d:%s|", (int)level, line);
}

static void hear_progress(void *user, const er_progress_event *e) {
    heard *h = user;
    if (h->n < 8) h->events[h->n] = *e;
    h->n++;
}

static void *speak(void *name) {
    heard h = {0};
    er_listener l = {.level = ER_LOG_INFO,
        .log = hear_line,
        .log_user = &h,
        .progress = hear_progress,
        .progress_user = &h};
    assert_null(er_listener_set(&l));
    er_warn("%s warns", (const char *)name);
    er_debug("not this");
    er_info("%300s", "long");
    er_progress *p = er_progress_begin("values", 2, "facts");
    er_progress_update(p, 1);
    er_progress_end(p);
    atomic_store(&l.stop, 1);
    bool stopped = er_stop_requested();
    assert_ptr_equal(er_listener_set(NULL), &l);
    char *wanted = er_format("1:%s warns|2:", (const char *)name);
    bool right = stopped && !er_stop_requested() && strncmp(h.lines, wanted, strlen(wanted)) == 0 &&
                 strlen(h.lines) == sizeof h.lines - 1 && h.n == 3 &&
                 h.events[0].phase == ER_PROGRESS_BEGIN && h.events[1].phase == ER_PROGRESS_UPDATE &&
                 h.events[1].done == 1 && h.events[1].total == 2 && h.events[2].phase == ER_PROGRESS_END &&
                 h.events[2].done == 1 && !strcmp(h.events[2].unit, "facts");
    free(wanted);
    return right ? name : NULL;
}

static void each_thread_has_its_own(void **state) {
    (void)state;
    pthread_t t[2];
    char *names[] = {"one", "two"};
    for (int i = 0; i < 2; i++) assert_int_equal(pthread_create(&t[i], NULL, speak, names[i]), 0);
    for (int i = 0; i < 2; i++) {
        void *said = NULL;
        assert_int_equal(pthread_join(t[i], &said), 0);
        assert_ptr_equal(said, names[i]);
    }
}

static void nobody_listens(void) {
    er_listener none = {.level = ER_LOG_DEBUG};
    (void)er_listener_set(&none);
    say_everything();
    a_stage();
}

static void silence_without_callbacks(void **state) {
    (void)state;
    int status = 0;
    char *text = stderr_of(nobody_listens, &status);
    assert_string_equal(text, "");
    free(text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_thread_has_its_own),
        cmocka_unit_test(silence_without_callbacks),
        cmocka_unit_test(levels),
        cmocka_unit_test(bar_text),
        cmocka_unit_test(lines_when_not_a_terminal),
        cmocka_unit_test(bar_on_a_terminal),
    };
    er_terminal_listen();
    return cmocka_run_group_tests(tests, scratch_make, scratch_remove);
}
