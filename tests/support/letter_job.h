// A whole edit job on a golden checkpoint with the letter tokenizer, and the files that it needs in a scratch
// folder.
#ifndef ER_TEST_LETTER_JOB_H
#define ER_TEST_LETTER_JOB_H
#include "io/checkpoint.h"
#include "tests/io/scratch.h"
#include "tests/support/letter_model.h"
#include "tests/support/letter_requests.h"
#include "tests/support/rank_job.h"

#define NONE SIZE_MAX  // no victim
static char model[512], facts[512], templates[512], text[512];
static const char *const texts[] = {text};

// A golden checkpoint that er_edit can open, and short facts and a text for its 40 positions.
static inline void copy(const char *from_dir, const char *name, const char *to_dir) {
    char path[1024], *bytes = NULL;
    size_t n = 0;
    (void)snprintf(path, sizeof path, "%s/%s", from_dir, name);
    OK(er_file_read(&bytes, &n, path, 1 << 26));
    (void)snprintf(path, sizeof path, "%s/%s", to_dir, name);
    OK(er_file_write_atomic(path, bytes, n));
    free(bytes);
}

static inline void put_model(const char *golden, bool bos) {
    char json[6000], path[1024], from[512];
    (void)snprintf(model, sizeof model, "%s", in_scratch(golden));
    (void)snprintf(from, sizeof from, "%s/golden/models/%s", TEST_DATA, golden);
    OK(er_mkdirs(model));
    copy(from, "config.json", model);
    copy(from, "model.safetensors", model);
    size_t n = letter_tokenizer_json(json, sizeof json, bos);
    (void)snprintf(path, sizeof path, "%s/tokenizer.json", model);
    OK(er_file_write_atomic(path, json, n));
}

static inline int letter_job_make(void **state) {
    if (scratch_make(state) != 0) return -1;
    static char prose[24000];
    uint64_t seed = 5;
    size_t at = 0;
    while (at < sizeof prose - 64) {  // words of letters, a blank line now and then
        for (size_t k = 1 + test_next(&seed) % 7; k; k--) prose[at++] = (char)('a' + test_next(&seed) % 26);
        prose[at++] = ' ';
        if (test_next(&seed) % 9 == 0) prose[at++] = '\n', prose[at++] = '\n';
    }
    (void)snprintf(facts, sizeof facts, "%s", put_text("facts.jsonl", letter_facts));
    (void)snprintf(templates, sizeof templates, "%s", put_text("templates.json", "[\"So. {}\", \"So? {}\"]"));
    (void)snprintf(text, sizeof text, "%s", put_text("prose.txt", prose));
    return 0;
}

static inline er_job_options job(const char *out, const char *cache) {
    static char outs[8][512], caches[8][512];
    static unsigned turn;
    char *o = outs[turn % 8], *c = caches[turn++ % 8];
    (void)snprintf(o, 512, "%s", in_scratch(out));
    (void)snprintf(c, 512, "%s", in_scratch(cache));
    er_job_options e = ER_JOB_OPTIONS_DEFAULT;
    e.model = model, e.facts = facts, e.out = o, e.cache = c, e.templates = templates;
    e.layers = "0-1", e.steps = 8, e.lambda = 30, e.text = texts, e.n_text = 1, e.cov_tokens = 6000;
    e.batch_tokens = 1;  // no more than two requests at a time
    e.deterministic = true;
    e.device.threads = 1;
    return e;
}

static inline void all_end_well(const rank_outcome *out, size_t ranks) {
    for (size_t r = 0; r < ranks; r++)
        if (!out[r].ended || out[r].rc != ER_OK) fail_msg("rank %zu of %zu: %s", r, ranks, out[r].said);
}
#endif
