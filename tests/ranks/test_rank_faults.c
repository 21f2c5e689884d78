// A rank that fails, is stopped, dies, or has read something else ends all ranks of a job with one message
// and without an output.
#include "io/base/log.h"
#include "tests/support/letter_job.h"

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
        er_job_options o;
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

// Every `stride`th collective of the job fails once on a rank, or its process dies there.
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
        if (dies) (void)snprintf(words, sizeof words, "rank %zu: was killed by signal", victim);
        else (void)snprintf(words, sizeof words, "collective %zu fails", k);
        j.fails_at = k;
        rank_job_run(out, &j, &seconds);
        if (out[victim].ended == dies) fail_msg("rank %zu lived otherwise than expected at %zu", victim, k);
        all_end_alike(out, &j, dies ? ER_EDEVICE : ER_ENOMEM, words);
        BELOW(seconds, 30);
        if (er_dir_exists(j.o.cache)) OK(er_remove_tree(j.o.cache));
    }
    print_message(
        "rank %zu %s, at every %zuth of %zu collectives\n", victim, dies ? "dies" : "fails", stride, calls);
}

static void test_every_collective_fails(void **state) {
    (void)state;
    put_model("gpt2_prefixed", false);
    walk(1, false, 2);
    walk(0, false, 7);
}

static void test_a_rank_dies(void **state) {
    (void)state;
    put_model("gpt2_prefixed", false);
    walk(2, true, 4);
    walk(0, true, 11);
}

// At the last collective the output stands already: rank 0 has done the job, the others are told what befell
// them.
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

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_a_stop_of_one_rank),
        cmocka_unit_test(test_other_inputs), cmocka_unit_test(test_every_collective_fails),
        cmocka_unit_test(test_a_rank_dies), cmocka_unit_test(test_after_the_output_stands)};
    er_log_set_level(ER_LOG_QUIET);
    return cmocka_run_group_tests(tests, letter_job_make, scratch_remove);
}
