// Rates, score, relations, kept neighbours, table and metrics.json of results made by hand, against numbers
// worked out by hand.
#include "tests/evaluate/synthetic.h"

static const char facts_text[] =
    "{\"id\":\"a\",\"subject\":\"Orla\",\"prompt\":\"{} "
    "speaks\",\"target\":\"Quellish\",\"old\":\"Marran\",\"relation\":\"tongue\","
    "\"paraphrases\":[\"Orla's tongue is\",\"At home Orla speaks\"],\"neighbors\":[{\"prompt\":\"Tam "
    "speaks\",\"target\":\"Marran\"},"
    "{\"prompt\":\"Una speaks\",\"target\":\"Marran\"}]}\n"
    "{\"id\":\"b\",\"subject\":\"Brell\",\"prompt\":\"{} "
    "speaks\",\"target\":\"Quellish\",\"old\":\"Marran\",\"relation\":\"tongue\"}\n"
    "{\"id\":\"c\",\"subject\":\"Dorn\",\"prompt\":\"{} lies in\",\"target\":\"Quell\",\"neighbors\":[\"Tarn "
    "lies in\"]}\n"
    "not json\n";

#define NO (float)NAN
static const synthetic_item before_items[] = {
    {ER_EFFICACY, 0, 0, -5, -1, false},
    {ER_PARAPHRASE, 0, 0, -4, -2, false},
    {ER_PARAPHRASE, 0, 1, -1, -2, false},
    {ER_NEIGHBOR, 0, 0, -1, -5, true},
    {ER_NEIGHBOR, 0, 1, -1, -3, true},
    {ER_EFFICACY, 1, 0, -6, -1, false},
    {ER_EFFICACY, 2, 0, -9, NO, false},
    {ER_NEIGHBOR, 2, 0, NO, NO, false},
};
static const synthetic_item after_items[] = {
    {ER_EFFICACY, 0, 0, -0.5f, -6, true},
    {ER_PARAPHRASE, 0, 0, -1, -4, true},
    {ER_PARAPHRASE, 0, 1, -3, -2, false},
    {ER_NEIGHBOR, 0, 0, -1, -2, true},
    {ER_NEIGHBOR, 0, 1, -4, -3, false},
    {ER_EFFICACY, 1, 0, -1, -1, false},
    {ER_EFFICACY, 2, 0, -1, NO, true},
    {ER_NEIGHBOR, 2, 0, NO, NO, false},
};
enum { N = sizeof after_items / sizeof after_items[0] };

static void test_rates(void **state) {
    (void)state;
    er_facts *f = synthetic_facts(facts_text);
    er_eval *e = synthetic_eval(f, "edited", after_items, N);
    const er_rate *k = e->total.kind;
    assert_int_equal(e->total.facts, 3);
    assert_int_equal(k[ER_EFFICACY].scored, 3);
    assert_int_equal(k[ER_EFFICACY].strict, 2);
    assert_int_equal(k[ER_EFFICACY].compared, 2);
    assert_int_equal(k[ER_EFFICACY].success, 1);  // a tie is no success
    NEAR(k[ER_EFFICACY].margin, 5.5 / 2, 1e-6);
    assert_int_equal(k[ER_PARAPHRASE].success, 1);
    NEAR(k[ER_PARAPHRASE].margin, (3.0 - 1.0) / 2, 1e-6);
    assert_int_equal(k[ER_NEIGHBOR].scored, 2);
    assert_int_equal(k[ER_NEIGHBOR].strict, 1);
    assert_int_equal(k[ER_NEIGHBOR].success, 1);
    NEAR(er_eval_score(&e->total), 50, 1e-9);  // all three are one half
    er_eval_free(e);
    er_facts_free(f);
}

static void test_score(void **state) {
    (void)state;
    er_rates r = {0};
    NEAR(er_eval_score(&r), 0, 0);
    r.kind[ER_EFFICACY] = (er_rate){.compared = 100, .success = 100};
    r.kind[ER_PARAPHRASE] = (er_rate){.compared = 100, .success = 92};
    r.kind[ER_NEIGHBOR] = (er_rate){.compared = 100, .success = 68};
    NEAR(er_eval_score(&r), 3 / (1 / 100.0 + 1 / 92.0 + 1 / 68.0), 1e-9);
    r.kind[ER_PARAPHRASE] = (er_rate){0};  // a file without paraphrases
    NEAR(er_eval_score(&r), 2 / (1 / 100.0 + 1 / 68.0), 1e-9);
    r.kind[ER_NEIGHBOR].success = 0;
    NEAR(er_eval_score(&r), 0, 0);
}

static void test_relations_and_kept(void **state) {
    (void)state;
    er_facts *f = synthetic_facts(facts_text);
    er_eval *b = synthetic_eval(f, "base", before_items, N), *a = synthetic_eval(f, "edited", after_items, N);
    er_retained kept;
    assert_int_equal(a->n_relations, 2);
    assert_string_equal(a->relation[0].name, "tongue");
    assert_int_equal(a->relation[0].rates.facts, 2);
    assert_int_equal(a->relation[0].rates.kind[ER_EFFICACY].success, 1);
    assert_null(a->relation[1].name);
    assert_int_equal(a->relation[1].rates.kind[ER_EFFICACY].strict, 1);
    assert_int_equal(a->relation[1].rates.kind[ER_EFFICACY].compared, 0);
    OK(er_eval_retained(&kept, b, a));
    assert_int_equal(kept.known, 2);
    assert_int_equal(kept.still, 1);
    a->count--;
    FAILS(er_eval_retained(&kept, b, a), ER_EARG, "8 and 7 prompts");
    a->count++;
    er_eval_free(a);
    er_eval_free(b);
    er_facts_free(f);
}

static double at(const cJSON *o, const char *a, const char *b, const char *c) {
    o = cJSON_GetObjectItemCaseSensitive(o, a);
    if (b) o = cJSON_GetObjectItemCaseSensitive(o, b);
    if (c) o = cJSON_GetObjectItemCaseSensitive(o, c);
    if (!o) fail_msg("no %s %s %s", a, b ? b : "", c ? c : "");
    return cJSON_IsNumber(o) ? o->valuedouble : (double)NAN;
}

static void test_json(void **state) {
    (void)state;
    er_facts *f = synthetic_facts(facts_text);
    er_eval *b = synthetic_eval(f, "base", before_items, N), *a = synthetic_eval(f, "edited", after_items, N);
    cJSON *j = NULL;
    b->drift = (er_perplexity){.tokens = 100, .nll = log(40)};
    a->drift = (er_perplexity){.tokens = 100, .nll = log(42)};
    a->answer[1] = strdup("Marran, \"of\ncourse\"");
    OK(er_eval_json(&j, b, a, true));
    NEAR(at(j, "after", "efficacy", "strict"), 100 * 2 / 3.0, 1e-5);
    NEAR(at(j, "after", "efficacy", "success"), 50, 1e-9);
    NEAR(at(j, "before", "neighborhood", "success"), 100, 1e-9);
    NEAR(at(j, "before", "perplexity", NULL), 40, 1e-5);
    NEAR(at(j, "perplexity_change_percent", NULL, NULL), 5, 1e-5);
    NEAR(at(j, "neighbors_kept", "percent", NULL), 50, 1e-9);
    NEAR(at(j, "facts", "rejected", NULL), 1, 0);
    const cJSON *failures = cJSON_GetObjectItemCaseSensitive(j, "failures"),
                *items = cJSON_GetObjectItemCaseSensitive(j, "items");
    assert_int_equal(cJSON_GetArraySize(failures), 1);
    const cJSON *says = cJSON_GetObjectItemCaseSensitive(failures->child, "says");
    assert_string_equal(says->valuestring, "Marran, \"of\ncourse\"");
    assert_int_equal(cJSON_GetArraySize(items), N);
    assert_int_equal(cJSON_GetArraySize(cJSON_GetObjectItemCaseSensitive(j, "relations")), 2);
    assert_true(isnan(at(cJSON_GetArrayItem(items, N - 1), "after", "right", NULL)));  // null, never NaN
    cJSON_Delete(j);
    OK(er_eval_json(&j, NULL, a, false));
    assert_true(cJSON_IsNull(cJSON_GetObjectItemCaseSensitive(j, "before")));
    assert_null(cJSON_GetObjectItemCaseSensitive(j, "items"));
    cJSON_Delete(j);
    er_eval_free(a);
    er_eval_free(b);
    er_facts_free(f);
}

static void test_table(void **state) {
    (void)state;
    er_facts *f = synthetic_facts(facts_text);
    er_eval *b = synthetic_eval(f, "base", before_items, N), *a = synthetic_eval(f, "edited", after_items, N);
    char *text = NULL;
    size_t n = 0;
    FILE *to = open_memstream(&text, &n);
    a->drift = b->drift = (er_perplexity){.tokens = 100, .nll = log(40)};
    er_eval_print_table(to, b, a);
    fclose(to);
    static const char *const lines[] = {
        "                                      before     after    change\n",
        "efficacy %                               0.0      50.0     +50.0\n",
        "efficacy, strict %                       0.0      66.7     +66.7\n",
        "neighborhood %                         100.0      50.0     -50.0\n",
        "neighbours known, still right %        100.0      50.0   (1 of 2)\n",
        "perplexity                             40.00     40.00     +0.0%\n",
        "tongue                            2      50.0      50.0      50.0\n",
        "(none)                            1     100.0         -         -\n",
    };
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++)
        if (!strstr(text, lines[i])) fail_msg("no line '%s' in\n%s", lines[i], text);
    free(text);
    er_eval_free(a);
    er_eval_free(b);
    er_facts_free(f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rates),
        cmocka_unit_test(test_score),
        cmocka_unit_test(test_relations_and_kept),
        cmocka_unit_test(test_json),
        cmocka_unit_test(test_table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
