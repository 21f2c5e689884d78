// The parts of bench_ops: device memory with known contents, timing, and one function for each family of ops.
//
// Every family checks its answers at sampled places against sums in double precision, then times them. Inputs
// come from fields: a field is a block of random numbers that repeats, so that gigabytes of input are made on
// the device by copies and any element is known on the host without keeping them there.
#ifndef ER_BENCH_OPS_H
#define ER_BENCH_OPS_H
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "kernels/device.h"

enum { SAMPLES = 200, FIELD_PERIOD = 4 * 262139 };  // 4 times a prime: rows of a matrix never repeat

typedef enum ceiling { BENCH_COPY, BENCH_GEMM, BENCH_GEMM_F64, BENCH_CEILINGS } ceiling;

typedef struct bench_state {
    er_device *dev;
    bool json, cpu_time;
    const char *only;  // part of an op's name, or NULL
    double seconds_each;
    double best[BENCH_CEILINGS];  // bytes/s, then flop/s twice
    bool wrong;
    uint64_t seed;
} bench_state;
extern bench_state bench;  // the program has one device and one table

// ---- device memory (room.c); a failure ends the program ----

void bench_must(er_status rc);
void *bench_host(size_t bytes);  // malloc
void *bench_room(size_t bytes);  // [dev], zeroed
void bench_release(const void *dev_ptr);
void *bench_upload(const void *host, size_t bytes);  // [dev], a new copy
double bench_uniform(void);                          // [-1, 1)
size_t bench_pick(size_t n);                         // below n

typedef struct field {
    float *block;
} field;
field bench_field(double scale);  // numbers in [-scale, scale)
void bench_field_free(field f);
float *bench_field_room(field f, size_t n);  // [dev], the first n of the field
static inline double bench_at(field f, size_t i) { return (double)f.block[i % FIELD_PERIOD]; }
void *bench_stored(
    field f, er_dtype t, size_t n);  // rounds the field to `t`; its first n as a weight's bytes, to free()
double bench_got(const float *dev_ptr, size_t i);  // element i, by a download
double bench_got_f64(const double *dev_ptr, size_t i);

// ---- checking and timing (timing.c) ----

typedef struct check {
    double off, size;
} check;
static inline void bench_compare(check *c, double got, double want) {
    c->off += (got - want) * (got - want);
    c->size += want * want;
}

// One run of an op. `turn` counts runs: an op that fits the last-level cache takes another buffer each turn.
typedef void bench_action(void *data, size_t turn);
typedef struct bench_case {
    const char *op, *shape;
    double flops, bytes;
    ceiling best;  // what `flops` are a share of
    check c;
    double bound;  // of the norm-wise error
    bench_action *run;
    void *data;
} bench_case;
typedef struct timed {
    double min, median, mean;  // seconds a run
    size_t runs;
} timed;
timed bench_measure(const bench_case *k);
void bench_print(const bench_case *k, timed t);  // a wrong answer is remembered in bench.wrong
bool bench_wants(const char *ops);               // is any of these ops asked for?
void bench_report(const bench_case *k);
double bench_gemm_bound(size_t k);  // of a product with sums of k terms, in the device's precision
// ceilings.c
void bench_ceilings(void);  // measures and prints the rates that all others are shares of

// ---- families ----

typedef struct bench_heads {
    size_t heads, kv_heads, width;
} bench_heads;

void bench_linear(size_t m, size_t d_out, size_t d_in, er_dtype t);
// `rows` rows with lengths of `length` in turn, each behind a cached prefix of `prefix` of its own.
typedef struct bench_rows {
    const size_t *length;
    size_t lengths, rows, prefix;
} bench_rows;
void bench_attention(bench_rows r, bench_heads h);
void bench_label_loss(size_t rows, size_t vocab);
void bench_log_softmax(size_t rows, size_t vocab);
void bench_delta_step(size_t slots, size_t hidden);
void bench_activation(er_act_kind kind, bool gated, size_t tokens, size_t width);
void bench_norm(er_norm_kind kind, size_t tokens, size_t width);
void bench_rope(er_rope_style style, size_t rot, size_t tokens, bench_heads h);
void bench_rows_moved(size_t n, size_t width);              // gather, scatter_add, kv_store
void bench_rows_f64(size_t n, size_t d_ff, size_t hidden);  // scaled_scatter, residual
void bench_weight_add(size_t d_out, size_t d_in, er_dtype t);
void bench_solve(
    size_t tokens, size_t n, size_t rhs);  // syrk_accumulate, symmetrise, syrk, gemm, potrf, potrs
#endif
