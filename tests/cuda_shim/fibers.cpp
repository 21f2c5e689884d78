// Threads of a block as fibers, with block barriers and warp collectives. Never built with -fsanitize=thread
// (it is the thread model); -DSHIM_TSAN says that ThreadSanitizer is linked, and then only __syncthreads()
// and __syncwarp() order memory.
#include "fibers.h"
#include "shim.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <algorithm>
#include <map>
#include <random>
#include <string>
#include <vector>

#ifdef SHIM_TSAN
#include <sanitizer/tsan_interface.h>
#define TSAN(...) __VA_ARGS__
#else
#define TSAN(...)
#endif

uint3 threadIdx, blockIdx;
dim3 blockDim, gridDim;

void shim_die(const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    fputs("cuda shim: ", stderr);
    vfprintf(stderr, fmt, ap);
    fputc('\n', stderr);
    va_end(ap);
    abort();
}

// ---- fibers ----

enum fiber_state { READY, AT_BAR, AT_WARP, DONE };
struct fiber {
    void *sp;
    ucontext_t ctx;
    char *stack;
    uint3 tid;
    unsigned id;
    fiber_state state;
    shim_op op;
    unsigned mask;
    uint64_t in, out;
    int arg, width, line;
    const char *file;
    void *fake, *tsan;
    // Where __syncwarp() hands on what was written before it: two, as a lane may reach the next one early.
    char warp_tag[2], *group_tag;
    unsigned warp_number;
};

static const size_t STACK = 256 << 10, PAGE = 4096;
static std::vector<fiber *> &pool = *new std::vector<fiber *>;  // outlives static destructors
static fiber *current;
static unsigned n_threads, n_live, n_at_barrier, barrier_number, ready[32];
static const std::function<void()> *body;
static const char *kernel_name;
static void *dynamic_shared;
TSAN(static char barrier_tag[2], launch_tag, done_tag; static void *scheduler_tsan;)
ASAN(static const void *scheduler_stack; static size_t scheduler_size; static void *scheduler_fake;)

#if defined(__x86_64__) && !defined(SHIM_UCONTEXT)
// swapcontext() makes a system call per switch; saving six registers does not.
extern "C" void shim_switch(void **save, void *load);
asm(".text\n.globl shim_switch\n.type shim_switch,@function\nshim_switch:\n"
    "push %rbp\npush %rbx\npush %r12\npush %r13\npush %r14\npush %r15\n"
    "mov %rsp,(%rdi)\nmov %rsi,%rsp\n"
    "pop %r15\npop %r14\npop %r13\npop %r12\npop %rbx\npop %rbp\nret\n");
static void *scheduler_sp;
static void to_fiber(fiber *f) { shim_switch(&scheduler_sp, f->sp); }
static void to_scheduler(fiber *f) { shim_switch(&f->sp, scheduler_sp); }
static void prepare(fiber *f, void (*entry)(void)) {
    void **top = (void **)(f->stack + STACK) - 1;  // leaves %rsp at 8 mod 16 on entry, as the ABI asks
    *top = nullptr;
    *--top = (void *)entry;
    f->sp = top - 6;
    memset(f->sp, 0, 6 * sizeof(void *));
}
#else
static ucontext_t scheduler_ctx;
static void to_fiber(fiber *f) { swapcontext(&scheduler_ctx, &f->ctx); }
static void to_scheduler(fiber *f) { swapcontext(&f->ctx, &scheduler_ctx); }
static void prepare(fiber *f, void (*entry)(void)) {
    getcontext(&f->ctx);
    f->ctx.uc_stack.ss_sp = f->stack;
    f->ctx.uc_stack.ss_size = STACK;
    makecontext(&f->ctx, entry, 0);
}
#endif

static void resume(fiber *f) {
    current = f;
    threadIdx = f->tid;
    TSAN(__tsan_switch_to_fiber(f->tsan, __tsan_switch_to_fiber_no_sync);)
    ASAN(__sanitizer_start_switch_fiber(&scheduler_fake, f->stack, STACK);)
    to_fiber(f);
    ASAN(__sanitizer_finish_switch_fiber(scheduler_fake, nullptr, nullptr);)
}

static void park(void) {
    fiber *f = current;
    TSAN(__tsan_switch_to_fiber(scheduler_tsan, __tsan_switch_to_fiber_no_sync);)
    ASAN(__sanitizer_start_switch_fiber(&f->fake, scheduler_stack, scheduler_size);)
    to_scheduler(f);
    ASAN(__sanitizer_finish_switch_fiber(f->fake, &scheduler_stack, &scheduler_size);)
}

static void set_ready(fiber *f) {
    f->state = READY;
    ready[f->id / 32] |= 1u << (f->id % 32);
}

static void release_barrier(void) {
    for (unsigned i = 0; i < n_threads; i++)
        if (pool[i]->state == AT_BAR) set_ready(pool[i]);
    n_at_barrier = 0;
    barrier_number++;
}

static bool complete(fiber *last);

static void thread_exit(fiber *f) {
    f->state = DONE;
    n_live--;
    if (n_live && n_at_barrier == n_live) release_barrier();  // threads that returned do not count (sm_70 on)
    for (unsigned i = f->id & ~31u; i < n_threads && i <= (f->id | 31u); i++)
        if (pool[i]->state == AT_WARP && complete(pool[i])) set_ready(pool[i]);
}

static void fiber_main(void) {
    ASAN(__sanitizer_finish_switch_fiber(nullptr, &scheduler_stack, &scheduler_size);)
    for (;;) {  // one turn a block
        TSAN(__tsan_acquire(&launch_tag);)
        (*body)();
        TSAN(__tsan_release(&done_tag);)
        thread_exit(current);
        park();
    }
}

static fiber *new_fiber(unsigned id) {
    fiber *f = new fiber();
    char *base = (char *)mmap(
        nullptr, STACK + PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base == MAP_FAILED) shim_die("no memory for the stacks of fibers");
    mprotect(base, PAGE, PROT_NONE);  // an overflow faults instead of corrupting
    f->stack = base + PAGE;
    f->id = id;
    TSAN(f->tsan = __tsan_create_fiber(0);)
    prepare(f, fiber_main);
    return f;
}

// ---- barriers and warp collectives ----

void shim_here::barrier(void) const {
    fiber *f = current;
    TSAN(char *tag = &barrier_tag[barrier_number & 1]; __tsan_release(tag);)
    f->op = SHIM_BAR, f->file = file, f->line = line;
    if (++n_at_barrier == n_live) {
        for (unsigned i = 0; i < n_threads; i++)
            if (pool[i]->state == AT_BAR && (pool[i]->line != line || strcmp(pool[i]->file, file)))
                shim_die("%s: threads met at different barriers, %s:%d and %s:%d", kernel_name, file, line,
                    pool[i]->file, pool[i]->line);
        release_barrier();
    } else {
        f->state = AT_BAR;
        park();
    }
    TSAN(__tsan_acquire(tag);)
}

static uint64_t lane_result(const fiber *f, fiber *const *lane, unsigned member) {
    if (f->op == SHIM_BALLOT) {
        uint64_t votes = 0;
        for (unsigned i = 0; i < 32; i++)
            if (member >> i & 1 && lane[i]->in) votes |= (uint64_t)1 << i;
        return votes;
    }
    if (f->op == SHIM_SYNCWARP) return 0;
    unsigned l = f->id % 32, by = (unsigned)f->arg, width = (unsigned)f->width, first = l & ~(width - 1),
             from = l;
    if (f->op == SHIM_IDX) from = first + by % width;
    if (f->op == SHIM_UP && l >= first + by) from = l - by;
    if (f->op == SHIM_DOWN && by < width && l + by < first + width) from = l + by;
    if (f->op == SHIM_XOR && (l ^ by) < first + width) from = l ^ by;
    if (!(member >> from & 1))
        shim_die("%s: %s:%d: lane %u shuffles from lane %u, which takes no part", kernel_name, f->file,
            f->line, l, from);
    return lane[from]->in;
}

// Everything before a __syncwarp() of these lanes comes before everything behind it.
static void order_lanes(fiber *const *lane, unsigned member, fiber *last) {
    (void)lane, (void)member, (void)last;
    TSAN(fiber *at = current; char *tag = &at->warp_tag[at->warp_number & 1];
         for (unsigned i = 0; i < 32; i++) if (member >> i & 1) {
             __tsan_acquire(&lane[i]->warp_tag[lane[i]->warp_number & 1]);
             lane[i]->group_tag = tag;
         } __tsan_release(tag);)
}

// Completes the collective that `last` waits in once every live lane of its mask is there. Shuffles and votes
// move values between lanes but order no memory, and ThreadSanitizer is told nothing of them.
static bool complete(fiber *last) {
    unsigned first = last->id & ~31u, member = 0;
    fiber **lane = &pool[first];
    for (unsigned i = 0; i < 32 && first + i < n_threads; i++) {
        if (!(last->mask >> i & 1) || lane[i]->state == DONE) continue;
        if (lane[i]->state != AT_WARP || lane[i]->op != last->op || lane[i]->mask != last->mask) return false;
        member |= 1u << i;
    }
    if (last->op == SHIM_SYNCWARP) order_lanes(lane, member, last);
    for (unsigned i = 0; i < 32; i++)
        if (member >> i & 1) lane[i]->out = lane_result(lane[i], lane, member);
    for (unsigned i = 0; i < 32; i++)
        if (member >> i & 1 && lane[i] != last) set_ready(lane[i]);
    last->state = READY;
    return true;
}

uint64_t shim_here::warp(shim_op op, unsigned mask, uint64_t in, int arg, int width) const {
    fiber *f = current;
    if (!(mask >> (f->id % 32) & 1))
        shim_die("%s: %s:%d: lane %u is not in its own mask %08x", kernel_name, file, line, f->id % 32, mask);
    if (width < 1 || width > 32 || (width & (width - 1)))
        shim_die("%s: %s:%d: shuffles over %d lanes", kernel_name, file, line, width);
    f->op = op, f->mask = mask, f->in = in, f->arg = arg, f->width = width, f->file = file, f->line = line;
    f->state = AT_WARP;
    TSAN(if (op == SHIM_SYNCWARP) __tsan_release(&f->warp_tag[f->warp_number & 1]);)
    if (!complete(f)) park();
    TSAN(if (op == SHIM_SYNCWARP) __tsan_acquire(f->group_tag), f->warp_number++;)
    return f->out;
}

// ---- running a grid ----

static enum { ASCENDING, DESCENDING, SHUFFLED, UNSET } order_kind = UNSET;
static unsigned order_seed;

void shim_schedule(const char *order) {
    order_kind = !strcmp(order, "asc") ? ASCENDING : !strcmp(order, "desc") ? DESCENDING : SHUFFLED;
    if (order_kind == SHUFFLED) order_seed = (unsigned)atoi(order);
}

static fiber *pick(std::mt19937 &rng) {
    unsigned warps = (n_threads + 31) / 32, start = order_kind == SHUFFLED ? (unsigned)rng() % warps : 0;
    for (unsigned i = 0; i < warps; i++) {
        unsigned w = order_kind == DESCENDING ? warps - 1 - i : (start + i) % warps, left = ready[w];
        if (!left) continue;
        if (order_kind == SHUFFLED)
            for (unsigned k = (unsigned)rng() % (unsigned)__builtin_popcount(left); k--;) left &= left - 1;
        unsigned bit = (unsigned)(order_kind == DESCENDING ? 31 - __builtin_clz(left) : __builtin_ctz(left));
        ready[w] &= ~(1u << bit);
        return pool[w * 32 + bit];
    }
    return nullptr;
}

static void report_deadlock(void) {
    std::map<std::pair<std::string, int>, int> where;
    for (unsigned i = 0; i < n_threads; i++)
        if (pool[i]->state != DONE) where[{pool[i]->file, pool[i]->line}]++;
    for (auto &w : where)
        fprintf(stderr, "cuda shim:   %d threads wait at %s:%d\n", w.second, w.first.first.c_str(),
            w.first.second);
    shim_die("%s: deadlock in block (%u,%u,%u)", kernel_name, blockIdx.x, blockIdx.y, blockIdx.z);
}

extern char __start_shim_shared[] __attribute__((weak)), __stop_shim_shared[] __attribute__((weak));
__attribute__((no_sanitize("address", "thread"))) static void scramble_shared(void) {
    volatile char *p = __start_shim_shared, *end = __stop_shim_shared;  // shared memory starts undefined
    while (p < end) *p++ = (char)0xff;
}

void *shim_dynamic_shared(void) { return dynamic_shared; }

static void run_block(std::mt19937 &rng, size_t smem) {
    scramble_shared();
    if (smem) memset(dynamic_shared, 0xff, smem);
    n_live = n_threads, n_at_barrier = 0;
    for (unsigned i = 0; i < n_threads; i++) set_ready(pool[i]);
    TSAN(__tsan_release(&launch_tag);)
    while (n_live) {
        fiber *f = pick(rng);
        if (!f) report_deadlock();
        resume(f);
    }
    TSAN(__tsan_acquire(&done_tag);)
}

void shim_run_grid(const char *name, dim3 grid, dim3 block, size_t smem, const std::function<void()> &fn) {
    if (order_kind == UNSET) shim_schedule(getenv("SHIM_SCHED") ? getenv("SHIM_SCHED") : "asc");
    std::mt19937 rng(order_seed);
    kernel_name = name, gridDim = grid, blockDim = block, body = &fn;
    n_threads = block.x * block.y * block.z;
    while (pool.size() < ((n_threads + 31) & ~31u)) pool.push_back(new_fiber((unsigned)pool.size()));
    for (unsigned i = 0; i < n_threads; i++)
        pool[i]->tid = {i % block.x, i / block.x % block.y, i / block.x / block.y};
    TSAN(scheduler_tsan = __tsan_get_current_fiber();)
    std::vector<unsigned> order((size_t)grid.x * grid.y * grid.z);
    for (unsigned i = 0; i < order.size(); i++) order[i] = i;
    if (order_kind == DESCENDING) std::reverse(order.begin(), order.end());
    if (order_kind == SHUFFLED) std::shuffle(order.begin(), order.end(), rng);
    dynamic_shared = smem ? malloc(smem) : nullptr;  // to the byte, so that an overrun is seen
    if (smem && !dynamic_shared) shim_die("no memory for the shared memory of a block");
    for (unsigned b : order) {
        blockIdx = {b % grid.x, b / grid.x % grid.y, b / grid.x / grid.y};
        run_block(rng, smem);
    }
    free(dynamic_shared);
    dynamic_shared = nullptr;
}
