// Every half and bfloat16 there is, against their definition in double arithmetic; rounding against the
// nearest of two neighbours found by search, not by the code under test.
#include "tests/test.h"

#include "io/dtype.h"

// The value of a half by its definition (-1)^s 2^(e-15) (1 + m/1024); e = 31 is not asked for.
static double half_value(unsigned h) {
    int e = (int)(h >> 10 & 31), m = (int)(h & 1023);
    double v = e == 0 ? ldexp(m, -24) : ldexp(1024 + m, e - 25);
    return h & 0x8000u ? -v : v;
}

static double bf16_value(unsigned h) {
    int e = (int)(h >> 7 & 255), m = (int)(h & 127);
    double v = e == 0 ? ldexp(m, -133) : ldexp(128 + m, e - 134);
    return h & 0x8000u ? -v : v;
}

// Nearest with ties to even among the non-negative finite codes 0 .. last, whose values ascend; `limit` is
// the value that code last + 1 (infinity's) would have if the exponent went on.
static unsigned nearest(double x, double (*value)(unsigned), unsigned last, double limit) {
    unsigned lo = 0, hi = last + 1;
    while (hi - lo > 1) {
        unsigned mid = (lo + hi) / 2;
        if (value(mid) <= x) lo = mid;
        else hi = mid;
    }
    double below = x - value(lo), above = (hi > last ? limit : value(hi)) - x;
    return below < above ? lo : above < below ? hi : lo % 2 == 0 ? lo : hi;
}

static float float_of(uint32_t u) {
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}

static void every_half_has_its_value(void **state) {
    (void)state;
    for (unsigned h = 0; h < 0x10000u; h++) {
        float f = er_f32_from_f16((uint16_t)h);
        if ((h & 0x7c00u) == 0x7c00u) {
            if (h & 0x3ffu) assert_true(isnan(f));
            else assert_true(isinf(f) && (f < 0) == (h >> 15));
        } else {
            assert_true((double)f == half_value(h) && (signbit(f) != 0) == (h >> 15));
        }
        uint16_t back = er_f16_from_f32(f);
        if (isnan(f)) assert_true((back & 0x7c00u) == 0x7c00u && (back & 0x3ffu) && back >> 15 == h >> 15);
        else assert_int_equal(back, h);
    }
}

static void every_bf16_has_its_value(void **state) {
    (void)state;
    for (unsigned h = 0; h < 0x10000u; h++) {
        float f = er_f32_from_bf16((uint16_t)h);
        if ((h & 0x7f80u) == 0x7f80u) assert_true(h & 0x7fu ? isnan(f) != 0 : isinf(f) != 0);
        else assert_true((double)f == bf16_value(h) && (signbit(f) != 0) == (h >> 15));
        uint16_t back = er_bf16_from_f32(f);
        if (isnan(f)) assert_true(isnan(er_f32_from_bf16(back)));
        else assert_int_equal(back, h);
    }
}

// Every boundary there is (each code, each midpoint of two neighbours, and the floats on both sides of these)
// and random ones.
static void check_rounding(
    uint16_t (*convert)(float), double (*value)(unsigned), unsigned last, double limit) {
    uint64_t seed = 7;
    for (unsigned h = 0; h <= last; h++) {
        double next = h == last ? limit : value(h + 1), points[2] = {value(h), (value(h) + next) / 2};
        for (int p = 0; p < 2; p++) {
            float f = (float)points[p], around[3] = {f, nextafterf(f, 0.0f), nextafterf(f, INFINITY)};
            for (int k = 0; k < 3; k++) {
                unsigned want =
                    (double)around[k] >= limit ? last + 1 : nearest((double)around[k], value, last, limit);
                assert_int_equal(convert(around[k]), want);
                if (around[k] != 0.0f) assert_int_equal(convert(-around[k]), want | 0x8000u);
            }
        }
    }
    for (int i = 0; i < 300000; i++) {
        float f = float_of((uint32_t)test_next(&seed) & 0x7fffffffu);
        if (!isfinite(f)) continue;
        unsigned want = (double)f >= limit ? last + 1 : nearest((double)f, value, last, limit);
        assert_int_equal(convert(f), want);
    }
}

static void half_rounds_to_nearest_even(void **state) {
    (void)state;
    check_rounding(er_f16_from_f32, half_value, 0x7bffu, 65536.0);
}

static void bf16_rounds_to_nearest_even(void **state) {
    (void)state;
    check_rounding(er_bf16_from_f32, bf16_value, 0x7f7fu, 0x1p128);
}

static void known_values(void **state) {
    (void)state;
    assert_int_equal(er_f16_from_f32(1.0f), 0x3c00);
    assert_int_equal(er_f16_from_f32(-2.0f), 0xc000);
    assert_int_equal(er_f16_from_f32(65504.0f), 0x7bff);
    assert_int_equal(er_f16_from_f32(65519.996f), 0x7bff);
    assert_int_equal(er_f16_from_f32(65520.0f), 0x7c00);
    assert_int_equal(er_f16_from_f32(0x1p-24f), 0x0001);
    assert_int_equal(er_f16_from_f32(0x1p-25f), 0x0000);  // a tie with zero
    assert_int_equal(er_f16_from_f32(0x1.8p-24f), 0x0002);
    assert_int_equal(er_f16_from_f32(-0.0f), 0x8000);
    assert_int_equal(er_bf16_from_f32(1.0f), 0x3f80);
    assert_int_equal(er_bf16_from_f32(3.4028235e38f), 0x7f80);
    assert_int_equal(er_bf16_from_f32(float_of(0x3f808000u)), 0x3f80);  // tie, even below
    assert_int_equal(er_bf16_from_f32(float_of(0x3f818000u)), 0x3f82);  // tie, even above
    // A NaN whose payload sits only in the bits that are cut off must not become infinity.
    assert_true(isnan(er_f32_from_bf16(er_bf16_from_f32(float_of(0x7f800001u)))));
    assert_true(isnan(er_f32_from_bf16(er_bf16_from_f32(float_of(0xffffffffu)))));
    assert_true(isnan(er_f32_from_f16(er_f16_from_f32(float_of(0x7f800001u)))));
}

static void arrays_at_any_alignment(void **state) {
    (void)state;
    enum { N = 1001 };
    static const er_dtype types[] = {ER_F32, ER_F16, ER_BF16, ER_F64};
    float x[N], y[N];
    unsigned char raw[8 * N + 1];
    uint64_t seed = 3;
    for (int i = 0; i < N; i++) x[i] = (float)test_uniform(&seed);
    for (size_t t = 0; t < 4; t++) {
        double eps = types[t] == ER_F16 ? 0x1p-11 : types[t] == ER_BF16 ? 0x1p-8 : 0;
        memset(y, 0xff, sizeof y);
        er_from_f32(raw + 1, x, types[t], N);
        er_to_f32(y, raw + 1, types[t], N);
        for (int i = 0; i < N; i++) NEAR(y[i], x[i], eps * fabs((double)x[i]) + (eps > 0 ? 0x1p-25 : 0));
    }
    er_to_f32(NULL, NULL, ER_F32, 0);
    er_from_f32(NULL, NULL, ER_F32, 0);
}

static void names(void **state) {
    (void)state;
    er_dtype t;
    for (int i = 0; i < ER_DTYPE_COUNT; i++) {
        assert_true(er_dtype_parse(&t, er_dtype_name((er_dtype)i)));
        assert_int_equal(t, i);
    }
    assert_false(er_dtype_parse(&t, "bf16"));
    assert_false(er_dtype_parse(&t, "F16 "));
    assert_false(er_dtype_parse(&t, ""));
    assert_int_equal(er_dtype_bits(ER_F4), 4);
    assert_int_equal(er_dtype_bits(ER_F6_E3M2), 6);
    assert_int_equal(er_dtype_bits(ER_BF16), 16);
    assert_int_equal(er_dtype_bits(ER_C64), 64);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_half_has_its_value),
        cmocka_unit_test(every_bf16_has_its_value),
        cmocka_unit_test(half_rounds_to_nearest_even),
        cmocka_unit_test(bf16_rounds_to_nearest_even),
        cmocka_unit_test(known_values),
        cmocka_unit_test(arrays_at_any_alignment),
        cmocka_unit_test(names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
