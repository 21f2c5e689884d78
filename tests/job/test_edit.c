// er_job_edit from end to end on the bundled model: what is written is what was computed and nothing else
// changed; the manifest tells the truth; a second run computes nothing twice; a killed job goes on to the
// same bits.
#include "engine/job/job.h"

#include <signal.h>
#include <sys/wait.h>
#include <time.h>

#include "engine/errata.h"
#include "engine/statistics.h"
#include "engine/store/target_store.h"
#include "io/base/json.h"
#include "io/base/log.h"
#include "tests/io/scratch.h"

#define MODEL SOURCE_ROOT "/examples/world"
#define PROSE SOURCE_ROOT "/examples/prose.txt"

enum { FACTS = 6, STEPS = 6 };
static const char *const text[] = {PROSE};
static char facts_path[512];

// FACTS records, and behind them whatever `more` says.
static const char *facts_with(const char *name, const char *more) {
    char *all = NULL, *end = NULL, joined[65536];
    size_t len = 0;
    OK(er_file_read(&all, &len, MODEL "/facts_80.jsonl", 1 << 24));
    end = all;
    for (int i = 0; i < FACTS; i++) end = strchr(end, '\n') + 1;
    *end = 0;
    assert_true(snprintf(joined, sizeof joined, "%s%s", all, more) < (int)sizeof joined);
    free(all);
    return put_text(name, joined);
}

static er_job_options job(const char *out, const char *cache) {
    er_job_options o = ER_JOB_OPTIONS_DEFAULT;
    o.model = MODEL, o.facts = facts_path, o.out = out, o.cache = cache;
    o.layers = "0-1", o.steps = STEPS, o.text = text, o.n_text = 1, o.cov_tokens = 4000;
    o.batch_tokens = 1;  // no more than two requests at a time
    o.device.threads = 1;
    return o;
}

static void read_all(char **bytes, size_t *len, const char *dir, const char *name) {
    char path[1024];
    (void)snprintf(path, sizeof path, "%s/%s", dir, name);
    OK(er_file_read(bytes, len, path, 1 << 26));
}
static void same_file(const char *a, const char *b, const char *name) {
    char *x = NULL, *y = NULL;
    size_t n = 0, m = 0;
    read_all(&x, &n, a, name);
    read_all(&y, &m, b, name);
    assert_int_equal(n, m);
    assert_memory_equal(x, y, n);
    free(x);
    free(y);
}

// ---- one job, looked at from all sides ----

static bool is_edited(const char *name) {
    return !strcmp(name, "transformer.h.0.mlp.c_proj.weight") ||
           !strcmp(name, "transformer.h.1.mlp.c_proj.weight");
}

static void tensors_are_right(const char *out, double change[2]) {
    er_checkpoint *a = NULL, *b = NULL;
    size_t edited = 0;
    OK(er_checkpoint_open(&a, MODEL));
    OK(er_checkpoint_open(&b, out));
    assert_int_equal(er_checkpoint_count(a), er_checkpoint_count(b));
    for (size_t i = 0; i < er_checkpoint_count(a); i++) {
        const er_tensor *t = er_checkpoint_at(a, i), *u = er_checkpoint_find(b, t->name);
        assert_non_null(u);
        assert_int_equal(t->dtype, u->dtype);
        assert_int_equal(t->bytes, u->bytes);
        char *x = malloc(t->bytes), *y = malloc(t->bytes);
        OK(er_checkpoint_read(a, t, x));
        OK(er_checkpoint_read(b, u, y));
        assert_int_equal(memcmp(x, y, t->bytes) != 0, is_edited(t->name));
        if (is_edited(t->name)) {
            float *f = malloc(t->elements * sizeof *f), *g = malloc(t->elements * sizeof *g);
            OK(er_checkpoint_read_f32(a, t, f));
            OK(er_checkpoint_read_f32(b, u, g));
            double sum = 0;
            for (size_t j = 0; j < t->elements; j++)
                sum += ((double)g[j] - (double)f[j]) * ((double)g[j] - (double)f[j]);
            change[edited++] = sqrt(sum);
            free(f);
            free(g);
        }
        free(x);
        free(y);
    }
    assert_int_equal(edited, 2);
    er_checkpoint_free(a);
    er_checkpoint_free(b);
}

static const cJSON *at(const cJSON *o, const char *key) {
    const cJSON *x = cJSON_GetObjectItemCaseSensitive(o, key);
    if (!x) fail_msg("the manifest has no '%s'", key);
    return x;
}
static void digest_is(const cJSON *o, const char *key, const char *dir, const char *name) {
    char hex[65], path[1024];
    (void)snprintf(path, sizeof path, "%s/%s", dir, name);
    OK(er_file_digest(hex, path));
    assert_string_equal(at(o, key)->valuestring, hex);
}

static void manifest_is_right(const char *out, const er_job_report *r, const double change[2]) {
    char path[1024], hex[65];
    cJSON *m = NULL;
    er_checkpoint *c = NULL;
    (void)snprintf(path, sizeof path, "%s/errata-manifest.json", out);
    OK(er_json_read(&m, path, 1 << 20));
    file_holds(path, r->json, strlen(r->json));
    digest_is(at(m, "output_sha256"), "model.safetensors", out, "model.safetensors");
    OK(er_checkpoint_open(&c, MODEL));
    OK(er_checkpoint_digest(c, hex));
    er_checkpoint_free(c);
    assert_string_equal(at(at(m, "model"), "sha256")->valuestring, hex);
    assert_string_equal(at(at(m, "model"), "path")->valuestring, MODEL);
    assert_null(cJSON_GetObjectItemCaseSensitive(at(m, "model"), "parent_manifest_sha256"));
    assert_int_equal(at(at(m, "hparams"), "v_num_grad_steps")->valueint, STEPS);
    assert_int_equal(cJSON_GetArraySize(at(at(m, "hparams"), "layers")), 2);
    assert_int_equal(cJSON_GetArraySize(at(m, "templates")), (int)r->hparams.n_prefixes);
    assert_int_equal(at(at(m, "facts"), "accepted")->valueint, FACTS);
    assert_int_equal(cJSON_GetArraySize(at(at(m, "facts"), "rejected_records")), 0);
    const cJSON *layers = at(at(at(m, "stages"), "solve"), "layers");
    assert_int_equal(cJSON_GetArraySize(layers), 2);
    for (int i = 0; i < 2; i++) {
        const cJSON *l = cJSON_GetArrayItem(layers, i);
        double dw = at(l, "dw_norm")->valuedouble, lost = at(l, "rounding_loss")->valuedouble;
        // |W' - W| differs from |dW| by what rounding to F16 loses at most
        NEAR(change[i], dw, (lost + 1e-6) * dw);
        assert_true(lost > 0 && lost < 0.1);
        assert_int_equal(at(l, "layer")->valueint, i);
    }
    NEAR(at(at(at(m, "stages"), "solve"), "residual_left")->valuedouble, r->spread.residual_left, 1e-12);
    assert_int_equal(at(at(at(m, "stages"), "covary"), "tokens")->valueint, 4000);
    assert_string_equal(at(m, "tool")->valuestring, "errata " ERRATA_VERSION);
    cJSON_Delete(m);
}

// The value store of the cache, found by its name.
static void store_key_in(char key[65], const char *cache) {
    DIR *d = opendir(cache);
    assert_non_null(d);
    int found = 0;
    for (struct dirent *e; (e = readdir(d));)
        if (!strncmp(e->d_name, "values-", 7) && strlen(e->d_name) == 7 + 64 + 4)
            (void)snprintf(key, 65, "%.64s", e->d_name + 7), found++;
    closedir(d);
    assert_int_equal(found, 1);
}

static void prompts_are(const char *json, const er_requests *requests) {
    cJSON *m = NULL;
    OK(er_json_parse(&m, json, strlen(json), "manifest"));
    const cJSON *p = at(m, "prompts");
    assert_int_equal(at(p, "rows")->valueint, requests->n_rows);
    assert_int_equal(at(p, "targets_encoded_apart")->valueint, requests->n_target_alone);
    assert_int_equal(at(p, "subject_ends_read_otherwise_when_cut")->valueint, requests->n_prefix_differs);
    cJSON_Delete(m);
}

// The stages called one by one, on the target values that the job left in its cache: the weights it wrote.
static void written_is_computed(const char *out, const char *cache, const er_job_report *r) {
    char key[65];
    er_device *dev = NULL;
    er_model *m = NULL;
    er_facts *facts = NULL;
    er_templates *templates = NULL;
    er_requests *requests = NULL;
    er_target_store *store = NULL;
    er_second_moment *moments[2] = {NULL};
    er_apply_report spread;
    er_checkpoint *written = NULL;
    const er_hparams *h = &r->hparams;
    er_device_options o = ER_DEVICE_OPTIONS_DEFAULT;
    o.threads = 1;
    OK(er_device_open(&dev, &o));
    OK(er_model_open(&m, dev, MODEL, &(er_model_options){.editable = h->layers, .n_editable = 2}));
    OK(er_facts_read(&facts, facts_path, &(er_facts_options){0}));
    OK(er_templates_builtin(&templates, h->n_prefixes));
    OK(er_requests_build(&requests, facts, m, h, templates));
    prompts_are(r->json, requests);
    assert_int_equal(requests->count, r->requests);
    store_key_in(key, cache);
    OK(er_target_store_open(&store, cache, key, m->arch.hidden));
    float *z = calloc(requests->count * m->arch.hidden, sizeof *z);
    for (size_t i = 0; i < requests->count; i++)
        assert_true(er_target_store_get(store, requests->at[i].digest, z + i * m->arch.hidden));
    er_statistics_report statistics = {0};
    OK(er_statistics(moments, m, h->layers, 2,
        &(er_statistics_options){
            .corpus = text, .n_corpus = 1, .tokens = 4000, .seed = 1, .cache_dir = cache},
        &statistics));
    assert_int_equal(statistics.cached, 2);
    OK(er_apply_edits(&spread, m, &(er_apply){.requests = requests, .z = z, .c = moments, .h = h}));
    OK(er_checkpoint_open(&written, out));
    for (size_t i = 0; i < 2; i++) {
        const er_block *b = &m->block[h->layers[i]];
        char *computed = malloc(b->down_tensor->bytes), *stored = malloc(b->down_tensor->bytes);
        OK(dev->op->weight_read(dev, b->down, computed));
        OK(er_checkpoint_read(written, er_checkpoint_find(written, b->down_tensor->name), stored));
        assert_memory_equal(computed, stored, b->down_tensor->bytes);
        free(computed);
        free(stored);
    }
    er_checkpoint_free(written);
    er_statistics_free(moments, 2, dev);
    er_target_store_close(store);
    er_requests_free(requests);
    er_templates_free(templates);
    er_facts_free(facts);
    er_model_free(m);
    er_device_close(dev);
    free(z);
}

static void test_end_to_end(void **state) {
    (void)state;
    char out[512], cache[512];
    double change[2];
    er_job_report *r = NULL, *again = NULL;
    (void)snprintf(out, sizeof out, "%s", in_scratch("out"));
    (void)snprintf(cache, sizeof cache, "%s", in_scratch("cache"));
    er_job_options o = job(out, cache);
    OK(er_job_edit(&r, &o));
    assert_int_equal(r->facts, FACTS);
    assert_int_equal(r->requests, FACTS);
    assert_int_equal(r->targets.requests, FACTS);
    assert_int_equal(r->targets_cached, 0);
    assert_true(r->spread.residual_left < 0.5);
    tensors_are_right(out, change);
    manifest_is_right(out, r, change);
    written_is_computed(out, cache, r);
    static const char *const carried[] = {
        "config.json", "tokenizer.json", "facts.jsonl", "facts_80.jsonl", "world.json"};
    for (size_t i = 0; i < sizeof carried / sizeof *carried; i++) same_file(MODEL, out, carried[i]);
    assert_int_equal(count_entries(out), count_entries(MODEL) + 1);

    // in the way; then replaced, with nothing computed twice and the same bytes
    FAILS(er_job_edit(&again, &o), ER_EOUTPUT, "exists already (--force replaces it)");
    o.force = true;
    char *before = NULL, *after = NULL;
    size_t n = 0, n_after = 0;
    read_all(&before, &n, out, "model.safetensors");
    OK(er_job_edit(&again, &o));
    assert_int_equal(again->targets_cached, FACTS);
    assert_int_equal(again->targets.requests, 0);
    read_all(&after, &n_after, out, "model.safetensors");
    assert_int_equal(n, n_after);
    assert_memory_equal(before, after, n);
    free(before);
    free(after);
    er_job_report_free(again);

    // a deterministic job does not take values that came from other batches
    o.deterministic = true;
    OK(er_job_edit(&again, &o));
    assert_int_equal(again->targets_cached, 0);
    er_job_report_free(again);
    OK(er_job_edit(&again, &o));
    assert_int_equal(again->targets_cached, FACTS);
    er_job_report_free(again);

    // other hyper-parameters are another cache
    o.deterministic = false, o.steps = STEPS - 1;
    OK(er_job_edit(&again, &o));
    assert_int_equal(again->targets_cached, 0);
    er_job_report_free(again);

    // the output is a model like any other, and its descent is told
    char next[512], parent[65], manifest[1024];
    (void)snprintf(next, sizeof next, "%s", in_scratch("next"));
    (void)snprintf(manifest, sizeof manifest, "%s/errata-manifest.json", out);
    OK(er_file_digest(parent, manifest));
    o.model = out, o.out = next;
    OK(er_job_edit(&again, &o));
    assert_non_null(strstr(again->json, parent));
    er_job_report_free(again);
    er_job_report_free(r);
}

// Lambda has no part in the target values, wherever it comes from; a flag goes over a file's ratio.
static void test_where_lambda_comes_from(void **state) {
    (void)state;
    char out[512], cache[512], *plain = NULL, *flagged = NULL;
    size_t n = 0, m = 0;
    er_job_report *r = NULL;
    (void)snprintf(out, sizeof out, "%s", in_scratch("lambda"));
    (void)snprintf(cache, sizeof cache, "%s", in_scratch("lambda-cache"));
    er_job_options o = job(out, cache);
    o.force = true;
    OK(er_job_edit(&r, &o));
    read_all(&plain, &n, out, "model.safetensors");
    double preset = r->hparams.lambda;
    for (size_t i = 0; i < 2; i++) NEAR(r->spread.layer[i].lambda, preset, 0);
    er_job_report_free(r);

    o.hparams = put_text("ratio.yaml", "mom2_trace_ratio: 0.25\n");
    OK(er_job_edit(&r, &o));
    assert_int_equal(r->targets_cached, FACTS);
    cJSON *manifest = NULL;
    OK(er_json_parse(&manifest, r->json, strlen(r->json), "manifest"));
    assert_null(cJSON_GetObjectItemCaseSensitive(at(manifest, "hparams"), "mom2_update_weight"));
    NEAR(at(at(manifest, "hparams"), "mom2_trace_ratio")->valuedouble, 0.25, 0);
    const cJSON *layers = at(at(at(manifest, "stages"), "solve"), "layers");
    for (int i = 0; i < 2; i++) {
        const cJSON *l = cJSON_GetArrayItem(layers, i);
        NEAR(at(l, "trace_ratio")->valuedouble, 0.25, 1e-12);
        NEAR(at(l, "lambda")->valuedouble, r->spread.layer[i].lambda, 1e-12 * r->spread.layer[i].lambda);
        assert_true(fabs(r->spread.layer[i].lambda - preset) > 1e-3 * preset);
    }
    cJSON_Delete(manifest);
    er_job_report_free(r);

    o.lambda = preset;
    OK(er_job_edit(&r, &o));
    assert_int_equal(r->targets_cached, FACTS);
    NEAR(r->hparams.trace_ratio, 0, 0);
    read_all(&flagged, &m, out, "model.safetensors");
    assert_int_equal(n, m);
    assert_memory_equal(plain, flagged, n);
    er_job_report_free(r);
    free(plain);
    free(flagged);
}

// ---- refusals ----

static void test_rejected_facts(void **state) {
    (void)state;
    er_job_report *r = NULL;
    char out[512];
    (void)snprintf(out, sizeof out, "%s", in_scratch("rejected"));
    static const char more[] =
        "{\"id\":\"long\",\"subject\":\"Fes Falil\",\"prompt\":\"%s {} is a\",\"target\":\"b\"}\n"
        "{\"id\":\"none\",\"subject\":\"\",\"prompt\":\"{} is a\",\"target\":\"b\"}\n";
    char words[1024] = "", lines[2048];
    for (int i = 0; i < 120; i++) (void)strcat(words, " far");  // more tokens than the model's 96 positions
    (void)snprintf(lines, sizeof lines, more, words);
    er_job_options o = job(out, in_scratch("cache"));
    o.facts = facts_with("some.jsonl", lines);
    o.strict = true;
    FAILS(er_job_edit(&r, &o), ER_EFORMAT, "some.jsonl: line 8: 'subject' is empty");
    o.strict = false;
    OK(er_job_edit(&r, &o));
    assert_int_equal(r->facts, FACTS);
    assert_int_equal(r->rejected, 2);
    cJSON *m = NULL;
    OK(er_json_parse(&m, r->json, strlen(r->json), "manifest"));
    const cJSON *list = at(at(m, "facts"), "rejected_records");
    assert_int_equal(cJSON_GetArraySize(list), 2);
    const cJSON *token_level = cJSON_GetArrayItem(list, 1);
    assert_int_equal(at(token_level, "line")->valueint, 7);
    assert_string_equal(at(token_level, "id")->valuestring, "long");
    assert_non_null(strstr(at(token_level, "reason")->valuestring, "exceeds the model's 96 positions"));
    cJSON_Delete(m);
    er_job_report_free(r);
}

static void test_refused_at_once(void **state) {
    (void)state;
    er_job_report *r = NULL;
    er_job_options o = job(MODEL "/edited", in_scratch("never"));
    FAILS(er_job_edit(&r, &o), ER_EOUTPUT, "is the model's own folder");
    o = job(in_scratch("absent/out"), in_scratch("never"));
    FAILS(er_job_edit(&r, &o), ER_EOUTPUT, "its parent folder");
    o = job(in_scratch("out2"), in_scratch("never"));
    const char *const missing[] = {in_scratch("no such text")};
    o.text = missing;
    FAILS(er_job_edit(&r, &o), ER_ENOENT, "no such text: no such file");
    o = job(in_scratch("out2"), in_scratch("never"));
    o.facts = put_text("bad.jsonl", "{\"subject\":\"\",\"prompt\":\"{} is\",\"target\":\"b\"}\n");
    FAILS(er_job_edit(&r, &o), ER_EFORMAT, "");
    o = job(in_scratch("out2"), in_scratch("never"));
    o.layers = "1,0";
    FAILS(er_job_edit(&r, &o), ER_ECONFIG, "layers must ascend: 0 after 1");
    o.layers = "3-1";
    FAILS(er_job_edit(&r, &o), ER_EARG, "3-1 runs backwards");
    assert_null(r);
    assert_int_equal(count_entries(in_scratch("out2")), -1);
    assert_int_equal(count_entries(in_scratch("never")), -1);
}

static void test_check(void **state) {
    (void)state;
    er_job_report *r = NULL;
    er_checkpoint *c = NULL;
    size_t bytes = 0;
    er_job_options o = job(NULL, in_scratch("never"));
    OK(er_job_check(&r, &o));
    OK(er_checkpoint_open(&c, MODEL));
    for (size_t i = 0; i < er_checkpoint_count(c); i++) bytes += er_checkpoint_at(c, i)->bytes;
    er_checkpoint_free(c);
    assert_int_equal(r->weight_bytes, bytes);
    assert_true(r->estimate.flops > 0 && r->estimate.rate > 0 && r->memory.weights >= bytes);
    assert_int_equal(r->facts, FACTS);
    assert_int_equal(count_entries(in_scratch("never")), -1);
    er_job_report_free(r);
}

// ---- kill -9 ----

static void copy_covariances(const char *from, const char *to) {
    DIR *d = opendir(from);
    assert_non_null(d);
    OK(er_mkdirs(to));
    for (struct dirent *e; (e = readdir(d));) {
        char *bytes = NULL, path[1024];
        size_t len = 0;
        if (!strstr(e->d_name, ".npz")) continue;
        read_all(&bytes, &len, from, e->d_name);
        (void)snprintf(path, sizeof path, "%s/%s", to, e->d_name);
        OK(er_file_write_atomic(path, bytes, len));
        free(bytes);
    }
    closedir(d);
}

static size_t values_kept(const char *cache) {
    size_t bytes = 0;
    DIR *d = opendir(cache);
    if (!d) return 0;
    for (struct dirent *e; (e = readdir(d));) {
        struct stat st;
        char path[1024];
        (void)snprintf(path, sizeof path, "%s/%s", cache, e->d_name);
        if (!strncmp(e->d_name, "values-", 7) && stat(path, &st) == 0) bytes += (size_t)st.st_size;
    }
    closedir(d);
    return bytes / (4 + 4 + 64 + 192 * sizeof(float) + 4);  // magic, width, digest, z, CRC
}

static void nap(long microseconds) {
    struct timespec t = {.tv_nsec = microseconds * 1000};
    (void)nanosleep(&t, NULL);
}

// Starts the job in a child and kills it once `records` values are on the disk, after a nap of some random
// length. How many there were when it was dead.
static size_t killed_at(const er_job_options *o, size_t records, uint64_t *seed) {
    pid_t child = fork();
    if (!child) {
        er_job_report *r = NULL;
        er_status rc = er_job_edit(&r, o);
        er_job_report_free(r);
        _exit(er_exit_code(rc));
    }
    assert_true(child > 0);
    int status = 0;
    while (values_kept(o->cache) < records && waitpid(child, &status, WNOHANG) == 0) nap(500);
    nap((long)(test_next(seed) % 3000));
    (void)kill(child, SIGKILL);
    (void)waitpid(child, &status, 0);
    return values_kept(o->cache);
}

static void test_killed(void **state) {
    (void)state;
    char whole[512], broken[512], cache[512], other[512];
    er_job_report *r = NULL;
    uint64_t seed = 20;
    (void)snprintf(whole, sizeof whole, "%s", in_scratch("whole"));
    (void)snprintf(broken, sizeof broken, "%s", in_scratch("broken"));
    (void)snprintf(cache, sizeof cache, "%s", in_scratch("cache-whole"));
    copy_covariances(in_scratch("cache"), cache);
    er_job_options o = job(whole, cache);
    o.deterministic = true;
    OK(er_job_edit(&r, &o));
    assert_int_equal(r->targets.requests, FACTS);
    er_job_report_free(r);
    size_t midway = 0;
    for (size_t turn = 0; turn < 3; turn++) {
        (void)snprintf(other, sizeof other, "%s-%zu", in_scratch("cache-broken"), turn);
        copy_covariances(cache, other);
        er_job_options b = job(broken, other);
        b.deterministic = true;
        for (size_t records = turn; records < FACTS; records += 2) {
            size_t kept = killed_at(&b, records, &seed);
            midway += kept > 0 && kept < FACTS;
        }
        b.force = true;  // the last one may have been too late
        OK(er_job_edit(&r, &b));
        assert_int_equal(r->targets_cached + r->targets.requests >= FACTS, 1);
        er_job_report_free(r);
        same_file(whole, broken, "model.safetensors");
        OK(er_remove_tree(broken));
    }
    assert_true(midway >= 2);  // the kills did fall between the first value and the last
}

static int setup(void **state) {
    if (scratch_make(state) != 0) return -1;
    (void)snprintf(facts_path, sizeof facts_path, "%s", facts_with("facts.jsonl", ""));
    return 0;
}

int main(void) {
    // the first leaves its covariances to the others
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_end_to_end),
        cmocka_unit_test(test_where_lambda_comes_from), cmocka_unit_test(test_rejected_facts),
        cmocka_unit_test(test_refused_at_once), cmocka_unit_test(test_check), cmocka_unit_test(test_killed)};
    er_log_set_level(ER_LOG_QUIET);
    return cmocka_run_group_tests(tests, setup, scratch_remove);
}
