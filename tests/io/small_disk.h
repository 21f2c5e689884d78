// A 1 MiB disk for tests of full ones: a tmpfs that only the calling (child) process sees.
#ifndef ER_TEST_SMALL_DISK_H
#define ER_TEST_SMALL_DISK_H
#include <sched.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include "tests/io/scratch.h"

#define NO_SMALL_DISK 77

static inline bool small_disk_write_proc(const char *path, const char *text) {
    FILE *f = fopen(path, "w");
    if (!f) return false;
    bool fine = fputs(text, f) >= 0;
    return fclose(f) == 0 && fine;
}

// Mounts it on `dir`, as root or as the only user of a new user namespace; false where the machine allows
// neither.
static inline bool small_disk_mount(const char *dir) {
    char map[64];
    (void)snprintf(map, sizeof map, "%ld %ld 1", (long)geteuid(), (long)geteuid());
    if (unshare(CLONE_NEWNS) != 0 &&
        (unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0 || !small_disk_write_proc("/proc/self/uid_map", map)))
        return false;
    return mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
           mount("none", dir, "tmpfs", 0, "size=1m") == 0;
}

// Runs `body` in a child; it returns 0 when all went as it should, NO_SMALL_DISK to skip the test.
static inline void in_child(int (*body)(void)) {
    int status = 0;
    (void)fflush(NULL);
    pid_t child = fork();
    if (child == 0) _exit(body());
    assert_true(child > 0 && waitpid(child, &status, 0) == child && WIFEXITED(status));
    if (WEXITSTATUS(status) == NO_SMALL_DISK) skip();
    assert_int_equal(WEXITSTATUS(status), 0);
}
#endif
