// The memory of the CPU device: what the machine gives this process, and what the job has taken of it.
#include "kernels/cpu/cpu.h"

#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#define HUGE_PAGE ((size_t)2 << 20)

er_status er_cpu_alloc(er_device *d, void **out, size_t bytes) {
    er_cpu *c = (er_cpu *)d;
    void *p = NULL;
    size_t align = bytes >= 2 * HUGE_PAGE ? HUGE_PAGE : 64;
    if (d->memory_bound && (bytes > d->memory_limit || c->taken > d->memory_limit - bytes))
        return er_fail(ER_ENOMEM, "%zu bytes, and %zu of the %zu allowed (--memory-limit) are taken", bytes,
            c->taken, d->memory_limit);
    if (bytes > SIZE_MAX / 2 || posix_memalign(&p, align, bytes ? bytes : 1))
        return er_fail(ER_ENOMEM, "%zu bytes", bytes);
    if (align == HUGE_PAGE)
        (void)madvise(p, bytes & ~(HUGE_PAGE - 1), MADV_HUGEPAGE);  // weights are walked with large strides
    c->taken += malloc_usable_size(p);
    *out = p;
    return ER_OK;
}

void er_cpu_release(er_device *d, void *p) {
    if (p) ((er_cpu *)d)->taken -= malloc_usable_size(p);
    free(p);
}

er_status er_cpu_scratch(er_device *d, er_cpu_slot slot, size_t bytes, void **out) {
    er_cpu *c = (er_cpu *)d;
    if (bytes > c->scratch[slot].bytes) {
        size_t want = bytes + bytes / 4;
        void *p = NULL;
        er_status rc = er_cpu_alloc(d, &p, want);
        if (rc != ER_OK) return rc;
        er_cpu_release(d, c->scratch[slot].at);
        c->scratch[slot].at = p;
        c->scratch[slot].bytes = want;
    }
    *out = c->scratch[slot].at;
    return ER_OK;
}

// ---- what the machine gives ----

static size_t read_number(const char *path) {
    FILE *f = fopen(path, "r");
    unsigned long long v = 0;
    if (!f) return 0;
    if (fscanf(f, "%llu", &v) != 1) v = 0;  // "max": no limit
    (void)fclose(f);
    return v < SIZE_MAX / 2 ? (size_t)v : 0;
}

// The lowest `file` from the group's folder upwards, and what the same folder's `used` says.
static void lowest_up(er_cpu_room *r, const char *root, char *group, const char *file, const char *used) {
    char path[1024];
    for (;;) {
        (void)snprintf(path, sizeof path, "%s%s/%s", root, group, file);
        size_t limit = read_number(path);
        if (limit && limit < r->total) {
            (void)snprintf(path, sizeof path, "%s%s/%s", root, group, used);
            size_t in_use = read_number(path), left = limit > in_use ? limit - in_use : 0;
            r->total = limit;
            if (left < r->available) r->available = left;
        }
        char *slash = strrchr(group, '/');
        if (!slash || !group[0]) return;
        *slash = 0;
    }
}

// Version 2 has one line "0::/path"; version 1 one with "memory" among its controllers. A container sees its
// own group as the root, so that the path may lead nowhere: then the root's files are its own.
static void control_group(er_cpu_room *r) {
    FILE *f = fopen("/proc/self/cgroup", "r");
    char line[768];
    while (f && fgets(line, sizeof line, f)) {
        char *first = strchr(line, ':'), *second = first ? strchr(first + 1, ':') : NULL;
        if (!second) continue;
        second[strcspn(second, "\n")] = 0;
        *second++ = 0;
        if (first[1] == 0) lowest_up(r, "/sys/fs/cgroup", second, "memory.max", "memory.current");
        else if (strstr(first + 1, "memory"))
            lowest_up(r, "/sys/fs/cgroup/memory", second, "memory.limit_in_bytes", "memory.usage_in_bytes");
    }
    if (f) (void)fclose(f);
}

// Pages that this process has mapped already count against the limit.
static void address_space(er_cpu_room *r) {
    struct rlimit l;
    if (getrlimit(RLIMIT_AS, &l) != 0 || l.rlim_cur == RLIM_INFINITY || l.rlim_cur >= r->total) return;
    size_t mapped = read_number("/proc/self/statm") * (size_t)sysconf(_SC_PAGESIZE);
    size_t left = l.rlim_cur > mapped ? (size_t)l.rlim_cur - mapped : 0;
    r->total = (size_t)l.rlim_cur;
    if (left < r->available) r->available = left;
}

er_cpu_room er_cpu_room_now(void) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    er_cpu_room r = {.total = (size_t)sysconf(_SC_PHYS_PAGES) * page,
        .available = (size_t)sysconf(_SC_AVPHYS_PAGES) * page};
    control_group(&r);
    address_space(&r);
    return r;
}

er_status er_cpu_memory(er_device *d, size_t *available, size_t *total) {
    const er_cpu *c = (const er_cpu *)d;
    er_cpu_room r = er_cpu_room_now();
    size_t left = d->memory_limit > c->taken ? d->memory_limit - c->taken : 0;
    *total = d->memory_limit < r.total ? d->memory_limit : r.total;
    *available = left < r.available ? left : r.available;
    return ER_OK;
}
