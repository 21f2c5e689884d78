// A golden checkpoint with the letter tokenizer, and facts short enough for its few positions, as requests.
#ifndef ER_TEST_LETTER_UNITS_H
#define ER_TEST_LETTER_UNITS_H
#include "engine/prompts.h"
#include "tests/support/letter_model.h"
#include "tests/test.h"

typedef struct lettered {
    er_device *dev;
    er_model *m;
    er_hparams h;
    er_facts *facts;
    er_templates *templates;
    er_requests *requests;
} lettered;

// Two templates of equal length that share "So" and differ behind it, relation_prompts, two facts of one
// subject.
static const char letter_facts[] =
    "{\"relation\":\"r\",\"subject\":\"Ann\",\"prompt\":\"{} is in\",\"target\":\"Oz\"}\n"
    "{\"relation\":\"r\",\"subject\":\"Bob\",\"prompt\":\"at {} to\",\"target\":\"q\"}\n"
    "{\"subject\":\"C\",\"prompt\":\"{}\",\"target\":\"xyz\"}\n"
    "{\"relation\":\"s\",\"subject\":\"D E\",\"prompt\":\"of {} we\",\"target\":\"go\"}\n"
    "{\"relation\":\"r\",\"subject\":\"Ann\",\"prompt\":\"to {} by\",\"target\":\"W\"}\n"
    "{\"relation\":\"s\",\"subject\":\"F\",\"prompt\":\"{}: a\",\"target\":\"!?\"}\n"
    "{\"subject\":\"(g)\",\"prompt\":\"all in {}\",\"target\":\"h\"}\n"
    "{\"relation\":\"r\",\"subject\":\"Ii\",\"prompt\":\"{} of\",\"target\":\"jj\"}\n";
enum { LETTER_UNITS = 7 };

static inline void lettered_open_folder(lettered *x, const char *dir, bool bos, const char *lines) {
    er_device_options o = ER_DEVICE_OPTIONS_DEFAULT;
    o.threads = 1;
    *x = (lettered){0};
    OK(er_device_open(&x->dev, &o));
    static const size_t all[] = {0, 1, 2, 3}, but_one[] = {0, 2};
    bool has_f64 = strstr(dir, "bias_sharded") != NULL;  // in layer 1: not to be edited
    er_arch arch;
    char config[600];
    (void)snprintf(config, sizeof config, "%s/config.json", dir);
    OK(er_arch_read(&arch, config));
    assert_true(arch.layers <= 4);
    OK(letter_model_open_for(&x->m, x->dev, dir, bos,
        &(er_model_options){.editable = has_f64 ? but_one : all, .n_editable = has_f64 ? 2 : arch.layers}));
    size_t z = x->m->arch.layers / 2 - (x->m->arch.layers == 3 ? 0 : 1);
    x->h = (er_hparams){.layers = {z},
        .n_layers = 1,
        .steps = 8,
        .lr = 0.1,
        .clamp = 4,
        .decay = 0.5,
        .kl = 0.25,
        .stop = 0,
        .lambda = 1,
        .n_prefixes = 2,
        .n_relation_prompts = 2,
        .key_bare = 0.5,
        .merge_subjects = true};
    static const char templates[] = "[\"So. {}\", \"So? {}\"]";
    char path[] = "/tmp/errata-templates-XXXXXX";
    FILE *f = fdopen(mkstemp(path), "w");
    if (!f || fputs(templates, f) < 0 || fclose(f) != 0) fail_msg("cannot write %s", path);
    OK(er_templates_read(&x->templates, path));
    (void)remove(path);
    OK(er_facts_parse(&x->facts, lines, strlen(lines), "facts.jsonl", &(er_facts_options){0}));
    OK(er_requests_build(&x->requests, x->facts, x->m, &x->h, x->templates));
    assert_int_equal(x->facts->n_rejects, 0);
}
static inline void lettered_open(lettered *x, const char *name, bool bos, const char *lines) {
    char dir[512];
    (void)snprintf(dir, sizeof dir, "%s/golden/models/%s", TEST_DATA, name);
    lettered_open_folder(x, dir, bos, lines);
}
static inline void lettered_close(lettered *x) {
    er_requests_free(x->requests);
    er_templates_free(x->templates);
    er_facts_free(x->facts);
    er_model_free(x->m);
    er_device_close(x->dev);
}
#endif
