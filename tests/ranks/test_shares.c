// What ranks are given: every row, every request and every batch once, about as much for each, whatever their
// number.
#include <pthread.h>
#include <stdlib.h>

#include "engine/job/share_internal.h"
#include "engine/statistics/ranks_internal.h"
#include "engine/targets/z_slots_internal.h"
#include "io/base/log.h"
#include "tests/support/letter_requests.h"
#include "tests/support/thread_comm.h"

static void test_rows(void **state) {
    (void)state;
    uint64_t seed = 9;
    for (size_t size = 1; size <= 7; size++)
        for (size_t rows = 1; rows < 40; rows += 3) {
            er_sequences *all = NULL, *own = NULL;
            int32_t token[60], next = 0;
            size_t seen = 0;
            OK(er_sequences_new(&all));
            for (size_t r = 0; r < rows; r++) {
                size_t n = 1 + test_next(&seed) % 60;
                for (size_t i = 0; i < n; i++) token[i] = next++;
                OK(er_sequences_add(all, token, n));
            }
            next = 0;
            for (size_t r = 0; r < size; r++) {
                OK(er_sequences_share(&own, all, 0, &(er_comm){.rank = r, .size = size}));
                for (size_t i = 0; i < own->tokens; i++) assert_int_equal(own->token[i], next++);
                assert_true(own->tokens <= all->tokens / size + 1 + 60);
                seen += own->rows;
                er_sequences_free(own);
            }
            assert_int_equal(seen, rows);
            assert_int_equal(next, all->tokens);
            er_sequences_free(all);
        }
}

// Batches of 100 tokens at most, of rows of 30: three rows each, and a last one of fewer.
static void test_whole_batches(void **state) {
    (void)state;
    int32_t token[30] = {0};
    for (size_t size = 1; size <= 7; size++) {
        er_sequences *all = NULL, *own = NULL;
        size_t rows = 0;
        OK(er_sequences_new(&all));
        for (size_t r = 0; r < 32; r++) OK(er_sequences_add(all, token, 30));
        for (size_t r = 0; r < size; r++) {
            OK(er_sequences_share(&own, all, 100, &(er_comm){.rank = r, .size = size}));
            rows += own->rows;
            size_t batches = 11 / size + (r < 11 % size);
            assert_int_equal(own->rows, r + 1 < size ? 3 * batches : 3 * batches - 1);
            er_sequences_free(own);
        }
        assert_int_equal(rows, 32);
        er_sequences_free(all);
    }
}

// The batches that are foretold are those that the slots take, for batches of all sizes.
static void test_batches_of_a_deterministic_run(void **state) {
    (void)state;
    lettered x;
    lettered_open(&x, "gpt2_prefixed", true, letter_facts);
    for (size_t batch = 1; batch < 600; batch += 13) {
        size_t group[LETTER_UNITS], slot = 0, groups = er_targets_groups(group, x.requests, batch);
        er_z_slots *s = NULL;
        OK(er_z_slots_create(&s, x.m, x.requests, &x.h, batch));
        size_t seen = 0;
        for (size_t i = 0; i < LETTER_UNITS; seen++)
            for (size_t n = 0;; n++) {
                if (i == LETTER_UNITS || !er_z_slots_take(s, &slot, i)) {
                    for (slot = 0; slot < s->count; slot++)
                        if (s->request[slot] != ER_NO_REQUEST) OK(er_z_slots_release(s, slot));
                    break;
                }
                assert_int_equal(group[i++], seen);
            }
        assert_int_equal(seen, groups);
        er_z_slots_free(s);
    }
    lettered_close(&x);
}

// ---- requests, as job ranks deal them ----

enum { MANY = 100, RANKS = 3 };

typedef struct dealt {
    const er_comm *comm;
    er_requests *requests;
    bool have[MANY];
    size_t owner[MANY], count, tokens;
} dealt;

static void *deal_here(void *ctx) {
    dealt *d = ctx;
    er_job_options o = {0};
    er_job_report report = {0};
    er_share s = {0};
    er_job j = {.o = &o, .comm = d->comm, .report = &report, .requests = d->requests, .have = d->have};
    if (er_share_begin(&s, &j) != ER_OK) return "not dealt";
    memcpy(d->owner, s.owner, sizeof d->owner);
    d->count = s.own.count;
    for (size_t i = 0; i < s.own.count; i++) {
        d->tokens += s.own.at[i].row[0].length;
        if (i && s.own.at[i].row[0].length > s.own.at[i - 1].row[0].length) return "a longer one comes later";
    }
    er_share_free(&s);
    return NULL;
}

static void test_requests(void **state) {
    (void)state;
    const er_comm *comm[THREAD_RANKS];
    thread_comms *t = NULL;
    er_request at[MANY] = {0};
    er_prompt row[MANY] = {0};
    er_requests all = {.at = at, .count = MANY};
    dealt d[RANKS];
    pthread_t thread[RANKS];
    uint64_t seed = 21;
    size_t left = 0, tokens = 0;
    OK(thread_comms_create(&t, comm, RANKS, 60));
    memset(d, 0, sizeof d);
    for (size_t i = 0; i < MANY; i++) {
        row[i].length = 5 + test_next(&seed) % 50;
        at[i].row = &row[i], at[i].n_rows = 1;
        // Rank 1 has every tenth in a cache that the others do not see, rank 2 the one behind.
        d[1].have[i] = i % 10 == 0, d[2].have[i] = i % 10 == 1;
        if (i % 10 > 1) left++, tokens += row[i].length;
    }
    for (size_t r = 0; r < RANKS; r++) {
        d[r].comm = comm[r], d[r].requests = &all;
        assert_int_equal(pthread_create(&thread[r], NULL, deal_here, &d[r]), 0);
    }
    for (size_t r = 0; r < RANKS; r++) {
        void *said = NULL;
        assert_int_equal(pthread_join(thread[r], &said), 0);
        if (said) fail_msg("rank %zu: %s", r, (char *)said);
    }
    size_t count = 0;
    for (size_t r = 0; r < RANKS; r++) {
        assert_memory_equal(d[r].owner, d[0].owner, sizeof d[0].owner);
        count += d[r].count;
        assert_true(d[r].tokens <= tokens / RANKS + 55 && d[r].tokens + 55 >= tokens / RANKS);
        for (size_t i = 0; i < MANY; i++) assert_int_equal(d[r].have[i], i % 10 < 2);
    }
    assert_int_equal(count, left);
    for (size_t i = 0; i < MANY; i++)
        if (i % 10 < 2) assert_int_equal(d[0].owner[i], 1 + i % 10);
    thread_comms_free(t);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_rows), cmocka_unit_test(test_whole_batches),
        cmocka_unit_test(test_batches_of_a_deterministic_run), cmocka_unit_test(test_requests)};
    er_log_set_level(ER_LOG_QUIET);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
