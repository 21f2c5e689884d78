// The public functions as a host meets them: options of older and newer programs, contexts, silence, and what
// a call gives back.
#include "engine/errata.h"

#include <fcntl.h>
#include <locale.h>
#include <omp.h>
#include <unistd.h>

#include "tests/io/scratch.h"

#define MODEL TEST_DATA "/golden/memit/gpt2/model"
#define FACTS TEST_DATA "/golden/memit/gpt2/facts.jsonl"
#define PROSE SOURCE_ROOT "/examples/prose.txt"

static const char *const prose[] = {PROSE};

static er_edit_options job(const char *out) {
    er_edit_options o = ER_EDIT_OPTIONS_INIT;
    o.model = MODEL, o.facts = FACTS, o.out = out;
    o.texts = prose, o.n_texts = 1, o.statistics_tokens = 2000;
    o.steps = 4, o.threads = 1, o.device = "cpu", o.cache = "";
    return o;
}

// ---- versions of the options ----

// A program that knew errata.h when its options ended behind `limit`; what follows in its memory is its own.
static void an_older_program(void **state) {
    (void)state;
    struct {
        uint64_t size;
        const char *model, *facts, *out;
        uint64_t flags, limit;
        unsigned char own[256];
    } old = {.size = 48, .model = MODEL, .facts = FACTS, .limit = 3};
    er_check_report *r = NULL;
    memset(old.own, 0xa5, sizeof old.own);
    OK(er_check(&r, NULL, (const er_edit_options *)(const void *)&old));
    assert_int_equal(r->facts, 3);
    er_check_report_free(r);
}

static void a_newer_program(void **state) {
    (void)state;
    struct {
        er_edit_options known;
        uint64_t unknown[2];
    } newer = {.known = job(NULL)};
    const er_edit_options *o = (const er_edit_options *)(const void *)&newer;
    er_check_report *r = NULL;
    newer.known.size = sizeof newer;
    OK(er_check(&r, NULL, o));
    er_check_report_free(r);
    newer.unknown[1] = 1;
    FAILS(er_check(&r, NULL, o), ER_EUNSUPPORTED, "too old to know (byte 208 of 216)");
}

static void misuse(void **state) {
    (void)state;
    er_edit_options none = {0}, o = job(NULL);
    er_check_report *r = NULL;
    er_edit_report *e = NULL;
    char *answer = NULL;
    er_ask_options a = ER_ASK_OPTIONS_INIT;
    FAILS(er_check(&r, NULL, &none), ER_EARG, "options of 0 bytes: they begin as ER_EDIT_OPTIONS_INIT");
    FAILS(er_check(&r, NULL, NULL), ER_EARG, "no options");
    FAILS(er_check(NULL, NULL, &o), ER_EARG, "nowhere to put");
    FAILS(er_edit(&e, NULL, &o), ER_EARG, "out is not set");
    o.flags = 1u << 20;
    FAILS(er_check(&r, NULL, &o), ER_EARG, "flags 0x100000: no such flag");
    o = job(NULL), o.size = 44;
    FAILS(er_check(&r, NULL, &o), ER_EARG, "options of 44 bytes");
    o = job(NULL), o.precision = "fp8";
    FAILS(er_check(&r, NULL, &o), ER_EARG, "precision 'fp8'");
    o = job(NULL), o.model = NULL;
    FAILS(er_check(&r, NULL, &o), ER_EARG, "model is not set");
    o = job(NULL), o.model = "/nowhere";
    FAILS(er_check(&r, NULL, &o), ER_ENOENT, "/nowhere");
    o = job(NULL), o.lambda = -1;
    FAILS(er_check(&r, NULL, &o), ER_EARG, "lambda -1");
    a.model = MODEL;
    FAILS(er_ask(&answer, NULL, &a), ER_EARG, "no prompts");
    assert_null(r);
    assert_null(e);
    assert_null(answer);
    er_check_report_free(NULL);
    er_edit_report_free(NULL);
    er_context_free(NULL);
    er_context_stop(NULL);
    er_text_free(NULL);
    assert_int_equal(er_exit_code(ER_ENOENT), 66);
    assert_string_equal(er_version(), ERRATA_VERSION);
}

// ---- what a host hears ----

typedef struct host {
    er_context *context;
    size_t lines, warnings, debug, begun, ended;
    er_status nested;
    char nested_error[256];
} host;

static void on_log(void *user, er_log_level level, const char *line) {
    host *h = user;
    h->lines++;
    h->warnings += level == ER_LOG_WARN;
    h->debug += level == ER_LOG_DEBUG;
    assert_null(strchr(line, '\n'));
    if (h->lines > 1) return;
    er_check_report *r = NULL;
    er_edit_options o = job(NULL);
    h->nested = er_check(&r, h->context, &o);  // in use
    (void)snprintf(h->nested_error, sizeof h->nested_error, "%s", er_last_error());
    if (h->nested == ER_EARG)
        h->nested = er_check(&r, NULL, &o);  // one without a context may run inside another
    er_check_report_free(r);
}

static void on_progress(void *user, const er_progress_event *e) {
    host *h = user;
    h->begun += e->phase == ER_PROGRESS_BEGIN;
    h->ended += e->phase == ER_PROGRESS_END;
    if (e->phase == ER_PROGRESS_END && !strcmp(e->stage, "values")) {
        assert_int_equal(e->done, 8);
        assert_int_equal(e->total, 8);
        assert_string_equal(e->unit, "facts");
    }
}

static void callbacks(void **state) {
    (void)state;
    host h = {.nested = ER_EIO};
    er_edit_report *r = NULL;
    er_edit_options o = job(in_scratch("heard"));
    OK(er_context_new(&h.context));
    er_context_on_log(h.context, ER_LOG_INFO, on_log, &h);
    er_context_on_progress(h.context, on_progress, &h);
    OK(er_edit(&r, h.context, &o));
    assert_int_equal(r->facts, 8);
    assert_int_equal(r->subjects, 8);
    assert_true(r->residual_left > 0 && r->residual_left < 0.5);
    assert_true(strncmp(r->device, "cpu: ", 5) == 0);
    assert_non_null(strstr(r->manifest, "\"output_sha256\""));
    er_edit_report_free(r);
    assert_true(h.lines > 6 && !h.debug);
    assert_int_equal(h.begun, 3);  // covary, values, solve
    assert_int_equal(h.ended, 3);
    assert_int_equal(h.nested, ER_OK);
    assert_string_equal(h.nested_error, "the context serves another call");
    size_t before = h.lines;
    er_context_on_log(h.context, ER_LOG_WARN, on_log, &h);
    o.flags = ER_FORCE;
    OK(er_edit(&r, h.context, &o));
    er_edit_report_free(r);
    assert_int_equal(h.lines - before, h.warnings);
    assert_int_equal(h.begun, 6);  // progress is no matter of the level
    er_context_free(h.context);
}

// Stderr and stdout in a file while `o` is done with a context that hears nothing, and with none.
static void silence(void **state) {
    (void)state;
    er_context *c = NULL;
    er_edit_report *r = NULL;
    er_edit_options o = job(in_scratch("silent"));
    const char *path = put_text("said", "");
    o.flags = ER_FORCE, o.statistics_tokens = 300;  // few enough to be warned of
    OK(er_context_new(&c));
    (void)fflush(NULL);
    int file = open(path, O_WRONLY), out = dup(1), err = dup(2);
    (void)dup2(file, 1), (void)dup2(file, 2);
    er_status with = er_edit(&r, c, &o);
    bool warned = with == ER_OK && strstr(r->manifest, "few tokens make their statistics rough");
    er_edit_report_free(r);
    r = NULL;
    er_status without = er_edit(&r, NULL, &o);
    er_edit_report_free(r);
    (void)fflush(NULL);
    (void)dup2(out, 1), (void)dup2(err, 2);
    close(file), close(out), close(err);
    OK(with);
    OK(without);
    assert_true(warned);  // the manifest keeps what nobody heard
    file_holds(path, "", 0);
    er_context_free(c);
}

static void stopped_before_it_began(void **state) {
    (void)state;
    er_context *c = NULL;
    er_edit_report *r = NULL;
    er_edit_options o = job(in_scratch("stopped"));
    OK(er_context_new(&c));
    er_context_stop(c);
    FAILS(er_edit(&r, c, &o), ER_EINTERRUPTED, "interrupted in ");
    assert_int_equal(count_entries(o.out), -1);
    er_context_resume(c);
    OK(er_edit(&r, c, &o));
    er_edit_report_free(r);
    er_context_free(c);
}

// ---- what a host gets back ----

static void settings_of_the_host(void **state) {
    (void)state;
    er_edit_report *r = NULL;
    er_edit_options o = job(in_scratch("settings"));
    const char *path = put_text("settings.json", "{\"clamp_norm_factor\": 0.75}");
    // A decimal comma, where there is a locale that has one.
    static const char *const commas[] = {"de_DE.UTF-8", "fr_FR.UTF-8", "de_DE", "fr_FR"};
    for (size_t i = 0; i < 4 && !setlocale(LC_NUMERIC, commas[i]); i++) continue;
    locale_t own = uselocale((locale_t)0);
    omp_set_num_threads(3);
    omp_set_dynamic(1);
    o.hparams = path, o.lambda = 2.5;
    OK(er_edit(&r, NULL, &o));
    assert_non_null(strstr(r->manifest, "\"clamp_norm_factor\":\t0.75"));
    assert_non_null(strstr(r->manifest, "\"mom2_update_weight\":\t2.5"));
    er_edit_report_free(r);
    assert_int_equal(omp_get_max_threads(), 3);
    assert_int_equal(omp_get_dynamic(), 1);
    assert_ptr_equal(uselocale((locale_t)0), own);
    omp_set_dynamic(0);
    (void)setlocale(LC_NUMERIC, "C");
}

static void answers(void **state) {
    (void)state;
    static const char *const prompts[] = {"Orlan Tevik was born in", "Selmarin"};
    er_ask_options a = ER_ASK_OPTIONS_INIT;
    char *one[2] = {NULL}, *again[2] = {NULL};
    a.model = MODEL, a.prompts = prompts, a.n_prompts = 2, a.max_tokens = 5, a.threads = 1, a.device = "cpu";
    OK(er_ask(one, NULL, &a));
    OK(er_ask(again, NULL, &a));
    for (int i = 0; i < 2; i++) {
        assert_string_equal(one[i], again[i]);
        er_text_free(one[i]);
        er_text_free(again[i]);
    }
    a.top_p = 2;
    FAILS(er_ask(one, NULL, &a), ER_EARG, "top_p 2");
}

static void scores(void **state) {
    (void)state;
    er_edit_report *r = NULL;
    er_edit_options o = job(in_scratch("scored"));
    er_eval_options e = ER_EVAL_OPTIONS_INIT;
    char *metrics = NULL, *file = NULL;
    size_t n = 0;
    o.steps = 25;
    OK(er_edit(&r, NULL, &o));
    er_edit_report_free(r);
    e.model = o.out, e.facts = FACTS, e.base = MODEL, e.out = in_scratch("report"), e.text = PROSE;
    e.text_tokens = 300, e.threads = 1, e.device = "cpu", e.flags = ER_DETAILS;
    OK(er_eval(&metrics, NULL, &e));
    OK(er_file_read(&file, &n, in_scratch("report/metrics.json"), 1 << 24));
    assert_string_equal(file, metrics);
    assert_non_null(strstr(metrics, "\"items\""));
    assert_true(er_file_exists(in_scratch("report/report.html")));
    free(file);
    er_text_free(metrics);
    e.flags = ER_FORCE;
    FAILS(er_eval(&metrics, NULL, &e), ER_EARG, "no such flag of er_eval");
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(an_older_program), cmocka_unit_test(a_newer_program),
        cmocka_unit_test(misuse), cmocka_unit_test(callbacks), cmocka_unit_test(silence),
        cmocka_unit_test(stopped_before_it_began), cmocka_unit_test(settings_of_the_host),
        cmocka_unit_test(answers), cmocka_unit_test(scores)};
    return cmocka_run_group_tests(tests, scratch_make, scratch_remove);
}
