// A model that is swapped, rewritten, cut or grown while a job runs: an error that names the file, and no
// output.
#include <fcntl.h>
#include <signal.h>
#include "engine/job/job.h"
#include "io/base/file.h"
#include "io/base/log.h"
#include "tests/io/scratch.h"

#define MODEL SOURCE_ROOT "/examples/world"

static char facts_path[512], cache[512], model[512], target[1024], spare[512];
static void (*change)(void);

// ERRATA_DEBUG_SIGNAL raises SIGUSR2 as a stage begins: the moment to change the model.
static void on_stop(int sig) {
    (void)sig;
    if (change) change();
}

static void copy_file(const char *to, const char *from) {
    char *bytes = NULL;
    size_t n = 0;
    OK(er_file_read(&bytes, &n, from, 1 << 26));
    FILE *f = fopen(to, "wb");
    assert_true(f && fwrite(bytes, 1, n, f) == n && fclose(f) == 0);
    free(bytes);
}

static void fresh_model(void) {
    static const char *const files[] = {"config.json", "tokenizer.json", "model.safetensors"};
    OK(er_remove_tree(model));
    OK(er_mkdirs(model));
    for (int i = 0; i < 3; i++) {
        char from[512], to[1024];
        (void)snprintf(from, sizeof from, MODEL "/%s", files[i]);
        (void)snprintf(to, sizeof to, "%s/%s", model, files[i]);
        copy_file(to, from);
    }
}

static er_status edit(const char *stage, const char *file, void (*how)(void)) {
    er_job_report *r = NULL;
    er_job_options o = ER_JOB_OPTIONS_DEFAULT;
    char out[512];
    (void)snprintf(out, sizeof out, "%s", in_scratch("out"));
    o.model = model, o.facts = facts_path, o.out = out, o.cache = cache;
    o.layers = "0-1", o.steps = 2, o.cov_tokens = 4000, o.device.threads = 1;
    fresh_model();
    (void)snprintf(target, sizeof target, "%s/%s", model, file);
    change = how;
    assert_int_equal(setenv("ERRATA_DEBUG_SIGNAL", stage, 1), 0);
    er_status rc = er_job_edit(&r, &o);
    er_job_report_free(r);
    return rc;
}

// ---- what happens to the file ----

// Another model of the same shape, as a download puts it there.
static void rename_over(void) {
    copy_file(spare, target);
    int fd = open(spare, O_WRONLY);
    (void)!pwrite(fd, "\1\2\3\4", 4, 4000000);
    (void)close(fd);
    (void)rename(spare, target);
}
static void replace_small(void) {
    copy_file(spare, target);
    (void)rename(spare, target);
}
// In place, the size and all times that can be set as before.
static void rewrite(void) {
    struct stat st;
    int fd = open(target, O_RDWR);
    (void)fstat(fd, &st);
    (void)!pwrite(fd, "\1\2\3\4", 4, 4000000);
    const struct timespec times[2] = {st.st_atim, st.st_mtim};
    (void)futimens(fd, times);
    (void)close(fd);
}
static void rewrite_with_its_time(void) {
    rewrite();
    const struct timespec times[2] = {{.tv_sec = 1}, {.tv_sec = 1}};
    (void)utimensat(AT_FDCWD, target, times, 0);
}
static void cut(void) { (void)!truncate(target, 1000); }
static void grow(void) {
    int fd = open(target, O_WRONLY | O_APPEND);
    (void)!write(fd, "    ", 4);
    (void)close(fd);
}
static void vanish(void) { (void)unlink(target); }
static void appear(void) { copy_file(target, facts_path); }
static void touch_nothing(void) {}

static void model_changes(void **state) {
    (void)state;
    static const struct {
        const char *stage, *file;
        void (*how)(void);
        const char *words;
    } cases[] = {
        {"covary", "model.safetensors", rename_over, "another file stands in its place"},
        {"values", "model.safetensors", rename_over, "another file stands in its place"},
        {"solve", "model.safetensors", rename_over, "another file stands in its place"},
        {"write", "model.safetensors", rename_over, "another file stands in its place"},
        {"write", "model.safetensors", rewrite, "is not what it was"},
        {"write", "model.safetensors", rewrite_with_its_time, "was written to after it was opened"},
        {"values", "model.safetensors", cut, "has 1000 bytes, had"},
        {"write", "model.safetensors", cut, "has 1000 bytes, had"},
        {"write", "model.safetensors", grow, "when it was opened"},
        {"write", "model.safetensors", vanish, "is gone"},
        {"write", "config.json", replace_small, "another file stands in its place"},
        {"write", "config.json", grow, "when it was opened"},
        {"write", "tokenizer.json", replace_small, "another file stands in its place"},
        {"values", "tokenizer.json", vanish, "is gone"},
        {"write", "tokenizer_config.json", appear, "was not there before"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        FAILS(edit(cases[i].stage, cases[i].file, cases[i].how), ER_EIO, cases[i].words);
        assert_non_null(strstr(er_last_error(), cases[i].file));
        assert_non_null(strstr(er_last_error(), "the model changed during the job"));
        assert_int_equal(er_exit_code(ER_EIO), 74);
        assert_int_equal(count_entries(in_scratch("out")), -1);
    }
}

// What no part of the job rests on may come and go.
static void other_files_may_change(void **state) {
    (void)state;
    OK(edit("write", "README.md", appear));
    OK(er_remove_tree(in_scratch("out")));
    OK(edit("write", "nothing", touch_nothing));
    char want[65], hex[65];
    OK(er_file_digest(want, in_scratch("out/model.safetensors")));
    OK(er_remove_tree(in_scratch("out")));
    // A job that was refused has left no value in the cache that another one would find.
    OK(edit("write", "nothing", touch_nothing));
    OK(er_file_digest(hex, in_scratch("out/model.safetensors")));
    assert_string_equal(hex, want);
}

static int setup(void **state) {
    char *all = NULL;
    size_t n = 0;
    if (scratch_make(state) != 0) return -1;
    OK(er_file_read(&all, &n, MODEL "/facts_80.jsonl", 1 << 24));
    strchr(strchr(all, '\n') + 1, '\n')[1] = 0;
    (void)snprintf(facts_path, sizeof facts_path, "%s", put_text("facts.jsonl", all));
    free(all);
    (void)snprintf(cache, sizeof cache, "%s", in_scratch("cache"));
    (void)snprintf(model, sizeof model, "%s", in_scratch("model"));
    (void)snprintf(spare, sizeof spare, "%s", in_scratch("spare"));
    (void)signal(SIGUSR2, on_stop);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(model_changes), cmocka_unit_test(other_files_may_change)};
    er_log_set_level(ER_LOG_QUIET);
    return cmocka_run_group_tests(tests, setup, scratch_remove);
}
