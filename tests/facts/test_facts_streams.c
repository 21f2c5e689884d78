// Facts from pipes and standard input, and what has no end: read once, within bounds, never for ever.
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>
#include "io/facts.h"
#include "io/facts/facts_internal.h"
#include "io/base/log.h"
#include "io/base/stream.h"
#include "tests/io/scratch.h"

#define GOOD "{\"subject\":\"Ann Lee\",\"prompt\":\"{} lives in\",\"target\":\"Dukas\"}\n"
#define OTHER "{\"subject\":\"Bob Ray\",\"prompt\":\"{} lives in\",\"target\":\"Paha\"}\n"

static double now(void) {
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

typedef struct writer {
    char path[512];
    const char *text;
    size_t times;       // SIZE_MAX: until nobody reads
    unsigned delay_us;  // before the first byte, and between two
} writer;

static void *write_to(void *arg) {
    const writer *w = arg;
    usleep(w->delay_us);
    int fd = open(w->path, O_WRONLY);
    for (size_t i = 0; fd >= 0 && i < w->times; i++) {
        if (write(fd, w->text, strlen(w->text)) < 0) break;
        usleep(w->delay_us);
    }
    if (fd >= 0) (void)close(fd);
    return NULL;
}

static er_status read_piped(er_facts **f, writer *w) {
    pthread_t thread;
    (void)snprintf(w->path, sizeof w->path, "%s", in_scratch("pipe"));
    (void)unlink(w->path);
    assert_int_equal(mkfifo(w->path, 0600), 0);
    assert_int_equal(pthread_create(&thread, NULL, write_to, w), 0);
    er_status rc = er_facts_read(f, w->path, &(er_facts_options){0});
    assert_int_equal(pthread_join(thread, NULL), 0);
    return rc;
}

static void reads_a_named_pipe(void **state) {
    (void)state;
    er_facts *f = NULL, *again = NULL;
    writer at_once = {.text = GOOD OTHER, .times = 1},
           slow = {.text = GOOD OTHER, .times = 3, .delay_us = 300000};
    OK(read_piped(&f, &at_once));
    assert_int_equal(f->count, 2);
    assert_string_equal(f->at[1].subject, "Bob Ray");
    OK(er_facts_read(&again, put_text("same.jsonl", GOOD OTHER), &(er_facts_options){0}));
    assert_string_equal(f->digest, again->digest);
    er_facts_free(f);
    er_facts_free(again);
    OK(read_piped(&f, &slow));  // a writer that comes late, and pauses
    assert_int_equal(f->count, 2);
    assert_int_equal(f->n_duplicates, 4);
    er_facts_free(f);
}

// With standard input put in place of `from`, in a child.
static int read_standard_input(void) {
    er_facts *f = NULL;
    int ends[2];
    if (pipe(ends) != 0 || write(ends[1], GOOD OTHER, strlen(GOOD OTHER)) < 0) return 1;
    (void)close(ends[1]);
    if (dup2(ends[0], STDIN_FILENO) < 0) return 2;
    if (er_facts_read(&f, "-", &(er_facts_options){0}) != ER_OK) return 3;
    if (f->count != 2 || strcmp(f->path, "standard input") != 0) return 4;
    er_facts_free(f);
    int file = open(put_text("in.jsonl", GOOD), O_RDONLY);
    if (dup2(file, STDIN_FILENO) < 0 || er_facts_read(&f, "-", &(er_facts_options){0}) != ER_OK) return 5;
    if (f->count != 1) return 6;
    er_facts_free(f);
    file = open("/dev/zero", O_RDONLY);
    if (dup2(file, STDIN_FILENO) < 0 || er_facts_read(&f, "-", &(er_facts_options){0}) != ER_EFORMAT)
        return 7;
    if (!strstr(er_last_error(), "standard input: is a device")) return 8;
    (void)close(STDIN_FILENO);
    if (er_facts_read(&f, "-", &(er_facts_options){0}) != ER_ENOENT) return 9;
    return strstr(er_last_error(), "standard input: is closed") ? 0 : 10;
}

static void in_a_child(int (*body)(void), int expected) {
    int status = 0;
    (void)fflush(NULL);
    pid_t child = fork();
    if (child == 0) _exit(body());
    assert_true(child > 0 && waitpid(child, &status, 0) == child && WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), expected);
}

static void reads_standard_input(void **state) {
    (void)state;
    in_a_child(read_standard_input, 0);
}

static void refuses_what_has_no_end(void **state) {
    (void)state;
    er_facts *f = NULL;
    FAILS(er_facts_read(&f, "/dev/zero", NULL), ER_EFORMAT, "/dev/zero: is a device, not a file or a pipe");
    FAILS(er_facts_read(&f, "/dev/null", NULL), ER_EFORMAT, "/dev/null: is a device, not a file or a pipe");
    FAILS(er_facts_read(&f, scratch_dir, NULL), ER_EFORMAT, "is a folder");
    FAILS(er_facts_read(&f, in_scratch("none"), NULL), ER_ENOENT, "none: no such file");
    // A stream of records none of which is a fact is not followed to its end: there is none.
    writer senseless = {
        .text = "{\"a\":1}\n{\"a\":1}\n{\"a\":1}\n{\"a\":1}\n{\"a\":1}\n{\"a\":1}\n{\"a\":1}\n",
        .times = SIZE_MAX};
    FAILS(read_piped(&f, &senseless), ER_EFORMAT, "pipe: ");
    writer empty = {.text = "", .times = 0};
    FAILS(read_piped(&f, &empty), ER_EFORMAT, "holds no records");
}

static void more_than_the_limit(void **state) {
    (void)state;
    er_stream *s = NULL;
    char bytes[8];
    size_t got = 0;
    int ends[2];
    char path[32];
    assert_true(pipe(ends) == 0 && write(ends[1], "01234567890123456789", 20) == 20);
    (void)snprintf(path, sizeof path, "/dev/fd/%d", ends[0]);
    OK(er_stream_open(&s, path));
    for (int i = 0; i < 2; i++) {
        OK(er_stream_read(&got, s, bytes, sizeof bytes, 19));
        assert_int_equal(got, 8);
    }
    FAILS(er_stream_read(&got, s, bytes, sizeof bytes, 19), ER_EFORMAT, "more than 19 bytes");
    er_stream_free(s);
    (void)close(ends[0]);
    (void)close(ends[1]);
    er_facts *f = NULL;
    const char *sparse = put_text("sparse", "{\n");
    assert_int_equal(truncate(sparse, ((off_t)4 << 30) + 1), 0);
    FAILS(er_facts_read(&f, sparse, NULL), ER_EFORMAT, "sparse: more than 4294967296 bytes");
}

// Waiting for a writer, for bytes, or reading without end: a signal ends it at once.
static pid_t child_reading(const char *path) {
    (void)fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        er_facts *f = NULL;
        er_signals_install();
        er_status rc = er_facts_read(&f, path, &(er_facts_options){0});
        _exit(er_exit_code(rc));
    }
    return child;
}

static void stops_when_asked(void **state) {
    (void)state;
    for (int way = 0; way < 3; way++) {  // no writer; a writer that is silent; one that never ends
        char path[512];
        int status = 0, writing = -1;
        pid_t feeder = -1;
        (void)snprintf(path, sizeof path, "%s", in_scratch("stopped"));
        (void)unlink(path);
        assert_int_equal(mkfifo(path, 0600), 0);
        pid_t child = child_reading(path);
        if (way == 1) assert_true((writing = open(path, O_WRONLY)) >= 0);
        if (way == 2 && (feeder = fork()) == 0) {
            int fd = open(path, O_WRONLY);
            char zeros[4096] = {0};
            while (write(fd, zeros, sizeof zeros) > 0) {}
            _exit(0);
        }
        usleep(300000);
        double start = now();
        assert_int_equal(kill(child, SIGTERM), 0);
        assert_true(waitpid(child, &status, 0) == child && WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), 75);
        BELOW(now() - start, 2.0);
        if (writing >= 0) (void)close(writing);
        if (feeder > 0) (void)waitpid(feeder, &status, 0);
    }
}

static void a_file_that_changes_is_told(void **state) {
    (void)state;
    er_facts_scan *s = NULL;
    er_facts_record record;
    bool end = false;
    const char *path = put_text("grows.jsonl", GOOD);
    OK(er_facts_scan_open(&s, path));
    OK(er_facts_scan_next(s, &record, &end));
    assert_int_equal(record.line, 1);
    FILE *f = fopen(path, "a");
    assert_true(f && fputs(OTHER, f) >= 0 && fclose(f) == 0);
    er_status rc = ER_OK;
    while (rc == ER_OK && !end) rc = er_facts_scan_next(s, &record, &end);
    assert_int_equal(rc, ER_EIO);
    assert_non_null(strstr(er_last_error(), "it changed while it was read"));
    er_facts_scan_free(s);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(reads_a_named_pipe),
        cmocka_unit_test(reads_standard_input), cmocka_unit_test(refuses_what_has_no_end),
        cmocka_unit_test(more_than_the_limit), cmocka_unit_test(stops_when_asked),
        cmocka_unit_test(a_file_that_changes_is_told)};
    er_log_set_level(ER_LOG_QUIET);
    (void)signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, scratch_make, scratch_remove);
}
