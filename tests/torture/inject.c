// A library to preload: the n-th call of a kind fails. For tests/torture/inject.py.
//
//     INJECT_CALL  own, lib: a malloc, calloc, realloc, posix_memalign, aligned_alloc or strdup on a call
//     path not seen before,
//                  asked for by the program or by one of its libraries; else write, fsync, rename, open,
//                  read, mkdir, close, ftruncate, unlink, stat, clone, copy, flock, dir, mmap, thread
//     INJECT_AT    n from 1 on; 0: only count
//     INJECT_WITH  an errno; "short": a write or read of half the bytes. EINTR is tried once, as a signal
//     would INJECT_ON    all from the n-th on INJECT_COUNT a file that gets the number of calls INJECT_TRACE
//     the call path of the failure to stderr
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <link.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FRAMES = 12, SITES = 1 << 15 };
static const char *call;
static long at, error = EIO;
static int onward, half, armed, trace;
static atomic_long count;
static _Thread_local int inside;  // backtrace and dlsym allocate too
static uint64_t seen[SITES];
static uintptr_t program[2], self[2], libc[2];

typedef struct range_search {
    uintptr_t of, *range;
} range_search;

static int range_of(struct dl_phdr_info *info, size_t size, void *ctx) {
    (void)size;
    range_search *s = ctx;
    uintptr_t low = UINTPTR_MAX, high = 0;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *p = &info->dlpi_phdr[i];
        if (p->p_type != PT_LOAD) continue;
        uintptr_t from = info->dlpi_addr + p->p_vaddr;
        if (from < low) low = from;
        if (from + p->p_memsz > high) high = from + p->p_memsz;
    }
    if (s->of ? (s->of < low || s->of >= high) : info->dlpi_name[0] != 0)
        return 0;  // 0: the program has no name
    s->range[0] = low, s->range[1] = high;
    return 1;
}

static void find_range(uintptr_t *range, uintptr_t of) {
    range_search s = {of, range};
    (void)dl_iterate_phdr(range_of, &s);
}

static int within(const uintptr_t *range, const void *p) {
    return (uintptr_t)p >= range[0] && (uintptr_t)p < range[1];
}

__attribute__((constructor)) static void begin(void) {
    void *frame[4];
    const char *n = getenv("INJECT_AT"), *with = getenv("INJECT_WITH");
    call = getenv("INJECT_CALL");
    at = n ? atol(n) : 0;
    half = with && !strcmp(with, "short");
    if (with && !half) error = atol(with);
    onward = getenv("INJECT_ON") != NULL;
    trace = getenv("INJECT_TRACE") != NULL;
    find_range(program, 0);
    find_range(self, (uintptr_t)&count);
    find_range(libc, (uintptr_t)dlsym(RTLD_NEXT, "qsort"));
    (void)backtrace(frame, 4);
    armed = call != NULL;
}

__attribute__((destructor)) static void end(void) {
    const char *path = getenv("INJECT_COUNT");
    armed = 0;
    FILE *f = path ? fopen(path, "w") : NULL;
    if (!f) return;
    (void)fprintf(f, "%ld\n", atomic_load(&count));
    (void)fclose(f);
}

static void show(void) {
    void *frame[FRAMES];
    inside = 1;
    backtrace_symbols_fd(frame, backtrace(frame, FRAMES), 2);
    inside = 0;
}

static int turn(void) {
    long n = atomic_fetch_add(&count, 1) + 1;
    if (at <= 0 || (onward ? n < at : n != at)) return 0;
    if (trace) show();
    return 1;
}

static int fails(const char *kind) { return armed && !inside && !strcmp(kind, call) && turn(); }

// The first visit of a call path, and who is on it: the nearest frame outside libc and this library.
static int allocation_fails(void) {
    if (!armed || inside || (strcmp(call, "own") && strcmp(call, "lib"))) return 0;
    void *frame[FRAMES];
    uint64_t h = 1469598103934665603u;
    int own = -1;
    inside = 1;
    int n = backtrace(frame, FRAMES);
    inside = 0;
    for (int i = 1; i < n; i++) {
        if (within(self, frame[i])) continue;
        if (own < 0 && !within(libc, frame[i])) own = within(program, frame[i]);
        if (i < 9) h = (h ^ (uintptr_t)frame[i]) * 1099511628211u;
    }
    if (own != !strcmp(call, "own")) return 0;
    size_t i = h % SITES;
    while (seen[i] && seen[i] != h) i = (i + 1) % SITES;
    if (seen[i]) return onward && at > 0 && atomic_load(&count) >= at;
    seen[i] = h;
    return turn();
}

// ---- memory: left out beside a sanitizer, which has its own ----
#ifndef INJECT_FILES_ALONE

extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t);

static void *no_memory(void) {
    errno = ENOMEM;
    return NULL;
}
void *malloc(size_t n) { return allocation_fails() ? no_memory() : __libc_malloc(n); }
void *calloc(size_t n, size_t size) { return allocation_fails() ? no_memory() : __libc_calloc(n, size); }
void *realloc(void *p, size_t n) { return allocation_fails() ? no_memory() : __libc_realloc(p, n); }
void *aligned_alloc(size_t align, size_t n) {
    return allocation_fails() ? no_memory() : __libc_memalign(align, n);
}
int posix_memalign(void **out, size_t align, size_t n) {
    void *p = allocation_fails() ? NULL : __libc_memalign(align, n);
    if (!p) return ENOMEM;
    *out = p;
    return 0;
}

#else
int inject_allocation_fails(void);
int inject_allocation_fails(void) { return allocation_fails(); }
#endif

// ---- files ----

#define NEXT(type, name, ...)                                                                                \
    static type (*next)(__VA_ARGS__);                                                                        \
    if (!next) *(void **)&next = dlsym(RTLD_NEXT, #name)
#define FAIL_WITH(value) return errno = (int)error, (value)

#define WRITES(name, more, pass)                                                                             \
    ssize_t name more {                                                                                      \
        NEXT(ssize_t, name, int, const void *, size_t, off_t);                                               \
        if (fd > 2 && fails("write")) {                                                                      \
            if (!half) FAIL_WITH(-1);                                                                        \
            n = n > 1 ? n / 2 : n;                                                                           \
        }                                                                                                    \
        return pass;                                                                                         \
    }
WRITES(write, (int fd, const void *p, size_t n), next(fd, p, n, 0))
WRITES(pwrite, (int fd, const void *p, size_t n, off_t o), next(fd, p, n, o))
WRITES(pwrite64, (int fd, const void *p, size_t n, off_t o), next(fd, p, n, o))

#define READS(name, more, pass)                                                                              \
    ssize_t name more {                                                                                      \
        NEXT(ssize_t, name, int, void *, size_t, off_t);                                                     \
        if (fd > 2 && fails("read")) {                                                                       \
            if (!half) FAIL_WITH(-1);                                                                        \
            n = n > 1 ? n / 2 : n;                                                                           \
        }                                                                                                    \
        return pass;                                                                                         \
    }
READS(read, (int fd, void *p, size_t n), next(fd, p, n, 0))
READS(pread, (int fd, void *p, size_t n, off_t o), next(fd, p, n, o))
READS(pread64, (int fd, void *p, size_t n, off_t o), next(fd, p, n, o))

#define SIMPLE(kind, type, name, more, types, pass)                                                          \
    type name more {                                                                                         \
        NEXT(type, name, types);                                                                             \
        if (fails(kind)) FAIL_WITH(-1);                                                                      \
        return next pass;                                                                                    \
    }
#define LIST(...) __VA_ARGS__
SIMPLE("fsync", int, fsync, (int fd), int, (fd))
SIMPLE("fsync", int, fdatasync, (int fd), int, (fd))
SIMPLE("ftruncate", int, ftruncate, (int fd, off_t n), LIST(int, off_t), (fd, n))
SIMPLE("rename", int, rename, (const char *a, const char *b), LIST(const char *, const char *), (a, b))
SIMPLE("rename", int, renameat2, (int x, const char *a, int y, const char *b, unsigned f),
    LIST(int, const char *, int, const char *, unsigned), (x, a, y, b, f))
SIMPLE("mkdir", int, mkdir, (const char *p, mode_t m), LIST(const char *, mode_t), (p, m))
SIMPLE("unlink", int, unlink, (const char *p), const char *, (p))
SIMPLE("unlink", int, unlinkat, (int d, const char *p, int f), LIST(int, const char *, int), (d, p, f))
SIMPLE("stat", int, stat, (const char *p, struct stat *s), LIST(const char *, struct stat *), (p, s))
SIMPLE("stat", int, lstat, (const char *p, struct stat *s), LIST(const char *, struct stat *), (p, s))
SIMPLE("stat", int, fstat, (int fd, struct stat *s), LIST(int, struct stat *), (fd, s))
SIMPLE("flock", int, flock, (int fd, int how), LIST(int, int), (fd, how))
SIMPLE("copy", ssize_t, copy_file_range, (int a, off64_t *i, int b, off64_t *o, size_t n, unsigned f),
    LIST(int, off64_t *, int, off64_t *, size_t, unsigned), (a, i, b, o, n, f))

// The descriptor is gone whatever close says.
int close(int fd) {
    NEXT(int, close, int);
    int r = next(fd);
    if (fd > 2 && fails("close")) FAIL_WITH(-1);
    return r;
}

static int has_mode(int flags) { return (flags & O_CREAT) || (flags & O_TMPFILE) == O_TMPFILE; }
#define OPENS(name, first, types, pass)                                                                      \
    int name(first const char *path, int flags, ...) {                                                       \
        NEXT(int, name, types);                                                                              \
        mode_t mode = 0;                                                                                     \
        if (has_mode(flags)) {                                                                               \
            va_list ap;                                                                                      \
            va_start(ap, flags);                                                                             \
            mode = va_arg(ap, mode_t);                                                                       \
            va_end(ap);                                                                                      \
        }                                                                                                    \
        if (fails("open")) FAIL_WITH(-1);                                                                    \
        return next pass;                                                                                    \
    }
#define COMMA ,
OPENS(open, , LIST(const char *, int, ...), (path, flags, mode))
OPENS(open64, , LIST(const char *, int, ...), (path, flags, mode))
OPENS(openat, int d COMMA, LIST(int, const char *, int, ...), (d, path, flags, mode))
OPENS(openat64, int d COMMA, LIST(int, const char *, int, ...), (d, path, flags, mode))

int ioctl(int fd, unsigned long request, ...) {
    NEXT(int, ioctl, int, unsigned long, ...);
    va_list ap;
    va_start(ap, request);
    void *p = va_arg(ap, void *);
    va_end(ap);
    if (request == 0x40049409 && fails("clone")) FAIL_WITH(-1);  // FICLONE
    return next(fd, request, p);
}

DIR *opendir(const char *path) {
    NEXT(DIR *, opendir, const char *);
    if (fails("dir")) FAIL_WITH(NULL);
    return next(path);
}

#define READDIR(name, entry)                                                                                 \
    struct entry *name(DIR *d) {                                                                             \
        NEXT(struct entry *, name, DIR *);                                                                   \
        if (fails("dir")) FAIL_WITH(NULL);                                                                   \
        return next(d);                                                                                      \
    }
READDIR(readdir, dirent)
READDIR(readdir64, dirent64)

// ---- the rest ----

void *mmap(void *p, size_t n, int prot, int flags, int fd, off_t o) {
    NEXT(void *, mmap, void *, size_t, int, int, int, off_t);
    if (fails("mmap")) return errno = ENOMEM, MAP_FAILED;
    return next(p, n, prot, flags, fd, o);
}

int pthread_create(pthread_t *t, const pthread_attr_t *a, void *(*run)(void *), void *ctx) {
    NEXT(int, pthread_create, pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
    if (fails("thread")) return EAGAIN;
    return next(t, a, run, ctx);
}
