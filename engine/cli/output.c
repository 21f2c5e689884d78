// stdout: nothing is done until what was printed has arrived.
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/cli/cli_internal.h"

static bool pipe_kills;  // as it was found: a program may be started with SIGPIPE ignored

void er_cli_hold_standard_files(void) {
    // Opened the wrong way round, so that using one that was closed fails as it should.
    static const int mode[] = {O_WRONLY, O_RDONLY, O_WRONLY};
    for (int fd = 0; fd < 3; fd++)
        if (fcntl(fd, F_GETFD) < 0 && errno == EBADF) (void)!open("/dev/null", mode[fd]);
}

void er_cli_outlive_readers(void) {
    // A terminal or a log that goes away must not end a job of hours, nor a limit on file sizes end it
    // without a word: both come back as errors of the write.
    struct sigaction ignore, before;
    memset(&ignore, 0, sizeof ignore);
    ignore.sa_handler = SIG_IGN;
    if (sigaction(SIGPIPE, &ignore, &before) == 0) pipe_kills = before.sa_handler != SIG_IGN;
    (void)sigaction(SIGXFSZ, &ignore, NULL);
}

static bool reader_left(void) {
    struct pollfd p = {.fd = STDOUT_FILENO, .events = POLLOUT};
    return poll(&p, 1, 0) == 1 && (p.revents & POLLERR);
}

static void die_of_pipe(void) {
    sigset_t pipes;
    (void)signal(SIGPIPE, SIG_DFL);
    sigemptyset(&pipes);
    sigaddset(&pipes, SIGPIPE);
    (void)pthread_sigmask(SIG_UNBLOCK, &pipes, NULL);
    (void)raise(SIGPIPE);
}

int er_cli_finish(int code) {
    int why = 0;
    bool lost = ferror(stdout) != 0;
    if (fflush(stdout) != 0) lost = true, why = errno;
    if (lost && (why == EPIPE || reader_left())) {
        if (pipe_kills) die_of_pipe();
        return code ? code : er_exit_code(ER_EIO);
    }
    if (close(STDOUT_FILENO) != 0 && !lost) lost = true, why = errno;  // network file systems report here
    if (!lost) return code;
    (void)fprintf(stderr, "errata: stdout: %s\n", why ? strerror(why) : "not everything could be written");
    return code ? code : er_exit_code(ER_EIO);
}

er_status er_cli_print_json(const cJSON *root, const er_json_writer *w, const char *what) {
    char *text = NULL;
    er_status rc = er_json_print(&text, root, w, what);
    if (rc == ER_OK) (void)puts(text);
    free(text);
    return rc;
}
