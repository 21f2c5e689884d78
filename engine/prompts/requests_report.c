// What is said of the requests: seams without a space, blanks in front of spaces, targets that are encoded
// apart.
#include <stdio.h>
#include <string.h>

#include "engine/prompts/prompts_internal.h"
#include "io/base/log.h"

// What was put between prompts and targets, where it is not a space everywhere.
static void report_seams(const er_requests *all) {
    static const char *const why[ER_SEAM_KINDS] = {[ER_SEAM_BLANK] = "white space at the prompt's end",
        [ER_SEAM_SCRIPT] = "a script without",
        [ER_SEAM_OPEN] = "an opening sign",
        [ER_SEAM_TARGET] = "the target",
        [ER_SEAM_OWN] = "the target's own",
        [ER_SEAM_ASKED] = "as asked"};
    char text[400] = "";
    size_t n = 0, facts = 0;
    for (size_t i = 0; i < ER_SEAM_KINDS; i++) facts += all->seam[i];
    if (all->seam[ER_SEAM_SPACE] == facts) return;
    for (size_t i = 0; i < ER_SEAM_KINDS; i++)
        if (i != ER_SEAM_SPACE && all->seam[i])
            n += (size_t)snprintf(
                text + n, sizeof text - n, "%s%zu for %s", n ? ", " : "", all->seam[i], why[i]);
    er_info("prompts     %zu of %zu get a space before their target; without: %s", all->seam[ER_SEAM_SPACE],
        facts, text);
}

// A space behind white space is what was asked for, or the reference's rule, and seldom what was meant.
static void warn_of_double_blanks(const er_request_builder *b) {
    size_t n = 0, line = 0;
    for (size_t i = 0; i < b->facts->count; i++) {
        const er_fact *f = &b->facts->at[i];
        size_t len = strlen(f->prompt);
        if (!len || !strchr(" \t\r\n", f->prompt[len - 1])) continue;
        if (er_seam_of(f->prompt, len, f->target, f->space, b->h->space) != ER_SEAM_SPACE) continue;
        if (!n++) line = f->line;
    }
    if (n)
        er_warn(
            "%s: %zu prompts end in white space and get a space before their target all the same (first: %s "
            "%zu); --space auto puts none",
            b->facts->path, n, b->facts->is_lines ? "line" : "record", line);
}

void er_requests_report(const er_request_builder *b, const er_requests *all) {
    report_seams(all);
    warn_of_double_blanks(b);
    if (all->n_target_alone)
        er_info(
            "prompts     %zu of %zu are tokenized otherwise in front of their target, which is encoded apart",
            all->n_target_alone, all->n_rows);
    if (all->n_prefix_differs)
        er_info("prompts     %zu of %zu read the subject's end differently when cut there",
            all->n_prefix_differs, all->n_rows);
}
