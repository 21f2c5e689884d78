// A program of its own that edits facts into a model with liberrata and asks it afterwards. It is compiled against an installed errata:
//
//     cc edit.c -o edit $(pkg-config --cflags --libs errata)
//     ./edit MODEL FACTS OUT "A prompt that the edit should answer" [TEXT]
//
// TEXT is a file of prose to take the key statistics from; without one the model writes its own, which takes longer.
// It shows what the library says on stderr, stops cleanly on SIGINT, and ends with errata's exit codes.
#include <errata.h>
#include <signal.h>
#include <stdio.h>

static er_context *context;  // for the handler: the one thing here that must be global

static void on_interrupt(int signal_number) {
    (void)signal_number;
    er_context_stop(context);
}

static void on_log(void *user, er_log_level level, const char *line) {
    fprintf(user, "%s%s\n", level == ER_LOG_WARN ? "warning: " : "", line);
}

static void on_progress(void *user, const er_progress_event *e) {
    if (e->phase == ER_PROGRESS_END)
        fprintf(user, "%s: %llu %s in %.1f s\n", e->stage, (unsigned long long)e->done, e->unit, e->seconds);
}

static er_status edit(const char *model, const char *facts, const char *out, const char *text) {
    er_edit_options options = ER_EDIT_OPTIONS_INIT;
    er_edit_report *report = NULL;
    options.model = model;
    options.facts = facts;
    options.out = out;
    options.texts = &text;
    options.n_texts = text ? 1 : 0;
    er_status rc = er_edit(&report, context, &options);
    if (rc == ER_OK)
        printf("%llu facts of %llu subjects in %.1f s on %s\n", (unsigned long long)report->facts,
            (unsigned long long)report->subjects, report->seconds, report->device);
    er_edit_report_free(report);
    return rc;
}

static er_status ask(const char *model, const char *prompt) {
    er_ask_options options = ER_ASK_OPTIONS_INIT;
    char *answer = NULL;
    options.model = model;
    options.prompts = &prompt;
    options.n_prompts = 1;
    options.max_tokens = 4;
    er_status rc = er_ask(&answer, context, &options);
    if (rc == ER_OK) printf("%s%s\n", prompt, answer);
    er_text_free(answer);
    return rc;
}

int main(int argc, char **argv) {
    if (argc != 5 && argc != 6) {
        fprintf(stderr, "usage: edit MODEL FACTS OUT PROMPT [TEXT]\n");
        return 2;
    }
    er_status rc = er_context_new(&context);
    if (rc == ER_OK) {
        er_context_on_log(context, ER_LOG_INFO, on_log, stderr);
        er_context_on_progress(context, on_progress, stderr);
        signal(SIGINT, on_interrupt);
        rc = edit(argv[1], argv[2], argv[3], argv[5]);
    }
    if (rc == ER_OK) rc = ask(argv[3], argv[4]);
    if (rc != ER_OK) fprintf(stderr, "edit: %s\n", er_last_error());
    signal(SIGINT, SIG_DFL);
    er_context_free(context);
    return er_exit_code(rc);
}
