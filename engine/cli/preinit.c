// Before any library begins: OpenBLAS maps a buffer of 128 MiB for each thread as it is loaded, and tries for
// ever where the address space is limited (ulimit -v). A program that cannot start says so.
#include <sched.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

// Sanitizers want to be there first, and reserve more than any limit leaves.
#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED
#endif
#endif
#if !defined(SANITIZED) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__) &&                \
    defined(__linux__)

#define BUFFER ((size_t)129 << 20)

// As OpenBLAS counts them: the processors, or fewer where the environment says so.
static size_t threads(char **environment) {
    static const char *const names[] = {"OPENBLAS_NUM_THREADS=", "OMP_NUM_THREADS="};
    cpu_set_t set;
    size_t n = sched_getaffinity(0, sizeof set, &set) == 0 ? (size_t)CPU_COUNT(&set) : 1;
    for (; *environment; environment++)
        for (size_t i = 0; i < sizeof names / sizeof *names; i++)
            if (strncmp(*environment, names[i], strlen(names[i])) == 0) {
                long given = strtol(*environment + strlen(names[i]), NULL, 10);
                if (given > 0 && (size_t)given < n) n = (size_t)given;
            }
    return n < 64 ? n : 64;
}

static void look_for_room(int argc, char **argv, char **environment) {
    static const char message[] =
        "errata: no address space for OpenBLAS's buffers, 128 MiB a thread: see ulimit -v\n";
    (void)argc, (void)argv;
    size_t bytes = threads(environment) * BUFFER;
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED) {
        (void)!write(STDERR_FILENO, message, sizeof message - 1);
        _exit(1);
    }
    (void)munmap(p, bytes);
}

__attribute__((section(".preinit_array"), used)) static void (*const first)(
    int, char **, char **) = look_for_room;
#endif

typedef int er_preinit_is_never_empty;
