// Bugs that must end the program, seen from outside.
#ifndef ER_DIES_H
#define ER_DIES_H
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>
#ifdef __cplusplus  // which cmocka does not expect
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
extern "C" {
#include <cmocka.h>
}
#endif
#include "tests/test.h"

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define HAS_ASAN
#endif
#if __has_feature(thread_sanitizer)
#define HAS_TSAN
#endif
#if __has_feature(undefined_behavior_sanitizer)
#define HAS_UBSAN
#endif
#endif
#ifdef __SANITIZE_ADDRESS__
#define HAS_ASAN
#endif
#ifdef __SANITIZE_THREAD__
#define HAS_TSAN
#endif

// `bug` in a child, which must end with a failure and `part` in what it says.
static inline void dies(void (*bug)(const char *), const char *which, const char *part) {
    static char said[1 << 16];
    int ends[2];
    size_t n = 0;
    ssize_t more;
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        (void)signal(SIGABRT, SIG_DFL);
        (void)signal(SIGSEGV, SIG_DFL);
        (void)dup2(ends[1], 2);
        bug(which);
        _exit(0);
    }
    close(ends[1]);
    while ((more = read(ends[0], said + n, sizeof said - 1 - n)) > 0) n += (size_t)more;
    said[n] = 0;
    close(ends[0]);
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    if (status == 0 || !strstr(said, part)) fail_msg("'%s' ended with %d and said: %s", which, status, said);
}
#endif
