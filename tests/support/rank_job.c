#include "tests/support/rank_job.h"

#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "io/base/clock.h"
#include "io/base/log.h"
#include "kernels/comm/local.h"
#include "tests/test.h"

// ---- a communicator that fails when it is told to ----

typedef struct faulty {
    er_comm comm;  // first
    const er_comm *real;
    size_t calls, fails_at;
    bool dies;
    const char *cache;  // NULL, or where a value is waited for
} faulty;

static bool has_values(const char *cache) {
    bool found = false;
    DIR *d = opendir(cache);
    for (struct dirent *e; !found && d && (e = readdir(d));) {
        char path[1024];
        struct stat st;
        (void)snprintf(path, sizeof path, "%s/%s", cache, e->d_name);
        found = !strncmp(e->d_name, "values-", 7) && stat(path, &st) == 0 && st.st_size > 0;
    }
    if (d) (void)closedir(d);
    return found;
}

// At the latest when its own values are there and it tells the others of them.
static void die_with_values(const faulty *f) {
    if (f->cache && has_values(f->cache)) (void)raise(SIGKILL);
}

static er_status count(faulty *f) {
    die_with_values(f);
    if (++f->calls != f->fails_at) return ER_OK;
    if (f->dies) (void)raise(SIGKILL);
    return er_fail(ER_ENOMEM, "collective %zu fails", f->calls);
}

static er_status sum(const er_comm *c, double *x, size_t n) {
    faulty *f = (faulty *)c;
    er_status rc = count(f);
    return rc == ER_OK ? f->real->op->sum(f->real, x, n) : rc;
}
static er_status gather(const er_comm *c, void *all, const void *mine, const size_t *bytes) {
    faulty *f = (faulty *)c;
    er_status rc = count(f);
    return rc == ER_OK ? f->real->op->gather(f->real, all, mine, bytes) : rc;
}
static er_status broadcast(const er_comm *c, void *x, size_t bytes, size_t from) {
    faulty *f = (faulty *)c;
    er_status rc = count(f);
    return rc == ER_OK ? f->real->op->broadcast(f->real, x, bytes, from) : rc;
}
static er_status agree(const er_comm *c, er_status mine, bool *stop) {
    faulty *f = (faulty *)c;
    er_status rc = mine == ER_OK ? count(f) : ER_OK;  // what failed already is told
    return rc == ER_OK ? f->real->op->agree(f->real, mine, stop) : rc;
}

static bool alarm_of(const er_comm *c, bool raised) {
    const faulty *f = (const faulty *)c;
    die_with_values(f);
    return f->real->op->alarm(f->real, raised);
}

// ---- the processes ----

static void be_rank(rank_outcome *all, const rank_job *j, const er_comm *real) {
    static const er_comm_ops ops = {
        .sum = sum, .gather = gather, .broadcast = broadcast, .agree = agree, .alarm = alarm_of};
    bool victim = real->rank == j->victim;
    faulty f = {.comm = {&ops, real->rank, real->size},
        .real = real,
        .fails_at = victim ? j->fails_at : 0,
        .dies = j->dies,
        .cache = victim && j->dies_with_values ? j->o.cache : NULL};
    const er_job_options *o = victim && j->other ? j->other : &j->o;
    rank_outcome *out = &all[real->rank];
    er_job_report *r = NULL;
    if (victim && j->stop_in) (void)setenv("ERRATA_DEBUG_STOP", j->stop_in, 1);
    if (victim && j->killed_after > 0) {  // nobody handles it: it ends the process
        double s = j->killed_after;
        struct itimerval t = {.it_value = {(time_t)s, (suseconds_t)((s - (double)(time_t)s) * 1e6) + 1}};
        (void)setitimer(ITIMER_REAL, &t, NULL);
    }
    out->rc = (int)er_job_edit_ranks(&r, o, &f.comm);
    (void)setitimer(ITIMER_REAL, &(struct itimerval){0}, NULL);
    (void)snprintf(out->said, sizeof out->said, "%s", out->rc == ER_OK ? "" : er_last_error());
    out->collectives = f.calls;
    if (r) out->cached = r->targets_cached, out->found = r->targets.requests;
    out->ended = true;
    er_job_report_free(r);
}

void rank_job_run(rank_outcome *out, const rank_job *j, double *seconds) {
    size_t bytes = JOB_RANKS * sizeof *out;
    double from = er_clock();
    int status = 0;
    rank_outcome *all = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(all != MAP_FAILED && j->ranks <= JOB_RANKS);
    memset(all, 0, bytes);
    (void)fflush(NULL);
    pid_t pid = fork();  // rank 0 is a child too: this process never computes
    assert_true(pid >= 0);
    if (pid == 0) {
        er_wire wire;
        er_comm *c = NULL;
        int code = -1;
        if (er_local_ranks(&wire, &code, j->ranks, 25) != ER_OK) _exit(2);
        if (code >= 0) _exit(0);  // the parent of the ranks, when all have ended
        if (er_comm_over(&c, &wire, (er_comm_waits){.longest = 120}) != ER_OK) _exit(2);
        be_rank(all, j, c);
        er_comm_close(c);
        exit(0);  // with what a sanitizer has to say at the end
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (j->victim != 0) assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    if (seconds) *seconds = er_clock() - from;
    for (int i = 0; i < 3000 && j->victim == 0; i++) {  // ranks that outlive a killed rank 0
        bool ended = true;
        for (size_t r = 1; r < j->ranks; r++) ended = ended && *(volatile bool *)&all[r].ended;
        if (ended) break;
        (void)usleep(10000);
    }
    memcpy(out, all, j->ranks * sizeof *out);
    (void)munmap(all, bytes);
}
