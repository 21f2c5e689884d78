// A whole edit job by 1, 2 and 3 ranks is the same edit; a rank that fails, is stopped, is killed or has read something else ends all
// of them with one message and without an output; and a job that was killed is finished by another number of ranks.
#include <unistd.h>

#include "io/base/clock.h"
#include "io/base/json.h"
#include "io/base/log.h"
#include "io/checkpoint.h"
#include "tests/io/scratch.h"
#include "tests/support/letter_model.h"
#include "tests/support/letter_requests.h"
#include "tests/support/rank_job.h"

#define NONE SIZE_MAX
static char model[512], facts[512], templates[512], text[512];
static const char *const texts[] = {text};

// A golden checkpoint that er_edit can open, and short facts and a text for its 40 positions.
static void copy(const char *from_dir, const char *name, const char *to_dir) {
    char path[1024], *bytes = NULL;
    size_t n = 0;
    (void)snprintf(path, sizeof path, "%s/%s", from_dir, name);
    OK(er_file_read(&bytes, &n, path, 1 << 26));
    (void)snprintf(path, sizeof path, "%s/%s", to_dir, name);
    OK(er_file_write_atomic(path, bytes, n));
    free(bytes);
}

static void put_model(const char *golden, bool bos) {
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

static int make(void **state) {
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

static er_edit_options job(const char *out, const char *cache) {
    static char outs[8][512], caches[8][512];
    static unsigned turn;
    char *o = outs[turn % 8], *c = caches[turn++ % 8];
    (void)snprintf(o, 512, "%s", in_scratch(out));
    (void)snprintf(c, 512, "%s", in_scratch(cache));
    er_edit_options e = ER_EDIT_OPTIONS_DEFAULT;
    e.model = model, e.facts = facts, e.out = o, e.cache = c, e.templates = templates;
    e.layers = "0-1", e.steps = 8, e.lambda = 30, e.text = texts, e.n_text = 1, e.cov_tokens = 6000;
    e.batch_tokens = 1;  // no more than two requests at a time
    e.deterministic = true;
    e.device.threads = 1;
    return e;
}

static void all_end_well(const rank_outcome *out, size_t ranks) {
    for (size_t r = 0; r < ranks; r++)
        if (!out[r].ended || out[r].rc != ER_OK) fail_msg("rank %zu of %zu: %s", r, ranks, out[r].said);
}

// ---- the same edit ----

// |dW - dW'| / |dW'| over the edited tensors of two outputs, and whether anything else differs.
static double edit_distance(const char *a, const char *b) {
    er_checkpoint *base = NULL, *x = NULL, *y = NULL;
    double apart = 0, size = 0;
    OK(er_checkpoint_open(&base, model));
    OK(er_checkpoint_open(&x, a));
    OK(er_checkpoint_open(&y, b));
    for (size_t i = 0; i < er_checkpoint_count(base); i++) {
        const er_tensor *t = er_checkpoint_at(base, i);
        float *w = malloc(t->elements * sizeof *w), *u = malloc(t->elements * sizeof *u),
              *v = malloc(t->elements * sizeof *v);
        OK(er_checkpoint_read_f32(base, t, w));
        OK(er_checkpoint_read_f32(x, er_checkpoint_find(x, t->name), u));
        OK(er_checkpoint_read_f32(y, er_checkpoint_find(y, t->name), v));
        double own = 0;
        for (size_t k = 0; k < t->elements; k++) {
            apart += ((double)u[k] - (double)v[k]) * ((double)u[k] - (double)v[k]);
            own += ((double)v[k] - (double)w[k]) * ((double)v[k] - (double)w[k]);
        }
        if (own == 0) assert_memory_equal(u, v, t->elements * sizeof *u);
        size += own;
        free(w);
        free(u);
        free(v);
    }
    er_checkpoint_free(base);
    er_checkpoint_free(x);
    er_checkpoint_free(y);
    assert_true(size > 0);
    return sqrt(apart / size);
}

// Times, the number of ranks, what follows from the last bits of the weights, and work: each rank runs the templates that its requests
// share.
static bool may_differ(const char *key, bool deterministic) {
    static const char *const keys[] = {"seconds", "solve_seconds", "gather_seconds", "finished", "ranks",
        "output_sha256", "gemm_flops", "rounding_loss"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if (!strcmp(key, keys[i])) return true;
    return !deterministic &&
           (!strcmp(key, "slots") || !strcmp(key, "batches") || !strcmp(key, "batch_tokens"));
}

static void same_json(const cJSON *a, const cJSON *b, const char *at, bool deterministic) {
    if (a->type != b->type) fail_msg("the manifests differ in %s", at);
    if (cJSON_IsNumber(a) && !(fabs(a->valuedouble - b->valuedouble) <= 1e-3 * fabs(a->valuedouble)))
        fail_msg("the manifests differ in %s: %.9g, %.9g", at, a->valuedouble, b->valuedouble);
    if (cJSON_IsString(a) && strcmp(a->valuestring, b->valuestring) != 0)
        fail_msg("the manifests differ in %s: %s, %s", at, a->valuestring, b->valuestring);
    const cJSON *y = b->child;
    for (const cJSON *x = a->child; x; x = x->next, y = y->next) {
        if (!y || (x->string && strcmp(x->string, y->string) != 0))
            fail_msg("the manifests differ below %s", at);
        if (!x->string || !may_differ(x->string, deterministic))
            same_json(x, y, x->string ? x->string : at, deterministic);
    }
    assert_null(y);
}

static void read_manifest(cJSON **m, const char *out) {
    char path[1024];
    (void)snprintf(path, sizeof path, "%s/errata-manifest.json", out);
    OK(er_json_read(m, path, 1 << 20));
}

static void same_manifest(const char *a, const char *b, size_t ranks, bool deterministic) {
    cJSON *x = NULL, *y = NULL;
    read_manifest(&x, a);
    read_manifest(&y, b);
    same_json(x, y, "the root", deterministic);
    const cJSON *run = cJSON_GetObjectItemCaseSensitive(y, "run");
    assert_int_equal(cJSON_GetObjectItemCaseSensitive(run, "ranks")->valueint, (int)ranks);
    cJSON_Delete(x);
    cJSON_Delete(y);
}

// All target values of a cache, of whichever rank: n records, sorted by request.
static int by_digest(const void *a, const void *b) { return memcmp(a, b, 72); }

static size_t all_values(char **out, const char *cache, size_t record) {
    size_t n = 0;
    DIR *d = opendir(cache);
    assert_non_null(d);
    *out = NULL;
    for (struct dirent *e; (e = readdir(d));) {
        if (strncmp(e->d_name, "values-", 7) != 0) continue;
        char path[1024], *bytes = NULL;
        size_t len = 0;
        (void)snprintf(path, sizeof path, "%s/%s", cache, e->d_name);
        OK(er_file_read(&bytes, &len, path, 1 << 26));
        assert_int_equal(len % record, 0);
        *out = realloc(*out, (n + 1) * record + len);
        memcpy(*out + n * record, bytes, len);
        n += len / record;
        free(bytes);
    }
    closedir(d);
    qsort(*out, n, record, by_digest);
    return n;
}

// Statistics are sums of fp32 products over batches that end elsewhere, 1e-7 apart at most, and lambda C is what the
// solve rests on; fp32 weights add their own rounding of 6e-8 |W|. Values of deterministic jobs are the same bits.
#define BOUND 1e-5

static void check_ranks(const char *golden, bool bos, const char *editor, bool deterministic, size_t hidden) {
    char alone[512], alone_cache[512], *z = NULL, *z_ranks = NULL;
    rank_outcome out[JOB_RANKS];
    put_model(golden, bos);
    rank_job j = {.o = job("alone", "cache-alone"), .ranks = 1, .victim = NONE};
    j.o.editor = editor, j.o.deterministic = deterministic;
    (void)snprintf(alone, sizeof alone, "%s", j.o.out);
    (void)snprintf(alone_cache, sizeof alone_cache, "%s", j.o.cache);
    rank_job_run(out, &j, NULL);
    all_end_well(out, 1);
    size_t record = 72 + hidden * 4 + 4, n = all_values(&z, alone_cache, record);
    assert_int_equal(n, LETTER_UNITS);
    for (size_t ranks = 2; ranks <= 3; ranks++) {
        j.o.out = in_scratch("ranks"), j.o.cache = in_scratch("cache-ranks"), j.ranks = ranks;
        rank_job_run(out, &j, NULL);
        all_end_well(out, ranks);
        double apart = edit_distance(j.o.out, alone);
        print_message("%s, %s, %zu ranks%s: dW %.2g apart\n", golden, editor, ranks,
            deterministic ? ", deterministic" : "", apart);
        BELOW(apart, BOUND);
        same_manifest(alone, j.o.out, ranks, deterministic);
        for (size_t r = 0; r < ranks; r++) assert_int_equal(out[r].found, LETTER_UNITS);
        assert_int_equal(all_values(&z_ranks, j.o.cache, record), n);  // none was found twice
        if (deterministic) assert_memory_equal(z_ranks, z, n * record);
        free(z_ranks);
        // Another number of ranks finds all of it there.
        j.o.force = true, j.ranks = 5 - ranks;
        rank_job_run(out, &j, NULL);
        all_end_well(out, j.ranks);
        for (size_t r = 0; r < j.ranks; r++) assert_true(out[r].cached == LETTER_UNITS && out[r].found == 0);
        BELOW(edit_distance(j.o.out, alone), BOUND);
        j.o.force = false;
        OK(er_remove_tree(j.o.out));
        OK(er_remove_tree(j.o.cache));
    }
    free(z);
    OK(er_remove_tree(alone));
    OK(er_remove_tree(alone_cache));
}

static void test_the_same_edit(void **state) {
    (void)state;
    check_ranks("gpt2_prefixed", false, "memit", true, 24);
    check_ranks("gpt2_prefixed", false, "memit", false, 24);
    check_ranks("gpt2_prefixed", false, "memit_seq", true, 24);
    check_ranks("llama_gqa", true, "emmet", true, 32);
}

// ---- failures ----

static bool partial_in(const char *dir) {
    bool found = false;
    DIR *d = opendir(dir);
    for (struct dirent *e; d && (e = readdir(d));) found |= strstr(e->d_name, ".partial-") != NULL;
    if (d) closedir(d);
    return found;
}

// All ranks that were not killed ended with the same status and message, and there is no output.
static void all_end_alike(const rank_outcome *out, const rank_job *j, er_status rc, const char *words) {
    const rank_outcome *first = NULL;
    for (size_t r = 0; r < j->ranks; r++) {
        if (r == j->victim && !out[r].ended) continue;
        if (!first) first = &out[r];
        if (!out[r].ended || out[r].rc != (int)rc || strcmp(out[r].said, first->said) != 0)
            fail_msg("rank %zu: status %d, '%s'; expected %d, '%s'", r, out[r].rc, out[r].said, (int)rc,
                first->said);
    }
    if (!strstr(first->said, words)) fail_msg("'%s' lacks '%s'", first->said, words);
    assert_false(er_dir_exists(j->o.out));
}

static void test_a_stop_of_one_rank(void **state) {
    (void)state;
    static const char *const stages[] = {"covary", "values", "solve"};
    rank_outcome out[JOB_RANKS];
    put_model("gpt2_prefixed", false);
    for (size_t s = 0; s < 3; s++)
        for (size_t victim = 0; victim < 2; victim++) {
            rank_job j = {.o = job("stopped", "cache-stopped"), .ranks = 3, .victim = victim};
            char words[64];
            (void)snprintf(words, sizeof words, "interrupted in %s: ", stages[s]);
            j.stop_in = stages[s];
            rank_job_run(out, &j, NULL);
            all_end_alike(out, &j, ER_EINTERRUPTED, words);
            assert_false(partial_in(scratch_dir));
            OK(er_remove_tree(j.o.cache));
        }
    // Rank 0 alone has work that can be stopped while it writes.
    rank_job j = {.o = job("stopped", "cache-stopped"), .ranks = 2, .stop_in = "write"};
    rank_job_run(out, &j, NULL);
    all_end_alike(out, &j, ER_EINTERRUPTED, "interrupted in write: ");
    assert_false(partial_in(scratch_dir));
    OK(er_remove_tree(j.o.cache));
}

static void test_other_inputs(void **state) {
    (void)state;
    rank_outcome out[JOB_RANKS];
    char other_facts[512], other_model[512], first[512];
    put_model("llama_gqa", true);
    (void)snprintf(other_model, sizeof other_model, "%s", model);
    put_model("gpt2_prefixed", false);
    (void)snprintf(other_facts, sizeof other_facts, "%s",
        put_text("other.jsonl", letter_facts + 1 + strcspn(letter_facts, "\n")));
    (void)snprintf(first, sizeof first, "%s", put_text("one.json", "[\"So! {}\"]"));
    rank_job j = {.o = job("other", "cache-other"), .ranks = 3, .victim = 2};
    struct {
        er_edit_options o;
        er_status rc;
        const char *words;
    } others[] = {{j.o, ER_ECONFIG, "rank 2 has other facts than rank 0"},
        {j.o, ER_ECONFIG, "rank 2 has another model than rank 0"},
        {j.o, ER_ECONFIG, "rank 2 has other settings than rank 0"},
        {j.o, ER_ECONFIG, "rank 2 has other context templates than rank 0"}, {j.o, ER_ENOENT, "rank 2: "}};
    others[0].o.facts = other_facts;
    others[1].o.model = other_model;
    others[2].o.steps = 9;
    others[3].o.templates = put_text("two.json", "[\"So! {}\", \"So? {}\"]");
    others[4].o.facts = in_scratch("no-such-file");
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        j.other = &others[i].o;
        rank_job_run(out, &j, NULL);
        all_end_alike(out, &j, others[i].rc, others[i].words);
    }
}

// Every collective of the job fails once on rank 1, and once on rank 0; or its process dies there. `dies` leaves out what only
// repeats itself.
static void walk(size_t victim, bool dies, size_t stride) {
    rank_outcome out[JOB_RANKS];
    rank_job j = {.o = job("walk", "cache-walk"), .ranks = 3, .victim = NONE};
    rank_job_run(out, &j, NULL);
    all_end_well(out, 3);
    size_t calls = out[victim].collectives;
    assert_true(calls > 20);
    OK(er_remove_tree(j.o.out));
    OK(er_remove_tree(j.o.cache));
    j.victim = victim, j.dies = dies;
    for (size_t k = 1; k < calls; k += stride) {  // after the last but one the output stands
        double seconds = 0;
        char words[64];
        if (dies) (void)snprintf(words, sizeof words, "rank %zu is gone", victim);
        else (void)snprintf(words, sizeof words, "collective %zu fails", k);
        j.fails_at = k;
        rank_job_run(out, &j, &seconds);
        if (out[victim].ended == dies) fail_msg("rank %zu lived otherwise than expected at %zu", victim, k);
        all_end_alike(out, &j, dies ? ER_EDEVICE : ER_ENOMEM, words);
        BELOW(seconds, 30);
        if (er_dir_exists(j.o.cache)) OK(er_remove_tree(j.o.cache));
    }
    print_message(
        "rank %zu %s at each %zu of %zu collectives\n", victim, dies ? "dies" : "fails", stride, calls);
}

static void test_every_collective_fails(void **state) {
    (void)state;
    put_model("gpt2_prefixed", false);
    walk(1, false, 1);
    walk(0, false, 3);
}

static void test_a_rank_dies(void **state) {
    (void)state;
    put_model("gpt2_prefixed", false);
    walk(2, true, 2);
    walk(0, true, 5);
}

// At the last collective the output stands already: rank 0 has done the job, the others are told what befell them.
static void test_after_the_output_stands(void **state) {
    (void)state;
    rank_outcome out[JOB_RANKS];
    put_model("gpt2_prefixed", false);
    rank_job j = {.o = job("late", "cache-late"), .ranks = 2, .victim = NONE};
    rank_job_run(out, &j, NULL);
    all_end_well(out, 2);
    j.o.force = true, j.victim = 1, j.fails_at = 0;
    size_t cached = 0;
    rank_job_run(out, &j, NULL);  // the same with all values there
    cached = out[1].collectives;
    j.fails_at = cached, j.dies = true;
    rank_job_run(out, &j, NULL);
    if (out[0].rc != ER_OK) fail_msg("%s", out[0].said);
    assert_false(out[1].ended);
    assert_true(er_dir_exists(j.o.out));
    OK(er_remove_tree(j.o.out));
    OK(er_remove_tree(j.o.cache));
}

// ---- killed and gone on with ----

#define WORLD SOURCE_ROOT "/examples/world"

static void test_killed_and_resumed(void **state) {
    (void)state;
    rank_outcome out[JOB_RANKS];
    uint64_t seed = 17;
    size_t kills = 0, partly = 0;
    double whole_s = 0;
    (void)snprintf(model, sizeof model, "%s", WORLD);
    rank_job j = {.o = job("whole", "cache-whole"), .ranks = 1, .victim = NONE};
    j.o.facts = WORLD "/facts_80.jsonl", j.o.limit = 8, j.o.steps = 4, j.o.cov_tokens = 2000;
    j.o.templates = NULL, j.o.layers = NULL, j.o.lambda = 0, j.o.batch_tokens = 64;
    j.o.text = NULL, j.o.n_text = 0;
    rank_job_run(out, &j, &whole_s);
    all_end_well(out, 1);
    char whole[512];
    (void)snprintf(whole, sizeof whole, "%s", j.o.out);
    j.o.out = in_scratch("resumed"), j.o.cache = in_scratch("cache-resumed");
    for (int i = 0; i < 5; i++) {
        j.ranks = i % 2 ? 3 : 2, j.victim = (size_t)i % j.ranks;
        j.killed_after = whole_s * (0.25 + 0.5 * (test_uniform(&seed) + 1) / 2);
        double seconds = 0;
        rank_job_run(out, &j, &seconds);
        BELOW(seconds, 60);
        if (out[j.victim].ended) break;  // the job was quicker
        kills++;
        assert_false(er_dir_exists(j.o.out));
    }
    j.victim = NONE, j.ranks = 1, j.o.force = true;
    rank_job_run(out, &j, NULL);
    all_end_well(out, 1);
    partly = out[0].cached;
    print_message("%zu kills, %zu of 8 values kept\n", kills, partly);
    assert_true(kills > 0);
    BELOW(edit_distance(j.o.out, whole), 2e-2);  // weights of F16
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_the_same_edit),
        cmocka_unit_test(test_a_stop_of_one_rank), cmocka_unit_test(test_other_inputs),
        cmocka_unit_test(test_every_collective_fails), cmocka_unit_test(test_a_rank_dies),
        cmocka_unit_test(test_after_the_output_stands), cmocka_unit_test(test_killed_and_resumed)};
    er_log_set_level(ER_LOG_QUIET);
    return cmocka_run_group_tests(tests, make, scratch_remove);
}
