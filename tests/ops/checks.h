// What the tests of ops share: the cases, their shapes, the device they run on, and their names.
#ifndef ER_OP_CHECKS_H
#define ER_OP_CHECKS_H
#include "tests/ops/cases.h"
#include "tests/ops/shapes.h"
#include "tests/support/guard.h"
#include "tests/test.h"

#define dev ops.dev

// For what a CPU is not asked.
#define ON_CUDA()                                                                                            \
    if (!strncmp(dev->name, "cpu", 3)) skip()

#define OP_TEST(group, name) void test_##name(void **state);
#include "tests/ops/tests.def"
#undef OP_TEST
#endif
