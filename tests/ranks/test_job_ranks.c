// A whole edit job by 1, 2 and 3 ranks is the same edit, and a job that was killed is finished by another
// number of ranks.
#include <math.h>
#include <sys/wait.h>

#include "engine/statistics.h"
#include "io/base/json.h"
#include "io/base/log.h"
#include "io/npz.h"
#include "tests/support/letter_job.h"

// ---- the same edit ----

// Statistics are sums of fp32 products over batches that end elsewhere for each number of ranks, 1e-7 apart
// at most, and lambda C is what the solve rests on. Deterministic jobs keep the batches, of values too, so
// that all but the order of sums of fp64 is the same: weights of fp32 hide it but where it turns a rounding
// of 6e-8 |W|.
#define ALIKE 2e-6
#define BOUND 1e-5

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

// Times, the number of ranks, the form of the solve (ranks always add up sums), what follows from the last
// bits of the weights, and work: each rank runs the templates that its requests share.
static bool may_differ(const char *key, bool deterministic) {
    static const char *const keys[] = {"seconds", "solve_seconds", "gather_seconds", "finished", "ranks",
        "output_sha256", "gemm_flops", "rounding_loss", "history", "form"};
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

// The keys of earlier edits that two outputs carry on.
static void same_history(const char *a, const char *b) {
    for (int layer = 0; layer < 2; layer++) {
        er_npz *x = NULL, *y = NULL;
        er_npy u = {0}, v = {0};
        char path[1024];
        (void)snprintf(path, sizeof path, "%s/errata-history-layer-%d.npz", a, layer);
        OK(er_npz_open(&x, path));
        (void)snprintf(path, sizeof path, "%s/errata-history-layer-%d.npz", b, layer);
        OK(er_npz_open(&y, path));
        OK(er_npz_read(&u, x, "mom2.mom2"));
        OK(er_npz_read(&v, y, "mom2.mom2"));
        assert_int_equal(u.elements, v.elements);
        const double *p = u.data, *q = v.data;
        double apart = 0, size = 0;
        for (size_t i = 0; i < u.elements; i++) apart += (p[i] - q[i]) * (p[i] - q[i]), size += q[i] * q[i];
        BELOW(sqrt(apart / size), BOUND);
        er_npy_free(&u);
        er_npy_free(&v);
        er_npz_close(x);
        er_npz_close(y);
    }
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
        BELOW(apart, deterministic ? ALIKE : BOUND);
        same_manifest(alone, j.o.out, ranks, deterministic);
        if (!strcmp(editor, "memit_seq")) same_history(j.o.out, alone);
        for (size_t r = 0; r < ranks; r++) assert_int_equal(out[r].found, LETTER_UNITS);
        assert_int_equal(all_values(&z_ranks, j.o.cache, record), n);  // none was found twice
        if (deterministic) assert_memory_equal(z_ranks, z, n * record);
        free(z_ranks);
        // Another number of ranks finds all of it there.
        j.o.force = true, j.ranks = 5 - ranks;
        rank_job_run(out, &j, NULL);
        all_end_well(out, j.ranks);
        for (size_t r = 0; r < j.ranks; r++) assert_true(out[r].cached == LETTER_UNITS && out[r].found == 0);
        BELOW(edit_distance(j.o.out, alone), deterministic ? ALIKE : BOUND);
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
    check_ranks("llama_gqa", true, "emmet", true, 24);
}

// ---- statistics of others ----

// In a process of its own, for this one never computes.
static void put_statistics(const char *dir) {
    int status = 0;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        static const size_t layers[] = {0, 1};
        er_device *dev = NULL;
        er_model *m = NULL;
        er_second_moment *c[2] = {NULL};
        er_device_options d = ER_DEVICE_OPTIONS_DEFAULT;
        er_statistics_options o = {.corpus = texts, .n_corpus = 1, .tokens = 6000, .seed = 1};
        d.threads = 1;
        er_status rc = er_device_open(&dev, &d);
        if (rc == ER_OK) rc = er_model_open(&m, dev, model, &(er_model_options){0});
        if (rc == ER_OK) rc = er_statistics(c, m, layers, 2, &o, NULL);
        if (rc == ER_OK) rc = er_statistics_export(c, m, layers, 2, dir, "letters", 6000, true);
        _exit((int)rc);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void test_imported_statistics(void **state) {
    (void)state;
    rank_outcome out[JOB_RANKS];
    char alone[512];
    put_model("gpt2_prefixed", false);
    rank_job j = {.o = job("imported", "cache-imported"), .ranks = 1, .victim = NONE};
    j.o.import = in_scratch("statistics"), j.o.text = NULL, j.o.n_text = 0;
    put_statistics(j.o.import);
    (void)snprintf(alone, sizeof alone, "%s", j.o.out);
    rank_job_run(out, &j, NULL);
    all_end_well(out, 1);
    j.o.out = in_scratch("imported-ranks"), j.ranks = 3;
    rank_job_run(out, &j, NULL);
    all_end_well(out, 3);
    double apart = edit_distance(j.o.out, alone);
    print_message("imported statistics, 3 ranks: dW %.2g apart\n", apart);
    BELOW(apart, ALIKE);
    OK(er_remove_tree(alone));
    OK(er_remove_tree(j.o.out));
}

// ---- gone on with ----

// Values that two ranks found are read by three, which find the rest.
static void test_some_values_are_there(void **state) {
    (void)state;
    rank_outcome out[JOB_RANKS];
    char alone[512];
    put_model("gpt2_prefixed", false);
    rank_job j = {.o = job("once", "cache-once"), .ranks = 1, .victim = NONE};
    j.o.deterministic = false;
    (void)snprintf(alone, sizeof alone, "%s", j.o.out);
    rank_job_run(out, &j, NULL);
    all_end_well(out, 1);
    j.o.out = in_scratch("some"), j.o.cache = in_scratch("cache-some"), j.o.limit = 4, j.ranks = 2;
    rank_job_run(out, &j, NULL);
    all_end_well(out, 2);
    OK(er_remove_tree(j.o.out));
    j.o.limit = 0, j.ranks = 3;
    rank_job_run(out, &j, NULL);
    all_end_well(out, 3);
    for (size_t r = 0; r < 3; r++) {
        assert_true(out[r].cached > 0 && out[r].found > 0);
        assert_int_equal(out[r].cached + out[r].found, LETTER_UNITS);
    }
    BELOW(edit_distance(j.o.out, alone), BOUND);
    OK(er_remove_tree(alone));
    OK(er_remove_tree(j.o.out));
}

#define WORLD SOURCE_ROOT "/examples/world"

static void test_killed_and_resumed(void **state) {
    (void)state;
    rank_outcome out[JOB_RANKS];
    uint64_t seed = 17;
    size_t kills = 0;
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
    assert_true(kills > 0);
    OK(er_remove_tree(j.o.cache));
    if (er_dir_exists(j.o.out)) OK(er_remove_tree(j.o.out));  // of a job that was quicker
    j.ranks = 2, j.victim = 1, j.killed_after = 0, j.dies_with_values = true;
    rank_job_run(out, &j, NULL);
    if (out[1].ended) fail_msg("rank 1 lived: %d, '%s', %zu found", out[1].rc, out[1].said, out[1].found);
    assert_int_equal(out[0].rc, ER_EDEVICE);
    assert_non_null(strstr(out[0].said, "rank 1: was killed by signal 9"));
    j.victim = NONE, j.ranks = 3;
    rank_job_run(out, &j, NULL);
    all_end_well(out, 3);
    print_message("%zu kills by time; %zu of 8 values were kept by the last one\n", kills, out[0].cached);
    assert_true(out[0].cached > 0 && out[0].cached <= 8);
    double apart = edit_distance(j.o.out, whole);
    print_message("dW %.2g apart, in weights of F16\n", apart);
    BELOW(apart, 5e-3);  // where the sums' last bits turn a rounding, a weight moves by 2^-11 of itself
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_the_same_edit),
        cmocka_unit_test(test_imported_statistics), cmocka_unit_test(test_some_values_are_there),
        cmocka_unit_test(test_killed_and_resumed)};
    er_log_set_level(ER_LOG_QUIET);
    return cmocka_run_group_tests(tests, letter_job_make, scratch_remove);
}
