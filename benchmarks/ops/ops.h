// The parts of bench_ops: timing, and the rates that all others are shares of. What is timed are the cases of
// tests/ops/cases.h.
#ifndef ER_BENCH_OPS_H
#define ER_BENCH_OPS_H
#include "tests/ops/cases.h"

enum { SAMPLES = 8 };  // rows of each answer that are checked

typedef struct bench_state {
    bool json, cpu_time;
    const char *only;  // part of an op's name, or NULL
    double seconds_each;
    double best[OP_RATES];  // bytes/s, then flop/s twice
    bool wrong;
} bench_state;
extern bench_state bench;  // the program has one device and one table

// ---- timing.c ----

typedef struct timed {
    double min, median, mean;  // seconds a call
    size_t calls;
} timed;
timed bench_measure(const op_result *r);
void bench_print(const op_result *r, timed t);  // a wrong answer is remembered in bench.wrong
bool bench_wants(const char *names);            // for ops.wants
void bench_report(const op_result *r);          // for ops.report: measures and prints

// ---- ceilings.c ----

void bench_ceilings(void);  // measures and prints the rates that all others are shares of
#endif
