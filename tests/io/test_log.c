// What reaches stderr, in children whose stderr is a file or a pseudo-terminal.
#include "tests/io/scratch.h"

#include <fcntl.h>
#include <sys/wait.h>
#include "io/base/log.h"
#include "io/base/log_internal.h"

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

static void bar_text(void **state) {
    (void)state;
    char text[320];
    er_progress_format(text, sizeof text, "values", 512, 1000, 0, 41.6, "facts", "loss 0.31", 1);
    assert_string_equal(text, "values   [####################....................] 512/1000 facts  12.3 "
                              "facts/s  ETA 0:00:40  loss 0.31");
    // 100 were there before: the rate is that of 100 in 10 s.
    er_progress_format(text, sizeof text, "values", 200, 1000, 100, 10.0, "facts", "", 0);
    assert_string_equal(text, "values   200/1000 facts  10.0 facts/s  ETA 0:01:20");
    er_progress_format(text, sizeof text, "covary", 0, 1000, 0, 5.0, "tokens", "", 0);
    assert_string_equal(text, "covary   0/1000 tokens");
    er_progress_format(text, sizeof text, "covary", 90000, 0, 0, 9.0, "tokens", "", 1);
    assert_string_equal(text, "covary   90000 tokens  10000 tokens/s");
    er_progress_format(text, sizeof text, "solve", 5, 5, 0, 7200.0, "layers", "", 1);
    assert_string_equal(text, "solve    [########################################] 5/5 layers  0.0 layers/s");
    er_progress_format(text, sizeof text, "solve", 1, 3, 0, 7200.0, "layers", "", 0);
    assert_string_equal(text, "solve    1/3 layers  0.0 layers/s  ETA 4:00:00");
    er_progress_format(text, 12, "a long stage", 5, 5, 0, 1, "layers", "a note", 1);
    assert_int_equal(strlen(text), 11);
}

static void a_stage(void) {
    er_progress *p = er_progress_begin("values", 300, "facts");
    for (size_t i = 1; i <= 300; i++) {
        er_progress_update(p, i, i == 300 ? "done" : NULL);
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
    assert_true(strncmp(line, "values   300/300 facts  ", 24) == 0 && strstr(line, "  done  in 0:00:00"));
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
        for (size_t i = 1; i <= 50; i++) usleep(10000), er_progress_update(p, i, NULL);
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

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(levels),
        cmocka_unit_test(bar_text),
        cmocka_unit_test(lines_when_not_a_terminal),
        cmocka_unit_test(bar_on_a_terminal),
    };
    return cmocka_run_group_tests(tests, scratch_make, scratch_remove);
}
