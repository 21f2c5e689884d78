// Linear maps under a storm of signals: the product stays what the oracle says. oneDNN 2.6's dnnl_sgemm loses
// a part of its state to a handler's frame on its stack; io/base/signals.h says what is done about it. Each
// case runs in a child, since what used to happen was an abort.
#include <dirent.h>
#include <pthread.h>
#include <signal.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "io/base/signals.h"
#include "kernels/device.h"
#include "tests/support/guard.h"
#include "tests/support/ref_ops.h"
#include "tests/test.h"

enum { GOOD = 42, WRONG = 3, TOO_FEW = 4, TAKEN = 5, SECONDS = 1 };

static const size_t shapes[][3] = {{128, 192, 1536}, {20, 1536, 192}, {96, 1500, 192}, {43, 1536, 768}};
enum { SHAPES = sizeof shapes / sizeof *shapes };

typedef struct product {
    size_t m, d_out, d_in;
    double *y, *dx;  // by the oracle
    float *dev_x, *dev_y, *out, *out_x;
    er_weight *w;
} product;

static void product_make(product *p, er_device *dev, const size_t shape[3], uint64_t seed) {
    *p = (product){.m = shape[0], .d_out = shape[1], .d_in = shape[2]};
    size_t n_x = p->m * p->d_in, n_y = p->m * p->d_out;
    double *x = test_doubles(&seed, n_x, 1), *w = test_doubles(&seed, p->d_out * p->d_in, 1);
    float *bytes = test_narrow(w, p->d_out * p->d_in);
    p->y = malloc(n_y * sizeof *p->y), p->dx = malloc(n_x * sizeof *p->dx);
    ref_linear(p->y, x, w, NULL, p->m, p->d_out, p->d_in);
    float *narrow_y = test_narrow(p->y, n_y);
    double *dy = malloc(n_y * sizeof *dy);
    for (size_t i = 0; i < n_y; i++) dy[i] = (double)narrow_y[i];
    ref_linear_backward(p->dx, dy, w, p->m, p->d_out, p->d_in);
    OK(dev->op->weight_create(
        dev, &p->w, &(er_weight_spec){.bytes = bytes, .dtype = ER_F32, .d_out = p->d_out, .d_in = p->d_in}));
    p->dev_x = guard_put_narrow(dev, x, n_x), p->dev_y = guard_put_narrow(dev, dy, n_y);
    p->out = guard_alloc(dev, n_y * sizeof(float)), p->out_x = guard_alloc(dev, n_x * sizeof(float));
    free(x), free(w), free(bytes), free(narrow_y), free(dy);
}

static bool product_right(product *p, er_device *dev) {
    OK(dev->op->linear(dev, p->out, p->dev_x, p->w, NULL, p->m, 0));
    OK(dev->op->linear_backward(dev, p->out_x, p->dev_y, p->w, p->m, 0));
    return guard_error(dev, p->out, p->y, p->m * p->d_out) <= 2 + 0.3 * sqrt((double)p->d_in) &&
           guard_error(dev, p->out_x, p->dx, p->m * p->d_in) <= 2 + 0.3 * sqrt((double)p->d_out);
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void compute(int threads) {
    er_device *dev = NULL;
    product p[SHAPES];
    OK(er_device_open(&dev, &(er_device_options){.kind = "cpu", .threads = threads}));
    for (size_t i = 0; i < SHAPES; i++) product_make(&p[i], dev, shapes[i], i + 1);
    // Workers that are older than the first product have not inherited its mask.
    OK(dev->op->row_norm(dev, p[0].out, p[0].dev_x, p[0].m, p[0].d_in));
    for (double end = now() + SECONDS; now() < end;)
        for (size_t i = 0; i < SHAPES; i++)
            if (!product_right(&p[i], dev)) _exit(WRONG);
    for (size_t i = 0; i < SHAPES; i++) dev->op->weight_free(dev, p[i].w), free(p[i].y), free(p[i].dx);
    guard_end(dev);
    er_device_close(dev);
}

// ---- a host program with a handler of its own, on whatever thread it comes ----

static volatile sig_atomic_t handled;
static void on_alarm(int signal_number) {
    (void)signal_number;
    handled++;
}

static void host(int threads) {
    struct sigaction act = {.sa_handler = on_alarm, .sa_flags = SA_RESTART};
    struct itimerval often = {{0, 300}, {0, 300}}, off = {{0, 0}, {0, 0}};
    sigset_t before, after;
    (void)pthread_sigmask(SIG_BLOCK, NULL, &before);
    (void)sigaction(SIGALRM, &act, NULL);
    (void)setitimer(ITIMER_REAL, &often, NULL);
    compute(threads);
    (void)setitimer(ITIMER_REAL, &off, NULL);
    (void)pthread_sigmask(SIG_BLOCK, NULL, &after);
    for (int s = 1; s < 32; s++)
        if (sigismember(&before, s) != sigismember(&after, s)) _exit(TAKEN);
    _exit(handled > 100 ? GOOD : TOO_FEW);
}

// ---- a program of ours: no thread that computes ever takes one ----

static _Atomic(bool) over;
static _Atomic(long) sent;
static void *send_many(void *unused) {
    (void)unused;
    struct timespec t = {.tv_nsec = 100000};
    for (; !over; sent++) (void)kill(getpid(), SIGHUP), (void)nanosleep(&t, NULL);
    return NULL;
}

// Threads of this process that would take one of the signals.
static int open_threads(void) {
    const unsigned long all = 1ul << (SIGHUP - 1) | 1ul << (SIGINT - 1) | 1ul << (SIGTERM - 1);
    int n = 0;
    DIR *d = opendir("/proc/self/task");
    for (struct dirent *e; d && (e = readdir(d));) {
        char path[512], line[256];
        (void)snprintf(path, sizeof path, "/proc/self/task/%s/status", e->d_name);
        FILE *f = e->d_name[0] == '.' ? NULL : fopen(path, "r");
        while (f && fgets(line, sizeof line, f))
            if (!strncmp(line, "SigBlk:", 7)) n += (strtoul(line + 7, NULL, 16) & all) != all;
        if (f) (void)fclose(f);
    }
    if (d) closedir(d);
    return n;
}

static void ours(int threads) {
    pthread_t sender;
    er_signals_block();
    er_signals_install();
    if (pthread_create(&sender, NULL, send_many, NULL) != 0) _exit(WRONG);
    compute(threads);
    over = true;
    (void)pthread_join(sender, NULL);
    if (open_threads() != 1) _exit(TAKEN);  // the one that waits for them
    _exit(er_stop_requested() && sent > 100 ? GOOD : TOO_FEW);
}

static void in_child(void (*body)(int), int threads) {
    int status = 0;
    (void)fflush(NULL);
    pid_t child = fork();
    if (child == 0) body(threads);
    assert_true(child > 0);
    double end = now() + 120;  // a worker that lost its state may also run for ever
    pid_t ended = 0;
    while ((ended = waitpid(child, &status, WNOHANG)) == 0 && now() < end)
        (void)nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
    if (!ended) (void)kill(child, SIGKILL), (void)waitpid(child, &status, 0);
    if (!WIFEXITED(status)) fail_msg("%d threads: ended by signal %d", threads, WTERMSIG(status));
    assert_int_equal(WEXITSTATUS(status), GOOD);
}

static void test_host(void **state) {
    (void)state;
    for (int threads = 1; threads <= 3; threads++) in_child(host, threads);
}

static void test_ours(void **state) {
    (void)state;
    for (int threads = 1; threads <= 3; threads += 2) in_child(ours, threads);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_host), cmocka_unit_test(test_ours)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
