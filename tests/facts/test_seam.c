// Is a space written between a prompt and its target? Every line is how the texts are printed in books and on
// the web.
#include "io/facts.h"
#include "tests/test.h"

typedef struct seam_case {
    const char *prompt, *target;
    bool space;
} seam_case;

static void holds(const seam_case *at, size_t n) {
    for (size_t i = 0; i < n; i++) {
        er_seam s =
            er_seam_of(at[i].prompt, strlen(at[i].prompt), at[i].target, ER_SPACE_AUTO, ER_SPACE_AUTO);
        if ((s == ER_SEAM_SPACE) != at[i].space)
            fail_msg("'%s' + '%s': seam %d", at[i].prompt, at[i].target, (int)s);
    }
}
#define HOLDS(cases) holds(cases, sizeof(cases) / sizeof(cases)[0])

static void test_words(void **state) {
    (void)state;
    static const seam_case at[] = {
        {"The Eiffel Tower is located in", "Rome", true},
        {"Эйфелева башня стоит в", "Риме", true},
        {"Answer:", "Rome", true},
        {"Where is it?", "Rome", true},
        {"He said.", "Rome", true},
        {"서울은", "도시다", true},
        {"برج إيفل في", "روما", true},
        {"The year", "1999", true},
        {"The price is", "$5", true},
        {"He lives in", "\"Rome\"", true},
        {"He likes", "(pine)apples", true},
        {"He writes", ".NET", true},
        {"It is", "-5 degrees", true},
        {"[/INST]", "Rome", true},
        {"C#", "is", true},
        {"100 %", "cotton", true},
        {"the dogs'", "tails", true},
        {"5 €", "per", true},
        {"the cost in 5€", "per", true},
        {"x =", "5", true},
        {"either /", "or", true},
        {"Answer -", "Rome", true},
        {"## ", "Rome", false},
        {"##", "Rome", true},
        {"| name |", "Rome", true},
        {"the letter 's'", "is", true},
        {"He said \"yes\"", "and", true},
        {"„Rom“", "ist", true},
        {"»Rom«", "ist", true},
        {"« Rome »", "est", true},
    };
    HOLDS(at);
}

static void test_white_space(void **state) {
    (void)state;
    static const char *const ends[] = {"in ", "in\t", "Answer:\n", "<|assistant|>\n", "in\r\n", "in\xc2\xa0",
        "东京\xe3\x80\x80", "in\xe2\x80\xaf", "in \xe2\x80\x8b", "in\n\n"};
    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++)
        assert_int_equal(
            er_seam_of(ends[i], strlen(ends[i]), "Rome", ER_SPACE_AUTO, ER_SPACE_AUTO), ER_SEAM_BLANK);
    assert_int_equal(er_seam_of("in", 2, " Rome", ER_SPACE_AUTO, ER_SPACE_AUTO), ER_SEAM_OWN);
    assert_int_equal(er_seam_of("in", 2, "\nRome", ER_SPACE_ALWAYS, ER_SPACE_ALWAYS), ER_SEAM_OWN);
    assert_int_equal(
        er_seam_of("in ", 2, "Rome", ER_SPACE_AUTO, ER_SPACE_AUTO), ER_SEAM_SPACE);  // len counts
}

static void test_scripts(void **state) {
    (void)state;
    static const seam_case at[] = {
        {"法国的首都是", "罗马", false},
        {"Ten Mosaro住在", "Peverk",
            false},  // Chinese and Japanese set no space in front of Latin letters either
        {"人口は", "300万人", false},
        {"フランスの首都は", "ローマ", false},
        {"东京，", "罗马", false},
        {"答：", "Paris", false},
        {"埃菲尔铁塔（Eiffel Tower）", "在", false},
        {"埃菲尔铁塔 (Eiffel) 的首都是(A)", "罗马", true},  // the last letter is Latin
        {"法国的首都是哪里?", "罗马", false},
        {"第3", "名", false},
        {"ประเทศไทยเมืองหลวงคือ", "กรุงเทพ", false},
        {"ประเทศไทยเมืองหลวงคือ", "Paris", true},  // Thai sets foreign words apart
        {"ນະຄອນຫຼວງແມ່ນ", "ວຽງຈັນ", false},
        {"រដ្ឋធានីគឺ", "ភ្នំពេញ", false},
        {"မြို့တော်မှာ", "ရန်ကုန်", false},
        {"The capital is", "罗马", true},
        {"수도는", "罗马", true},
    };
    HOLDS(at);
}

static void test_opening_signs(void **state) {
    (void)state;
    static const seam_case at[] = {
        {"settled in \"", "Rome", false},
        {"住在\"", "Rome", false},
        {"name=\"", "Rome", false},
        {"settled in '", "Rome", false},
        {"settled in “", "Rome", false},
        {"settled in ‘", "Rome", false},
        {"lebt in „", "Rom", false},
        {"lebt in »", "Rom", false},
        {"habite «", "Rome", false},
        {"住在「", "羅馬", false},
        {"小説『", "Rome", false},
        {"settled in (", "Rome", false},
        {"settled in [", "Rome", false},
        {"settled in {", "Rome", false},
        {"He pays $", "5", false},
        {"He pays £", "5", false},
        {"It costs US$", "5", false},
        {"It costs ¥", "500", false},
        {"la capitale de l'", "Italie", false},
        {"la capitale de l’", "Italie", false},
        {"figlio dell'", "Arno", false},
        {"Franco-", "Prussian", false},
        {"https://", "rome.it", false},
        {"files in /usr/", "lib", false},
        {"under the tag #", "Rome", false},
        {"follow @", "rome", false},
        {"the variable x_", "max", false},
        {"x=", "5", false},
        {"std::", "vector", false},
        {"<b>", "Rome", false},
        {"<|im_start|>", "assistant", false},
        {"word—", "Rome", false},
        {"it is **", "Rome", false},
        {"¿", "Roma", false},
    };
    HOLDS(at);
}

static void test_targets_that_attach(void **state) {
    (void)state;
    static const seam_case at[] = {
        {"Rome", ",", false},
        {"Rome", ", Italy", false},
        {"Rome", ".", false},
        {"Rome", "!", false},
        {"about 50", "%", false},
        {"about 50", "°C", false},
        {"the (old city", ")", false},
        {"Rome", "'s capital", false},
        {"Rome", "’s capital", false},
        {"Rome", "...", false},
        {"a Rome", "-based firm", false},
        {"Paris", "，", false},
        {"Paris", "、罗马", false},
    };
    HOLDS(at);
}

static void test_who_says(void **state) {
    (void)state;
    const char *zh = "首都是";
    size_t n = strlen(zh);
    assert_int_equal(er_seam_of(zh, n, "罗马", ER_SPACE_AUTO, ER_SPACE_ALWAYS), ER_SEAM_SPACE);
    assert_int_equal(er_seam_of(zh, n, "罗马", ER_SPACE_NEVER, ER_SPACE_ALWAYS), ER_SEAM_ASKED);
    assert_int_equal(er_seam_of("in", 2, "Rome", ER_SPACE_AUTO, ER_SPACE_NEVER), ER_SEAM_ASKED);
    assert_int_equal(er_seam_of("in", 2, "Rome", ER_SPACE_ALWAYS, ER_SPACE_NEVER), ER_SEAM_SPACE);
    er_space s = ER_SPACE_AUTO;
    OK(er_space_parse(&s, "never"));
    assert_int_equal(s, ER_SPACE_NEVER);
    assert_string_equal(er_space_name(s), "never");
    FAILS(er_space_parse(&s, "perhaps"), ER_EARG, "'perhaps' is none of auto, always, never");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_words),
        cmocka_unit_test(test_white_space),
        cmocka_unit_test(test_scripts),
        cmocka_unit_test(test_opening_signs),
        cmocka_unit_test(test_targets_that_attach),
        cmocka_unit_test(test_who_says),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
