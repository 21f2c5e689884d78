// The report: well-formed whatever the facts hold, nothing loaded, nothing executed.
#include "engine/report.h"

#include "io/base/log.h"
#include "tests/evaluate/synthetic.h"

// Every tag is closed by its own and in order; attributes are quoted. Returns what is wrong, or NULL.
static const char *ill_formed(const char *html) {
    static const char *const empty[] = {"meta", "rect", "path", "br", "!doctype"};
    static char stack[64][16], where[96];
    size_t depth = 0;
    for (const char *p = html; (p = strchr(p, '<')) != NULL;) {
        char name[16] = "";
        bool closing = p[1] == '/', skip = false, quoted = false;
        size_t n = strcspn(p + 1 + closing, " >/");
        if (n == 0 || n > 15) return "a bare <";
        memcpy(name, p + 1 + closing, n);
        const char *end = p + 1;
        for (; *end && (quoted || *end != '>'); end++) {
            if (*end == '"') quoted = !quoted;
            if (*end == '<') return "a < inside a tag";
        }
        if (!*end) return "a tag without an end";
        for (size_t i = 0; i < sizeof empty / sizeof empty[0]; i++)
            skip = skip || strcmp(name, empty[i]) == 0;
        skip = skip && (end[-1] == '/' || strcmp(name, "meta") == 0 || *name == '!');
        (void)snprintf(
            where, sizeof where, "<%s%s> at byte %zu", closing ? "/" : "", name, (size_t)(p - html));
        if (closing && (depth == 0 || strcmp(stack[--depth], name) != 0)) return where;
        if (!closing && !skip) {
            if (depth == 64) return "too deep";
            memcpy(stack[depth++], name, sizeof name);
        }
        p = end;
    }
    return depth ? "a tag is left open" : NULL;
}

static const char hostile[] =
    "{\"id\":\"<i>\",\"subject\":\"<script>alert(1)</script>\",\"prompt\":\"\\\"{}' & "
    "<b>\\nspeaks\",\"target\":\"</td><td>\",\"old\":"
    "\"x\\u202ey\",\"relation\":\"</"
    "table><h1>\",\"paraphrases\":[\"p\"],\"neighbors\":[{\"prompt\":\"n\",\"target\":\"m\"}]}\n"
    "{\"subject\":\"Tam\",\"prompt\":\"{} <svg onload=x> is\",\"target\":\"y\"}\n"
    "{\"subject\":\"<img src=x>\"}\n";

static void test_hostile(void **state) {
    (void)state;
    static const synthetic_item items[] = {{ER_EFFICACY, 0, 0, -1, -2, false},
        {ER_PARAPHRASE, 0, 0, -3, -2, true}, {ER_NEIGHBOR, 0, 0, -1, -2, true},
        {ER_EFFICACY, 1, 0, -1, (float)NAN, true}};
    er_facts *f = synthetic_facts(hostile);
    er_eval *e = synthetic_eval(f, "model\"><script>", items, 4);
    e->answer[0] = strdup("</bdi>\x01<style>");
    er_warnings *warned = NULL;
    OK(er_warnings_begin(&warned));
    er_warn("<script>of \"scoring\"");
    cJSON *of_edit = cJSON_Parse("[\"<b>of the edit\",7]");
    cJSON *settings = cJSON_Parse("{\"k<\":\"</td>\",\"n\":{\"a\":[1,\"<\"]},\"x\":3}");
    er_report_layer layer[] = {{3, 10, 0.5, 0.01, 712.25, 0.4375}, {4, 12, 0, -1, 0, 0}};
    for (int with = 0; with < 2; with++) {
        char *html = NULL;
        er_report r = {.title = "<title>",
            .before = with ? e : NULL,
            .after = e,
            .settings = with ? settings : NULL,
            .warnings = with ? warned : NULL,
            .edit_warnings = with ? of_edit : NULL,
            .layer = layer,
            .n_layers = with ? 2 : 0};
        OK(er_report_html(&html, &r));
        const char *wrong = ill_formed(html);
        if (wrong) fail_msg("%s", wrong);
        assert_null(strstr(html, "<script"));
        assert_null(strstr(html, "http://"));
        assert_null(strstr(html, "https://"));
        assert_null(strstr(html, "nan"));
        assert_null(strstr(html, "onload=x>"));
        assert_non_null(strstr(html, "&lt;script&gt;alert(1)&lt;/script&gt;"));
        assert_non_null(strstr(html, "&quot;&lt;script"));
        assert_non_null(strstr(html, "default-src 'none'"));
        if (with) assert_non_null(strstr(html, ">5<") /* 100 * 0.5 / 10 */);
        if (with) assert_non_null(strstr(html, ">712.2<"));
        if (with) assert_non_null(strstr(html, ">0.4375<"));
        assert_int_equal(with, strstr(html, "<h2>Warnings</h2>") != NULL);
        if (with) assert_non_null(strstr(html, "<td>edit</td><td><bdi>&lt;b&gt;of the edit</bdi>"));
        if (with) assert_non_null(strstr(html, "<td>evaluation</td><td><bdi>&lt;script&gt;of &quot;scoring"));
        free(html);
    }
    assert_string_equal(ill_formed("<p><b></p></b>"), "</p> at byte 6");  // the checker can fail
    er_warnings_end(warned);
    cJSON_Delete(of_edit);
    cJSON_Delete(settings);
    er_eval_free(e);
    er_facts_free(f);
}

// Numbers shown are the numbers measured.
static void test_numbers(void **state) {
    (void)state;
    static const synthetic_item before[] = {{ER_EFFICACY, 0, 0, -4, -1, false}},
                                after[] = {{ER_EFFICACY, 0, 0, -0.25f, -7, true}};
    er_facts *f = synthetic_facts(
        "{\"subject\":\"Orla\",\"prompt\":\"{} speaks\",\"target\":\"Quellish\",\"old\":\"Marran\"}\n");
    er_eval *b = synthetic_eval(f, "base", before, 1), *a = synthetic_eval(f, "edited", after, 1);
    b->drift = (er_perplexity){.tokens = 64, .nll = log(40)};
    a->drift = (er_perplexity){.tokens = 64, .nll = log(50)};
    char *html = NULL;
    OK(er_report_html(&html, &(er_report){.before = b, .after = a}));
    static const char *const parts[] = {
        "<b>50.0</b><i>before 40.0 (+10.0)</i><i>+25.0&#8239;% over 64 tokens</i>",
        "Efficacy: 100.0&#8239;% right of zero (before: 0.0&#8239;%)", "</span> +6.8</td>",
        "</span> -3.0</td>", "<bdi>Orla speaks</bdi>"};
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
        if (!strstr(html, parts[i])) fail_msg("no '%s'", parts[i]);
    free(html);
    er_eval_free(a);
    er_eval_free(b);
    er_facts_free(f);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_hostile), cmocka_unit_test(test_numbers)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
