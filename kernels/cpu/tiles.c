#include "kernels/cpu/tiles.h"

#include <string.h>

#define SIDE 32                  // rows and columns of a block: 2 x 2 tiles of 16 x 16 sums
#define TILE 512                 // bf16 numbers in a tile: 16 rows of 64 bytes
#define CHUNK ((size_t)1 << 20)  // bytes of packed activations that stay in the second-level cache
#define DEPTH 24                 // blocks of k in a step

static size_t blocks(size_t n) { return (n + SIDE - 1) / SIDE; }

size_t er_tiles_packed_bytes(size_t k, size_t n) {
    return blocks(k) * blocks(n) * 2 * TILE * sizeof(uint16_t);
}

static uint16_t bf16_at(const void *stored, er_dtype type, size_t at) {
    if (type == ER_BF16) return ((const uint16_t *)stored)[at];
    if (type == ER_F32) return er_bf16_from_f32(((const float *)stored)[at]);
    return er_bf16_from_f32(er_f32_from_f16(((const uint16_t *)stored)[at]));
}

void er_tiles_pack(er_device *d, uint16_t *packed, const void *stored, er_dtype type, size_t k, size_t n,
    size_t step_k, size_t step_n) {
    const size_t panels = blocks(n), depth = blocks(k);
#pragma omp parallel for num_threads(d->threads) if (k * n > 1 << 14)
    for (size_t p = 0; p < panels; p++) {
        uint16_t *out = packed + p * depth * 2 * TILE;
        for (size_t at = 0; at < depth * 2 * TILE; at++) {
            // tile pair, tile of the pair, pair of k, column, member of the pair
            size_t i = at / (2 * TILE) * SIDE + at / 32 % 16 * 2 + at % 2,
                   j = p * SIDE + at / TILE % 2 * 16 + at / 2 % 16;
            out[at] = i < k && j < n ? bf16_at(stored, type, i * step_k + j * step_n) : 0;
        }
    }
}

#if defined(__x86_64__) && defined(__linux__)
#include <cpuid.h>
#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>

#define TARGET __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,amx-tile,amx-bf16")))

er_bf16_unit er_tiles_unit(void) {
    unsigned a = 0, b = 0, c = 0, d = 0, low, high, more;
    const unsigned amx = 1u << 22 | 1u << 24, avx512 = 1u << 16 | 1u << 17 | 1u << 30 | 1u << 31;
    if (!__get_cpuid_count(1, 0, &a, &b, &c, &d) || !(c & 1u << 27)) return ER_BF16_NONE;  // OSXSAVE
    __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));  // which registers survive a switch
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || (b & avx512) != avx512 || (low & 0xe6u) != 0xe6u)
        return ER_BF16_NONE;
    if (!__get_cpuid_count(7, 1, &more, &b, &c, &high) || !(more & 1u << 5))
        return ER_BF16_NONE;  // AVX512_BF16
    if ((d & amx) != amx || (low & 0x60000u) != 0x60000u) return ER_BF16_DOTS;
    // Linux hands out the 8 KiB of tile data on request: ARCH_REQ_XCOMP_PERM of feature 18.
    return syscall(SYS_arch_prctl, 0x1023, 18) == 0 ? ER_BF16_TILES : ER_BF16_DOTS;
}

// Rows r0 .. r0+31, columns c0 .. of x [m, k] as depth * terms pairs of tiles; rows past m and columns past k
// are zero.
TARGET static void pack_rows(
    uint16_t *out, const float *x, size_t r0, size_t m, size_t c0, size_t depth, size_t k, int terms) {
    for (size_t i = 0; i < depth; i++)
        for (size_t r = 0; r < SIDE; r++) {
            uint16_t *line = out + i * (size_t)terms * 2 * TILE + r * 32;
            const float *from = x + (r0 + r) * k + c0 + i * SIDE;
            size_t left = r0 + r < m ? k - c0 - i * SIDE : 0;
            __mmask16 lo = (__mmask16)(left >= 16 ? 0xffffu : (1u << left) - 1);
            __mmask16 hi = (__mmask16)(left >= 32 ? 0xffffu : left > 16 ? (1u << (left - 16)) - 1 : 0);
            __m512 v0 = _mm512_maskz_loadu_ps(lo, from), v1 = _mm512_maskz_loadu_ps(hi, from + 16);
            for (int t = 0; t < terms; t++, line += 2 * TILE) {
                __m512i both = (__m512i)_mm512_cvtne2ps_pbh(v1, v0);
                _mm512_store_si512(line, both);
                if (t + 1 == terms) break;
                v0 = _mm512_sub_ps(v0, _mm512_castsi512_ps(_mm512_slli_epi32(
                                           _mm512_cvtepu16_epi32(_mm512_castsi512_si256(both)), 16)));
                v1 = _mm512_sub_ps(v1, _mm512_castsi512_ps(_mm512_slli_epi32(
                                           _mm512_cvtepu16_epi32(_mm512_extracti64x4_epi64(both, 1)), 16)));
            }
        }
}

TARGET static void configure(void) {
    struct {
        uint8_t palette, start_row, zero[14];
        uint16_t bytes[16];
        uint8_t rows[16];
    } config __attribute__((aligned(64))) = {.palette = 1};
    for (int t = 0; t < 8; t++) config.bytes[t] = 64, config.rows[t] = 16;
    _tile_loadconfig(&config);
}

// to [32 or 16, 32] = A block (two row tiles, or one) times a panel of B.
ER_INLINE TARGET void multiply(
    const uint16_t *a, const uint16_t *b, size_t depth, int terms, bool two, float *to, size_t ld) {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (size_t i = 0; i < depth; i++, b += 2 * TILE) {
        _tile_loadd(6, b, 64);
        _tile_loadd(7, b + TILE, 64);
        for (int t = 0; t < terms; t++, a += 2 * TILE) {
            _tile_loadd(4, a, 64);
            _tile_dpbf16ps(0, 4, 6);
            _tile_dpbf16ps(1, 4, 7);
            if (!two) continue;
            _tile_loadd(5, a + TILE, 64);
            _tile_dpbf16ps(2, 5, 6);
            _tile_dpbf16ps(3, 5, 7);
        }
    }
    _tile_stored(0, to, ld * sizeof *to);
    _tile_stored(1, to + 16, ld * sizeof *to);
    if (!two) return;
    _tile_stored(2, to + 16 * ld, ld * sizeof *to);
    _tile_stored(3, to + 16 * ld + 16, ld * sizeof *to);
}

// The same with dot products of pairs, 8 rows at a time, for one term.
TARGET static void multiply_dots(
    const uint16_t *a, const uint16_t *b, size_t depth, bool two, float *to, size_t ld) {
    for (size_t r = 0; r < (two ? SIDE : SIDE / 2); r += 8) {
        __m512 sum[8][2] = {{_mm512_setzero_ps()}};
        for (size_t pair = 0; pair < depth * 16; pair++) {
            const uint16_t *line = b + pair / 16 * 2 * TILE + pair % 16 * 32,
                           *from = a + pair / 16 * 2 * TILE + r * 32 + pair % 16 * 2;
            __m512i left = _mm512_load_si512(line), right = _mm512_load_si512(line + TILE);
#pragma GCC unroll 8
            for (size_t i = 0; i < 8; i++) {
                int both;
                memcpy(&both, from + i * 32, sizeof both);
                __m512bh x = (__m512bh)_mm512_set1_epi32(both);
                sum[i][0] = _mm512_dpbf16_ps(sum[i][0], x, (__m512bh)left);
                sum[i][1] = _mm512_dpbf16_ps(sum[i][1], x, (__m512bh)right);
            }
        }
        for (size_t i = 0; i < 8; i++)
            for (size_t j = 0; j < 2; j++) _mm512_storeu_ps(to + (r + i) * ld + j * 16, sum[i][j]);
    }
}

// A product in steps: `rows` row blocks of the activations, `depth` blocks of k. Their packed form stays in
// the second-level cache while the threads walk their panels of B; sums of different steps meet in y, which
// also keeps long sums accurate.
typedef struct product {
    float *y;
    const float *x, *bias;
    const uint16_t *b;
    size_t m, n, k, row_blocks, panels, k_blocks;
    size_t step_rows, step_depth;
    size_t row_groups, panel_groups;  // of threads
    bool add;
    er_bf16_unit unit;
    int terms;
    uint16_t *packed[2];
} product;

typedef struct step {
    size_t row, rows, k, depth;  // in blocks
    const uint16_t *a;
    bool add;           // to what y holds
    const float *bias;  // at the first step of k
} step;

// Writes a block of sums, or adds it to y: partial and biased ones too.
TARGET static void finish(const product *p, const step *s, const float *sums, float *y, size_t rows,
    size_t cols, const float *bias) {
    for (size_t r = 0; r < rows; r++)
        for (size_t at = 0; at < cols; at += 16) {
            __mmask16 mask = (__mmask16)(cols - at >= 16 ? 0xffffu : (1u << (cols - at)) - 1);
            __m512 v = _mm512_load_ps(sums + r * SIDE + at);
            if (s->add) v = _mm512_add_ps(v, _mm512_maskz_loadu_ps(mask, y + r * p->n + at));
            if (bias) v = _mm512_add_ps(v, _mm512_maskz_loadu_ps(mask, bias + at));
            _mm512_mask_storeu_ps(y + r * p->n + at, mask, v);
        }
}

TARGET static void one_block(const product *p, const step *s, size_t block, size_t panel) {
    float sums[SIDE * SIDE] __attribute__((aligned(64)));
    const size_t first = (s->row + block) * SIDE, rows = p->m - first, cols = p->n - panel * SIDE;
    const bool two = rows > 16, direct = rows >= SIDE && cols >= SIDE && !s->bias && !s->add;
    float *y = p->y + first * p->n + panel * SIDE, *to = direct ? y : sums;
    const size_t ld = direct ? p->n : SIDE;
    const uint16_t *a = s->a + block * s->depth * (size_t)p->terms * 2 * TILE,
                   *b = p->b + (panel * p->k_blocks + s->k) * 2 * TILE;
    if (p->unit == ER_BF16_DOTS) multiply_dots(a, b, s->depth, two, to, ld);
    else if (p->terms == 3 && two) multiply(a, b, s->depth, 3, true, to, ld);
    else if (p->terms == 3) multiply(a, b, s->depth, 3, false, to, ld);
    else multiply(a, b, s->depth, 1, two, to, ld);
    if (!direct)
        finish(p, s, sums, y, rows < SIDE ? rows : SIDE, cols < SIDE ? cols : SIDE,
            s->bias ? s->bias + panel * SIDE : NULL);
}

// One share of a step: a range of panels and of row blocks.
TARGET static void walk(const product *p, const step *s, size_t share) {
    const size_t g = share % p->panel_groups, r = share / p->panel_groups;
    if (p->unit == ER_BF16_TILES) configure();
    for (size_t panel = g * p->panels / p->panel_groups; panel < (g + 1) * p->panels / p->panel_groups;
         panel++)
        for (size_t block = r * s->rows / p->row_groups; block < (r + 1) * s->rows / p->row_groups; block++)
            one_block(p, s, block, panel);
    if (p->unit == ER_BF16_TILES) _tile_release();
}

// All threads of a team. While some still walk one step others may pack the next: two buffers, one barrier a
// step.
static void team(const product *p, size_t thread, size_t threads) {
    size_t turn = 0;
    for (size_t row = 0; row < p->row_blocks; row += p->step_rows)
        for (size_t k = 0; k < p->k_blocks || !k; k += p->step_depth, turn ^= 1) {
            size_t rows = p->row_blocks - row < p->step_rows ? p->row_blocks - row : p->step_rows;
            size_t depth = p->k_blocks - k < p->step_depth ? p->k_blocks - k : p->step_depth;
            uint16_t *a = p->packed[turn];
            for (size_t i = thread; i < rows; i += threads)
                pack_rows(a + i * depth * (size_t)p->terms * 2 * TILE, p->x, (row + i) * SIDE, p->m, k * SIDE,
                    depth, p->k, p->terms);
#pragma omp barrier
            const step now = {row, rows, k, depth, a, p->add || k, k ? NULL : p->bias};
            for (size_t share = thread; share < p->row_groups * p->panel_groups; share += threads)
                walk(p, &now, share);
        }
}

// The grid of threads that leaves the longest share shortest.
static void share_out(product *p, size_t threads) {
    size_t best = SIZE_MAX;
    for (size_t r = 1; r <= threads && r <= p->row_blocks; r++) {
        size_t g = threads / r < p->panels ? threads / r : p->panels;
        size_t most = ((p->row_blocks + r - 1) / r) * ((p->panels + g - 1) / g);
        if (most < best) best = most, p->row_groups = r, p->panel_groups = g;
    }
}

er_status er_tiles_product(er_device *d, float *y, const float *x, const uint16_t *packed, const float *bias,
    size_t m, size_t n, size_t k, float beta, int terms) {
    er_status rc = ER_OK;
    void *scratch = NULL;
    if (!m || !n) return ER_OK;
    product p = {.y = y,
        .x = x,
        .bias = bias,
        .b = packed,
        .m = m,
        .n = n,
        .k = k,
        .row_blocks = blocks(m),
        .panels = blocks(n),
        .k_blocks = blocks(k),
        .add = beta != 0.0f,
        .unit = ((er_cpu *)d)->unit,
        .terms = terms};
    const size_t threads = m * n * k > 1 << 18 ? (size_t)d->threads : 1,
                 pair = (size_t)terms * 2 * TILE * sizeof(uint16_t);
    share_out(&p, threads);
    const size_t splits = p.k_blocks / DEPTH + 1;
    p.step_depth = (p.k_blocks + splits - 1) / splits + !p.k_blocks;
    p.step_rows = CHUNK / (p.step_depth * pair) * p.row_groups;
    if (p.step_rows < p.row_groups) p.step_rows = p.row_groups;
    if (p.step_rows > p.row_blocks) p.step_rows = p.row_blocks;
    const size_t bytes = p.step_rows * p.step_depth * pair;
    ER_TRY(er_cpu_scratch(d, ER_SCRATCH_SPLIT, 2 * bytes, &scratch));
    p.packed[0] = scratch, p.packed[1] = (uint16_t *)((char *)scratch + bytes);
#pragma omp parallel num_threads((int)threads) if (threads > 1)
    team(&p, (size_t)omp_get_thread_num(), (size_t)omp_get_num_threads());
out:
    return rc;
}

#else
er_bf16_unit er_tiles_unit(void) { return ER_BF16_NONE; }
er_status er_tiles_product(er_device *d, float *y, const float *x, const uint16_t *packed, const float *bias,
    size_t m, size_t n, size_t k, float beta, int terms) {
    (void)d, (void)y, (void)x, (void)packed, (void)bias, (void)m, (void)n, (void)k, (void)beta, (void)terms;
    return er_fail(ER_EDEVICE, "this processor has no bf16 unit");
}
#endif
