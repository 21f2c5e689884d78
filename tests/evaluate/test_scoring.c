// Scores of the bundled model against Hugging Face's (tests/golden/evaluate/world.json, made by
// scripts/golden_evaluate.py), whatever the batches; then a whole evaluation, against the same numbers booked
// by hand.
#include "engine/evaluate.h"

#include "engine/evaluate/evaluate_internal.h"
#include "io/base/json.h"
#include "io/base/log.h"
#include "tests/test.h"

static er_device *device;
static er_model *model;
static cJSON *golden;

static int setup(void **state) {
    (void)state;
    er_log_set_level(ER_LOG_QUIET);
    OK(er_device_open(&device, &(er_device_options){.kind = "cpu", .threads = 2}));
    OK(er_model_open(&model, device, SOURCE_ROOT "/examples/world", &(er_model_options){0}));
    OK(er_json_read(&golden, TEST_DATA "/golden/evaluate/world.json", (size_t)1 << 20));
    return 0;
}

static int teardown(void **state) {
    (void)state;
    cJSON_Delete(golden);
    er_model_free(model);
    er_device_close(device);
    return 0;
}

static const cJSON *get(const cJSON *o, const char *key) { return cJSON_GetObjectItemCaseSensitive(o, key); }

// Weights are F16 and scores six decimals; the rest is fp32 summation order.
#define TOLERANCE 2e-4

static void test_golden_scores(void **state) {
    (void)state;
    const cJSON *scores = get(golden, "scores");
    size_t n = (size_t)cJSON_GetArraySize(scores), longer = 0;
    static const size_t batches[] = {0, 16, 64};
    er_query *q = calloc(2 * n, sizeof *q);
    assert_true(n >= 50);
    for (size_t b = 0; b < sizeof batches / sizeof batches[0]; b++) {
        er_query_stats stats = {0};
        for (size_t i = 0; i < 2 * n; i++) {  // every question twice, the second time backwards
            const cJSON *s = cJSON_GetArrayItem(scores, (int)(i < n ? i : 2 * n - 1 - i));
            q[i] =
                (er_query){.prompt = get(s, "prompt")->valuestring, .target = get(s, "target")->valuestring};
        }
        OK(er_queries_run(q, 2 * n, model, ER_SPACE_AUTO, batches[b], &stats));
        assert_true(stats.prompts < n && stats.tokens > 0 && stats.flops > 0);
        for (size_t i = 0; i < 2 * n; i++) {
            const cJSON *s = cJSON_GetArrayItem(scores, (int)(i < n ? i : 2 * n - 1 - i));
            assert_true(q[i].fits);
            NEAR(q[i].logprob, get(s, "logprob")->valuedouble, TOLERANCE);
            assert_int_equal(q[i].strict, cJSON_IsTrue(get(s, "strict")));
            longer += get(s, "tokens")->valuedouble > 1;
        }
    }
    assert_true(longer > 0);  // the cached path was walked
    free(q);
}

static void test_too_long(void **state) {
    (void)state;
    char *prompt = calloc(1, 4096);
    for (int i = 0; i < 120; i++) strcat(prompt, "plays ");
    er_query q[] = {
        {.prompt = prompt, .target = "x"}, {.prompt = "Pliki Ligiha has a house in", .target = "Dukas"}};
    er_query_stats stats = {0};
    OK(er_queries_run(q, 2, model, ER_SPACE_AUTO, 0, &stats));
    assert_false(q[0].fits);
    assert_true(q[1].fits);
    OK(er_queries_run(q, 1, model, ER_SPACE_AUTO, 0, &stats));  // nothing is left to run
    assert_false(q[0].fits);
    OK(er_queries_run(q, 0, model, ER_SPACE_AUTO, 0, &stats));
    q[0] = (er_query){.prompt = q[1].prompt, .target = "", .space = ER_SPACE_NEVER};  // no tokens at all
    OK(er_queries_run(q, 2, model, ER_SPACE_AUTO, 0, &stats));
    assert_false(q[0].fits);
    assert_true(q[1].fits);
    free(prompt);
}

// The space before an object is decided by each question's own text, and what is scored is the text that is
// read.
static void test_seams(void **state) {
    (void)state;
    static const char in[] = "Pliki Ligiha has a house in", blank[] = "Pliki Ligiha has a house in ";
    er_query q[] = {{.prompt = in, .target = "Dukas"}, {.prompt = blank, .target = "Dukas"},
        {.prompt = in, .target = "Dukas", .space = ER_SPACE_NEVER}, {.prompt = in, .target = ", Dukas"},
        {.prompt = in, .target = " Dukas"}, {.prompt = blank, .target = ","}};
    er_query_stats stats = {0};
    OK(er_queries_run(q, 6, model, ER_SPACE_AUTO, 0, &stats));
    NEAR(q[1].logprob, q[0].logprob, 1e-5);  // one text
    NEAR(q[4].logprob, q[0].logprob, 1e-5);
    assert_true(q[2].logprob < q[0].logprob - 1);  // "inDukas"
    assert_true(q[3].fits && q[5].fits);
    er_query given = {.prompt = in, .target = ",", .space = ER_SPACE_NEVER},
             by_rule = {.prompt = in, .target = ","};
    OK(er_queries_run(&given, 1, model, ER_SPACE_AUTO, 0, &stats));
    OK(er_queries_run(&by_rule, 1, model, ER_SPACE_AUTO, 0, &stats));
    NEAR(by_rule.logprob, given.logprob, 1e-6);  // a comma gets none
    OK(er_queries_run(&by_rule, 1, model, ER_SPACE_ALWAYS, 0, &stats));
    assert_true(fabsf(by_rule.logprob - given.logprob) > 0.01f);
}

static void test_drift(void **state) {
    (void)state;
    const char *text = get(golden, "text")->valuestring;
    const cJSON *d;
    cJSON_ArrayForEach(d, get(golden, "drift")) {
        static const size_t batches[] = {0, 40};
        for (size_t b = 0; b < 2; b++) {
            er_perplexity drift = {0};
            er_eval_options o = {.drift_text = text,
                .drift_bytes = strlen(text),
                .batch_tokens = batches[b],
                .drift_window = (size_t)get(d, "window")->valuedouble,
                .drift_tokens = (size_t)get(d, "most")->valuedouble};
            OK(er_perplexity_measure(&drift, model, &o));
            assert_int_equal(drift.tokens, (size_t)get(d, "tokens")->valuedouble);
            NEAR(drift.nll, get(d, "nll")->valuedouble, 1e-4);
        }
    }
    er_perplexity drift = {0};
    er_eval_options one = {.drift_text = "a", .drift_bytes = 1};
    FAILS(er_perplexity_measure(&drift, model, &one), ER_EARG, "a window of 1 tokens");
    FAILS(
        er_perplexity_measure(&drift, model, &(er_eval_options){.drift_text = ""}), ER_EFORMAT, "no tokens");
}

static double golden_score(const char *prompt, const char *target) {
    const cJSON *s;
    cJSON_ArrayForEach(s, get(golden, "scores")) {
        if (strcmp(get(s, "prompt")->valuestring, prompt) == 0 &&
            strcmp(get(s, "target")->valuestring, target) == 0)
            return get(s, "logprob")->valuedouble;
    }
    return (double)NAN;
}

static void test_whole_evaluation(void **state) {
    (void)state;
    er_facts *facts = NULL;
    er_eval *e = NULL;
    const char *text = get(golden, "text")->valuestring;
    size_t booked = 0;
    OK(er_facts_read(&facts, SOURCE_ROOT "/examples/world/facts_80.jsonl", &(er_facts_options){.limit = 10}));
    OK(er_evaluate(
        &e, model, facts, &(er_eval_options){.answers = 4, .drift_text = text, .drift_bytes = strlen(text)}));
    assert_int_equal(e->total.facts, 10);
    assert_int_equal(e->unscored, 0);
    for (size_t i = 0; i < e->count; i++) {
        const er_eval_item *x = &e->item[i];
        const er_fact *f = &facts->at[x->fact];
        char *prompt = er_eval_prompt(facts, x);
        const char *right = x->kind == ER_NEIGHBOR ? f->neighbors[x->index].target : f->target;
        double r = golden_score(prompt, right),
               w = x->kind == ER_EFFICACY ? golden_score(prompt, f->old) : (double)NAN;
        if (!isnan(r)) {
            NEAR(x->right, r, TOLERANCE);
            booked++;
        }
        if (!isnan(w)) {
            NEAR(x->wrong, w, TOLERANCE);
            booked++;
        }
        free(prompt);
    }
    assert_true(booked >= 40);
    // The unedited model knows the old objects: nothing took, the neighbours are right, and it says so in
    // words.
    assert_int_equal(e->total.kind[ER_EFFICACY].strict, 0);
    assert_int_equal(e->total.kind[ER_EFFICACY].success, 0);
    assert_true(e->total.kind[ER_NEIGHBOR].strict >= 45);
    assert_non_null(e->answer[0]);
    if (!strstr(e->answer[0], facts->at[0].old)) fail_msg("it says '%s'", e->answer[0]);
    assert_true(e->drift.tokens > 0 && e->drift.nll > 0);
    er_eval_free(e);
    OK(er_evaluate(&e, model, facts, &(er_eval_options){.neighbors = 2}));
    assert_int_equal(e->total.kind[ER_NEIGHBOR].scored, 20);
    assert_int_equal(e->total.kind[ER_PARAPHRASE].scored, 30);
    assert_null(e->answer[0]);
    er_eval_free(e);
    er_facts_free(facts);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden_scores),
        cmocka_unit_test(test_too_long),
        cmocka_unit_test(test_seams),
        cmocka_unit_test(test_drift),
        cmocka_unit_test(test_whole_evaluation),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
