// Weights: stored bytes, edits and their rounding, embeddings; and how devices open.
#include <float.h>
#include "io/dtype.h"
#include "tests/ops/checks.h"

static er_weight *make(const void *bytes, er_dtype t, size_t d_out, size_t d_in, bool conv1d) {
    er_weight *w = NULL;
    OK(dev->op->weight_create(dev, &w, &(er_weight_spec){bytes, t, d_out, d_in, conv1d, true, false}));
    return w;
}

static size_t bytes_of(er_dtype t) { return er_dtype_bits(t) / 8; }

// The neighbours of x in type t by brute force: nearest wins, a tie goes to the even one.
static double nearest(double x, er_dtype t) {
    double best = 0, gap = HUGE_VAL;
    for (uint32_t h = 0; h < 0x10000; h++) {
        double v = (double)(t == ER_BF16 ? er_f32_from_bf16((uint16_t)h) : er_f32_from_f16((uint16_t)h)),
               d = fabs(v - x);
        if (!isfinite(v) || d > gap || (d == gap && (h & 1))) continue;
        if (d < gap || !(h & 1)) best = v, gap = d;
    }
    return best;
}

void test_add_rounds_once(void **state) {
    (void)state;
    const er_dtype types[] = {ER_BF16, ER_F16};
    enum { OUT = 3, IN = 7 };
    for (int t = 0; t < 2; t++)
        for (int conv1d = 0; conv1d < 2; conv1d++) {
            uint64_t seed = 5;
            float start[OUT * IN], got[OUT * IN];
            uint16_t stored[OUT * IN];
            double dw[OUT * IN], want[OUT * IN], lost = 0, size = 0, norm = 0;
            er_weight_change change = {-1, -1, -1};
            for (size_t i = 0; i < OUT * IN; i++)
                start[i] = (float)test_uniform(&seed), dw[i] = test_uniform(&seed) * 0.3;
            er_from_f32(stored, start, types[t], OUT * IN);
            er_to_f32(start, stored, types[t], OUT * IN);
            // Just above and below a tie, by less than fp32 can hold: rounding twice would go astray.
            double ulp = t ? 0x1p-10 : 0x1p-7;
            start[0] = start[1] = start[2] = 1.0f;
            dw[0] = ulp / 2, dw[conv1d ? IN : 1] = ulp / 2 + 0x1p-40,
            dw[conv1d ? 2 * IN : 2] = 3 * ulp / 2 - 0x1p-40;
            er_from_f32(stored, start, types[t], OUT * IN);
            for (size_t o = 0; o < OUT; o++)
                for (size_t i = 0; i < IN; i++) {
                    size_t at = conv1d ? i * OUT + o : o * IN + i;
                    double sum = (double)start[at] + dw[o * IN + i];
                    want[at] = nearest(sum, types[t]);
                    norm += (double)start[at] * (double)start[at], lost += pow(want[at] - sum, 2),
                        size += dw[o * IN + i] * dw[o * IN + i];
                }
            er_weight *w = make(stored, types[t], OUT, IN, conv1d);
            OK(dev->op->weight_add(dev, w, guard_put(dev, dw, sizeof dw), &change));
            OK(dev->op->weight_read(dev, w, stored));
            er_to_f32(got, stored, types[t], OUT * IN);
            for (size_t i = 0; i < OUT * IN; i++) NEAR(got[i], want[i], 0);
            NEAR(change.lost, sqrt(lost), 1e-12);
            NEAR(change.change, sqrt(size), 1e-12);
            NEAR(change.weight, sqrt(norm), 1e-12);
            dev->op->weight_free(dev, w);
            guard_end(dev);
        }
}

// A product sees an edit at once, in every stored type and layout, also when it ran before the edit.
void test_add_reaches_products(void **state) {
    (void)state;
    const er_dtype types[] = {ER_F32, ER_BF16, ER_F16};
    enum { OUT = 33, IN = 40 };
    for (int t = 0; t < 3; t++)
        for (int conv1d = 0; conv1d < 2; conv1d++) {
            static float start[OUT * IN], edited[OUT * IN], x[IN], y[OUT], dx[IN];
            static double dw[OUT * IN];
            static char stored[OUT * IN * 4], before[OUT * IN * 4];
            uint64_t seed = 8;
            for (size_t i = 0; i < OUT * IN; i++)
                start[i] = (float)test_uniform(&seed), dw[i] = test_uniform(&seed);
            for (size_t i = 0; i < IN; i++) x[i] = (float)test_uniform(&seed);
            er_from_f32(before, start, types[t], OUT * IN);
            er_weight *w = make(before, types[t], OUT, IN, conv1d);
            float *dev_x = guard_put(dev, x, sizeof x), *dev_y = guard_alloc(dev, sizeof y),
                  *dev_dx = guard_alloc(dev, sizeof dx);
            for (int round = 0; round < 3; round++) {
                if (round == 1) OK(dev->op->weight_add(dev, w, guard_put(dev, dw, sizeof dw), NULL));
                if (round == 2) OK(dev->op->weight_set(dev, w, before));
                OK(dev->op->weight_read(dev, w, stored));
                if (round != 1) assert_memory_equal(stored, before, OUT * IN * bytes_of(types[t]));
                else assert_memory_not_equal(stored, before, OUT * IN * bytes_of(types[t]));
                er_to_f32(edited, stored, types[t], OUT * IN);
                OK(dev->op->linear(dev, dev_y, dev_x, w, NULL, 1, 0));
                guard_get(dev, y, dev_y, sizeof y);
                OK(dev->op->linear_backward(dev, dev_dx, dev_y, w, 1, 0));
                guard_get(dev, dx, dev_dx, sizeof dx);
                for (size_t o = 0; o < OUT; o++) {
                    double sum = 0;
                    for (size_t i = 0; i < IN; i++)
                        sum += (double)x[i] * (double)edited[conv1d ? i * OUT + o : o * IN + i];
                    NEAR(y[o], sum, 1e-5);
                }
                for (size_t i = 0; i < IN; i++) {
                    double sum = 0;
                    for (size_t o = 0; o < OUT; o++)
                        sum += (double)y[o] * (double)edited[conv1d ? i * OUT + o : o * IN + i];
                    NEAR(dx[i], sum, 1e-4);
                }
            }
            dev->op->weight_free(dev, w);
            guard_end(dev);
        }
}

void test_add_refuses(void **state) {
    (void)state;
    const er_dtype types[] = {ER_F32, ER_BF16, ER_F16};
    const double huge[] = {4e38, 3.4e38, 65520};
    for (int t = 0; t < 3; t++) {
        float start[6] = {1, 2, 3, 4, 5, 6};
        char stored[24], after[24];
        double dw[6] = {1, 1, 1, 0, 1, 1}, none[6] = {0};
        er_weight_change change = {7, 7, 7};
        er_from_f32(stored, start, types[t], 6);
        er_weight *w = make(stored, types[t], 2, 3, false);
        dw[3] = huge[t];
        FAILS(dev->op->weight_add(dev, w, guard_put(dev, dw, sizeof dw), &change), ER_ENUMERIC, "[1, 0]");
        dw[3] = (double)NAN;
        FAILS(dev->op->weight_add(dev, w, guard_put(dev, dw, sizeof dw), &change), ER_ENUMERIC, "not finite");
        OK(dev->op->weight_read(dev, w, after));
        assert_memory_equal(after, stored, 6 * bytes_of(types[t]));
        OK(dev->op->weight_add(dev, w, guard_put(dev, none, sizeof none), &change));
        NEAR(change.lost, 0, 0);
        NEAR(change.change, 0, 0);
        OK(dev->op->weight_read(dev, w, after));
        assert_memory_equal(after, stored, 6 * bytes_of(types[t]));
        dev->op->weight_free(dev, w);
        guard_end(dev);
    }
    er_weight *fixed = NULL;
    float one = 1;
    double change = 1;
    OK(dev->op->weight_create(dev, &fixed, &(er_weight_spec){&one, ER_F32, 1, 1, false, false, false}));
    FAILS(
        dev->op->weight_add(dev, fixed, guard_put(dev, &change, 8), NULL), ER_EARG, "not opened for editing");
    dev->op->weight_free(dev, fixed);
    FAILS(dev->op->weight_create(dev, &fixed, &(er_weight_spec){&one, ER_I32, 1, 1, false, false, false}),
        ER_EUNSUPPORTED, "I32");
    guard_end(dev);
}

void test_embed(void **state) {
    (void)state;
    const er_dtype types[] = {ER_F32, ER_BF16, ER_F16};
    enum { VOCAB = 11, HIDDEN = 37, POSITIONS = 9, TOKENS = 5 };
    const int32_t token[TOKENS] = {0, 10, 3, 3, 7}, pos[TOKENS] = {0, 1, 2, 6, 4};
    for (int t = 0; t < 3; t++) {
        uint64_t seed = 2;
        static float table[VOCAB * HIDDEN], place[POSITIONS * HIDDEN], x[TOKENS * HIDDEN];
        static char stored[VOCAB * HIDDEN * 4], stored_place[POSITIONS * HIDDEN * 4];
        for (size_t i = 0; i < VOCAB * HIDDEN; i++) table[i] = (float)test_uniform(&seed);
        for (size_t i = 0; i < POSITIONS * HIDDEN; i++) place[i] = (float)test_uniform(&seed);
        er_from_f32(stored, table, types[t], VOCAB * HIDDEN),
            er_to_f32(table, stored, types[t], VOCAB * HIDDEN);
        er_from_f32(stored_place, place, types[t], POSITIONS * HIDDEN),
            er_to_f32(place, stored_place, types[t], POSITIONS * HIDDEN);
        er_weight *e = make(stored, types[t], VOCAB, HIDDEN, false),
                  *p = make(stored_place, types[t], POSITIONS, HIDDEN, false);
        float *dev_x = guard_alloc(dev, sizeof x);
        int32_t *dev_token = guard_put(dev, token, sizeof token), *dev_pos = guard_put(dev, pos, sizeof pos);
        for (int mode = 0; mode < 4; mode++) {
            bool with = mode & 1;
            const float scale = mode & 2 ? 5.5f : 1;
            er_embed_args a = {TOKENS, e, with ? p : NULL, scale, dev_token, dev_pos, 2};
            OK(dev->op->embed(dev, &a, dev_x));
            guard_get(dev, x, dev_x, sizeof x);
            for (size_t i = 0; i < TOKENS * HIDDEN; i++) {
                size_t row = i / HIDDEN, col = i % HIDDEN;
                // A GPU may fuse product and sum.
                double want = (double)scale * (double)table[(size_t)token[row] * HIDDEN + col];
                if (with) want += (double)place[(size_t)(pos[row] + 2) * HIDDEN + col];
                if (mode == 3) NEAR(x[i], want, 1e-6);
                else assert_true(x[i] == (float)want);
            }
        }
        dev->op->weight_free(dev, e), dev->op->weight_free(dev, p);
        guard_end(dev);
    }
}

void test_memory(void **state) {
    (void)state;
    char text[40] = "what goes in comes out", back[40] = {0};
    char *a = guard_put(dev, text, sizeof text), *b = guard_alloc(dev, sizeof text);
    OK(dev->op->copy(dev, b, a, sizeof text));
    guard_get(dev, back, b, sizeof back);
    assert_string_equal(back, text);
    OK(dev->op->zero(dev, b, 5));
    guard_get(dev, back, b, sizeof back);
    assert_true(!back[0] && !back[4] && back[5] == 'g');
    OK(dev->op->copy(dev, NULL, NULL, 0));
    OK(dev->op->zero(dev, NULL, 0));
    void *p = NULL;
    FAILS(dev->op->alloc(dev, &p, SIZE_MAX), ER_ENOMEM, "bytes");
    assert_null(p);
    guard_end(dev);
}

void test_open(void **state) {
    (void)state;
    er_device *d = NULL;
    er_device_options o = ER_DEVICE_OPTIONS_DEFAULT;
    o.kind = "abacus";
    FAILS(er_device_open(&d, &o), ER_EARG, "'abacus'");
    o.kind = "cpu", o.threads = -3;
    FAILS(er_device_open(&d, &o), ER_EARG, "-3 threads");
    assert_null(d);
    o.threads = 1, o.memory_limit = 1 << 20;
    OK(er_device_open(&d, &o));
    assert_int_equal(d->threads, 1);
    assert_int_equal(d->memory_limit, 1 << 20);
    assert_non_null(strstr(d->name, "1 thread,"));
    er_device_close(d);
    er_device_close(NULL);
}
