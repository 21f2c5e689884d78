// Every op against its oracle in double precision, on whichever device there is.
//
//     test_ops [--device auto|cpu|cuda] [--case SUBSTRING] [--list]
//
// --case runs the tests whose GROUP/NAME contains SUBSTRING; --list names them instead. Where the CUDA ops
// are linked to run on CPU fibers, "auto" and "cuda" are those, and SHIM_SCHED is the order of threads.
#include "tests/ops/checks.h"

#undef OP_TEST
#define OP_TEST(group, name) {#group "/" #name, test_##name, NULL, NULL, NULL},
static const struct CMUnitTest all[] = {
#include "tests/ops/tests.def"
};
enum { TESTS = sizeof all / sizeof *all };

// A device that leaves out an op would be called through NULL.
void test_table(void **state) {
    (void)state;
#define ER_OP(name, params, args) assert_non_null(dev->op->name);
#define ER_SURE_OP(type, name, params, args) assert_non_null(dev->op->name);
#include "kernels/ops.def"
}

static void failed(const char *message) { fail_msg("%s", message); }

static void report(const op_result *r) {
    double error = op_error_of(&r->e);
    if (!(error <= r->bound))
        fail_msg("%s (%s): error %.3g eps, bound %.3g eps", r->op, r->shape, error / EPS, r->bound / EPS);
}

static er_device_options options;

static int open_device(void **state) {
    (void)state;
    OK(er_device_open(&dev, &options));
    return 0;
}
static int close_device(void **state) {
    (void)state;
    er_device_close(dev);
    return 0;
}

// What a test that failed left behind is not the next one's.
static int clean(void **state) {
    (void)state;
    op_end();
    return 0;
}

int main(int argc, char **argv) {
    options = ER_DEVICE_OPTIONS_DEFAULT;
    const char *part = "";
    bool list = false;
    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : NULL;
        if (!strcmp(argv[i], "--list")) list = true;
        else if (!strcmp(argv[i], "--case") && value) part = value, i++;
        else if (!strcmp(argv[i], "--device") && value) options.kind = value, i++;
        else {
            (void)fprintf(stderr,
                "test_ops: %s\nusage: test_ops [--device auto|cpu|cuda] [--case SUBSTRING] [--list]\n",
                argv[i]);
            return 2;
        }
    }
    struct CMUnitTest chosen[TESTS];
    size_t n = 0;
    for (size_t i = 0; i < TESTS; i++)
        if (strstr(all[i].name, part)) chosen[n] = all[i], chosen[n++].teardown_func = clean;
    for (size_t i = 0; list && i < n; i++) (void)puts(chosen[i].name);
    if (list) return 0;
    if (!n) {
        (void)fprintf(stderr, "test_ops: no test is named '%s'\n", part);
        return 2;
    }
    ops.report = report, ops.failed = failed;
    guard_on_failure(failed);
    return _cmocka_run_group_tests("ops", chosen, n, open_device, close_device);
}
