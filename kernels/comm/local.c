// The parent of local ranks: forks them, hands signals on, says who was killed, and sees to it that all end.
#include "kernels/comm/local.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "io/base/clock.h"
#include "kernels/comm/local_internal.h"

static const int handed_on[] = {SIGINT, SIGTERM, SIGUSR1, SIGHUP, SIGXCPU};

typedef struct parent {
    er_local_rank *page;
    size_t size;
    pid_t pid[ER_LOCAL_RANKS];  // 0: has ended
    int code[ER_LOCAL_RANKS];
    double failed_at;  // when the first one did; 0: none has
    bool cut_short;    // the parent has killed those that were left
} parent;
enum { CUT_SHORT = -1 };  // a code

static void signals_of(sigset_t *set) {
    (void)sigemptyset(set);
    (void)sigaddset(set, SIGCHLD);
    for (size_t i = 0; i < sizeof handed_on / sizeof *handed_on; i++) (void)sigaddset(set, handed_on[i]);
}

// What a rank that ended says to the others, unless it has said so itself.
static void bury(parent *p, size_t rank, int how) {
    er_local_rank *r = &p->page[rank];
    p->pid[rank] = 0;
    if (WIFSIGNALED(how)) {
        p->code[rank] = p->cut_short ? CUT_SHORT : 69;
        if (!p->cut_short && (rank == 0 || p->size == 1))
            (void)fprintf(stderr, "errata: rank %zu was killed by signal %d (%s)\n", rank, WTERMSIG(how),
                strsignal(WTERMSIG(how)));
    } else {
        p->code[rank] = WEXITSTATUS(how);
    }
    if (p->code[rank] != 0 && p->failed_at == 0) p->failed_at = er_clock();
    if (atomic_load(&r->state) != ER_RANK_RUNS) return;
    if (p->code[rank] == 0) {
        atomic_store(&r->state, ER_RANK_DONE);
        return;
    }
    if (WIFSIGNALED(how))
        (void)snprintf(r->message, sizeof r->message, "was killed by signal %d (%s)", WTERMSIG(how),
            strsignal(WTERMSIG(how)));
    else (void)snprintf(r->message, sizeof r->message, "ended with exit code %d", p->code[rank]);
    atomic_store_explicit(&r->state, ER_RANK_GONE, memory_order_release);
}

static size_t reap(parent *p) {
    size_t left = 0;
    for (size_t r = 0; r < p->size; r++) {
        int how = 0;
        pid_t ended = p->pid[r] ? waitpid(p->pid[r], &how, WNOHANG) : 0;
        if (ended < 0 && errno == ECHILD) ended = p->pid[r], how = 69 << 8;  // nobody knows how
        if (ended > 0) bury(p, r, how);
        left += p->pid[r] != 0;
    }
    return left;
}

static int watch_over(parent *p, double grace) {
    sigset_t set;
    signals_of(&set);
    while (reap(p) > 0) {
        int sig = sigtimedwait(&set, NULL, &(struct timespec){.tv_sec = 1});
        for (size_t i = 0; i < sizeof handed_on / sizeof *handed_on; i++)
            for (size_t r = 0; sig == handed_on[i] && r < p->size; r++)
                if (p->pid[r]) (void)kill(p->pid[r], sig);
        if (p->failed_at == 0 || p->cut_short || er_clock() - p->failed_at < grace) continue;
        p->cut_short = true;
        for (size_t r = 0; r < p->size; r++)
            if (p->pid[r]) (void)kill(p->pid[r], SIGKILL);
    }
    if (p->code[0] == 0) return 0;  // the output stands, whatever became of the others
    for (size_t r = 0; r < p->size; r++)
        if (p->code[r] > 0) return p->code[r];
    return 69;
}

// socket[r] of every rank, -1 for itself. The pairs of all are there before the first fork.
static er_status connect_all(int socket[ER_LOCAL_RANKS][ER_LOCAL_RANKS], size_t size) {
    for (size_t a = 0; a < size; a++)
        for (size_t b = 0; b < a; b++) {
            int pair[2];
            if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0)
                return er_fail(ER_EIO, "a socket between rank %zu and %zu: %s", b, a, strerror(errno));
            socket[a][b] = pair[0], socket[b][a] = pair[1];
        }
    return ER_OK;
}

// Keeps only row `rank`; none when it is `size`.
static void close_others(int socket[ER_LOCAL_RANKS][ER_LOCAL_RANKS], size_t size, size_t rank) {
    for (size_t a = 0; a < size; a++)
        for (size_t b = 0; b < size; b++)
            if (a != rank && socket[a][b] >= 0) (void)close(socket[a][b]);
}

er_status er_local_ranks(er_wire *out, int *code, size_t size, double grace) {
    er_status rc = ER_OK;
    parent p = {.size = size};
    int socket[ER_LOCAL_RANKS][ER_LOCAL_RANKS];
    sigset_t set, before;
    pid_t me = getpid();
    for (size_t a = 0; a < ER_LOCAL_RANKS; a++)
        for (size_t b = 0; b < ER_LOCAL_RANKS; b++) socket[a][b] = -1;
    if (size < 1 || size > ER_LOCAL_RANKS)
        return er_fail(ER_EARG, "%zu ranks on one machine: 1 to %d are possible", size, (int)ER_LOCAL_RANKS);
    void *page = mmap(NULL, size * sizeof *p.page, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED)
        return er_fail(ER_ENOMEM, "memory shared by %zu ranks: %s", size, strerror(errno));
    p.page = page;
    signals_of(&set);
    (void)sigprocmask(SIG_BLOCK, &set, &before);
    (void)signal(SIGCHLD, SIG_DFL);  // where it was ignored, nobody would learn how a rank ended
    if ((rc = connect_all(socket, size)) == ER_OK) {
        (void)fflush(NULL);
        for (size_t r = 0; r < size; r++) {
            p.pid[r] = fork();
            if (p.pid[r] == 0) {
                (void)prctl(PR_SET_PDEATHSIG, SIGTERM);
                if (getppid() != me) _exit(69);
                (void)sigprocmask(SIG_SETMASK, &before, NULL);
                close_others(socket, size, r);
                *code = -1;
                return er_local_wire(out, p.page, r, size, socket[r]);
            }
            if (p.pid[r] > 0) continue;
            rc = er_fail(ER_EIO, "rank %zu cannot be forked: %s", r, strerror(errno));
            p.pid[r] = 0;
            for (size_t i = 0; i < r; i++) (void)kill(p.pid[i], SIGKILL);
            p.cut_short = true;
            break;
        }
    }
    close_others(socket, size, size);
    int ended = watch_over(&p, grace);
    (void)sigprocmask(SIG_SETMASK, &before, NULL);
    (void)munmap(page, size * sizeof *p.page);
    if (rc != ER_OK) return rc;
    *out = (er_wire){0};
    *code = ended;
    return ER_OK;
}
