// Facts to requests: which facts share a z, which rows each fact gets, and their weights.
#include <stdlib.h>
#include <stdio.h>
#include <string.h>

#include "engine/prompts/prompts_internal.h"
#include "engine/prompts/relation_prompts_internal.h"
#include "io/base/log.h"

// All rows of a request are in one batch. Facts that share their subject with many others get fewer rows
// beside the bare one: 16 facts of eight rows are the most that get all.
#define MERGED_ROWS 128

typedef struct builder {
    const er_facts *facts;
    const er_model *m;
    const er_hparams *h;
    const er_templates *templates;
    er_relation_prompts *relation_prompts;
    er_tokens scratch;
} builder;

static void row_free(er_prompt *r) { free(r->token); }

static void request_clear(er_request *u) {
    for (size_t i = 0; i < u->n_rows; i++) row_free(&u->row[i]);
    free(u->row);
    free(u->fact);
    *u = (er_request){0};
}

void er_requests_free(er_requests *u) {
    if (!u) return;
    for (size_t i = 0; i < u->count; i++) request_clear(&u->at[i]);
    free(u->at);
    free(u);
}

// EFORMAT when the model has no position or no embedding for some token of a row.
static er_status check_row(const er_model *m, const int32_t *token, size_t length, size_t n_labels) {
    size_t positions = m->arch.max_position_embeddings;
    if (m->rope_positions && m->rope_positions < positions) positions = m->rope_positions;
    if (length > positions)
        return er_fail(
            ER_EFORMAT, "prompt of %zu tokens exceeds the model's %zu positions", length, positions);
    return er_model_check_tokens(m, token, length + n_labels);
}

// One row of `fact`: `prompt` behind template `ti` (-1: none), followed by all target tokens but the last.
// *seam, unless NULL, gets what is between the two.
static er_status add_row(
    builder *b, er_request *u, const er_fact *fact, const er_phrasing *prompt, int32_t ti, er_seam *seam) {
    er_status rc = ER_OK;
    er_filled f = {0};
    er_encoded e = {0};
    er_joint j = {0};
    int32_t *tokens = NULL;
    ER_TRY(er_fill(&f, ti < 0 ? NULL : b->templates->text[ti], prompt->text, fact->subject));
    ER_TRY(er_encode_prompt(&e, b->m->tokenizer, &b->scratch, &f));
    ER_TRY(
        er_encode_joint(&j, b->m->tokenizer, &b->scratch, f.text, fact->target, prompt->space, b->h->space));
    if (e.subject_last >= j.n_context)
        ER_FAIL(ER_EFORMAT, "the subject's last token reaches into the target");
    size_t n = j.n_labels, length = j.n_context + n - 1;
    // The row owns its labels: they stand behind its tokens in one allocation.
    if (!(tokens = malloc((length + n) * sizeof *tokens))) ER_FAIL(ER_ENOMEM, "%zu token ids", length + n);
    memcpy(tokens, j.token, length * sizeof *tokens);
    memcpy(tokens + length, j.token + j.n_context, n * sizeof *tokens);
    ER_TRY(check_row(b->m, tokens, length, n));
    u->row[u->n_rows++] = (er_prompt){.token = tokens,
        .length = length,
        .subject_last = e.subject_last,
        .first_label = j.n_context - 1,
        .label = tokens + length,
        .n_labels = n,
        .target_alone = j.how == ER_JOINT_APART,
        .prefix_differs = e.by_prefix != e.subject_last,
        .template_index = ti};
    tokens = NULL;
    if (seam) *seam = j.seam;
out:
    free(f.text);
    free(e.token);
    free(j.token);
    free(tokens);
    return rc;
}

// "{subject} is a": its loss is the KL at the subject's last token, so later tokens never matter and are not
// kept.
static er_status add_kl_row(builder *b, er_request *u, const er_fact *fact) {
    er_filled f = {0};
    er_encoded e = {0};
    er_status rc = er_fill(&f, NULL, "{} is a", fact->subject);
    if (rc == ER_OK) rc = er_encode_prompt(&e, b->m->tokenizer, &b->scratch, &f);
    if (rc == ER_OK) rc = check_row(b->m, e.token, e.subject_last + 1, 0);
    if (rc == ER_OK)
        u->row[u->n_rows++] = (er_prompt){.token = e.token,
            .length = e.subject_last + 1,
            .subject_last = e.subject_last,
            .first_label = e.subject_last,
            .prefix_differs = e.by_prefix != e.subject_last,
            .template_index = -1};
    else free(e.token);
    free(f.text);
    return rc;
}

// A phrasing that does not fit with this fact's subject or target is left out: it is another fact's, and no
// reason to refuse this one.
static er_status add_relation_prompts(builder *b, er_request *u, size_t fact_index, size_t most) {
    er_phrasing *other = NULL;
    size_t n = 0;
    if (!b->relation_prompts) return ER_OK;
    if (most > b->h->n_relation_prompts) most = b->h->n_relation_prompts;
    er_status rc = er_relation_prompts_of(&other, &n, b->relation_prompts, b->facts, fact_index, most);
    for (size_t i = 0; rc == ER_OK && i < n; i++) {
        // every second relation prompt stands behind a context template, so that the value also learns to
        // answer in the middle of a text
        int32_t ti = i % 2 && b->templates->count ? (int32_t)(i / 2 % b->templates->count) : -1;
        rc = add_row(b, u, &b->facts->at[fact_index], &other[i], ti, NULL);
        if (rc == ER_EFORMAT) rc = ER_OK;
    }
    free(other);
    return rc;
}

static er_status add_fact(builder *b, er_request *u, size_t fact_index) {
    const er_fact *fact = &b->facts->at[fact_index];
    size_t first = u->n_rows, most = MERGED_ROWS / u->n_facts;
    if (u->n_facts == 1) most = SIZE_MAX;
    er_phrasing own = {NULL, fact->prompt, fact->space};
    er_seam seam = ER_SEAM_SPACE;
    er_status rc = add_row(b, u, fact, &own, -1, &seam);
    u->seam[seam]++;
    for (size_t i = 0; rc == ER_OK && i < b->h->n_prefixes && u->n_rows - first < most; i++)
        rc = add_row(b, u, fact, &own, (int32_t)i, NULL);
    size_t rows = u->n_rows - first;
    if (rc == ER_OK && rows < most) rc = add_relation_prompts(b, u, fact_index, most - rows);
    if (rc != ER_OK) return rc;
    size_t n = u->n_rows - first;
    float share = 1.0f / (float)u->n_facts;
    for (size_t i = first; i < u->n_rows; i++) {
        u->row[i].nll_weight = share / (float)n;
        float bare = n == 1 ? 1.0f : (float)b->h->key_bare,
              rest = n == 1 ? 0 : (1.0f - bare) / (float)(n - 1);
        u->row[i].key_weight = share * (i == first ? bare : rest);
    }
    return ER_OK;
}

static er_status request_digest(er_request *u) {
    er_digest *d = NULL;
    er_status rc = er_digest_new(&d);
    if (rc != ER_OK) return rc;
    for (size_t i = 0; i < u->n_rows; i++) {
        const er_prompt *r = &u->row[i];
        uint64_t head[4] = {r->length, r->subject_last, r->first_label, r->n_labels};
        float weight[2] = {r->key_weight, r->nll_weight};
        er_digest_add(d, head, sizeof head);
        er_digest_add(d, weight, sizeof weight);
        er_digest_add(d, r->token, (r->length + r->n_labels) * sizeof *r->token);
    }
    er_digest_hex(d, u->digest);
    er_digest_free(d);
    return ER_OK;
}

static er_status build_request(builder *b, er_request *u, const size_t *members, size_t n) {
    er_status rc = ER_OK;
    size_t per_fact = 1 + b->h->n_prefixes + b->h->n_relation_prompts;
    *u = (er_request){0};
    if (!(u->fact = malloc(n * sizeof *u->fact)) || !(u->row = calloc(n * per_fact + 1, sizeof *u->row)))
        ER_FAIL(ER_ENOMEM, "rows of a fact");
    memcpy(u->fact, members, n * sizeof *members);
    u->n_facts = n;
    for (size_t i = 0; i < n; i++) ER_TRY(add_fact(b, u, members[i]));
    ER_TRY(add_kl_row(b, u, &b->facts->at[members[0]]));
    ER_TRY(request_digest(u));
out:
    if (rc != ER_OK) request_clear(u);
    return rc;
}

static void note_sizes(er_requests *all, const er_request *u) {
    size_t suffix = 0, prefix = 0, labels = 1;
    for (size_t i = 0; i < u->n_rows; i++) {
        const er_prompt *r = &u->row[i];
        suffix += r->length - r->subject_last;
        prefix += r->subject_last;
        labels += r->n_labels;
        all->n_rows++;
        all->n_target_alone += r->target_alone;
        all->n_prefix_differs += r->prefix_differs;
        if (r->length > all->max_prompt_tokens) all->max_prompt_tokens = r->length;
    }
    for (size_t i = 0; i < ER_SEAM_KINDS; i++) all->seam[i] += u->seam[i];
    if (suffix > all->max_suffix_tokens) all->max_suffix_tokens = suffix;
    if (prefix > all->max_prefix_tokens) all->max_prefix_tokens = prefix;
    if (labels > all->max_labels) all->max_labels = labels;
    if (u->n_rows > all->max_rows) all->max_rows = u->n_rows;
}

// Can this one fact be encoded, by itself? Bad ones are taken out before grouping, so that they do not take
// their group with them.
static er_status reject_bad(builder *b, er_facts *facts) {
    for (size_t i = 0; i < facts->count;) {
        er_request u = {0};
        er_status rc = er_stop_check("the facts are not encoded yet");
        if (rc == ER_OK) rc = build_request(b, &u, &i, 1);
        request_clear(&u);
        if (rc == ER_EFORMAT) {
            if ((rc = er_facts_reject(facts, i, er_last_error())) != ER_OK) return rc;
        } else if (rc != ER_OK) {
            return rc;
        } else {
            i++;
        }
    }
    return ER_OK;
}

// Subjects are one when the tokenizer reads them so.
typedef struct by_subject {
    int32_t *id;  // [n]
    size_t n, fact;
} by_subject;

static int compare_ids(const by_subject *x, const by_subject *y) {
    size_t n = x->n < y->n ? x->n : y->n;
    int c = n ? memcmp(x->id, y->id, n * sizeof *x->id) : 0;
    return c ? c : (x->n > y->n) - (x->n < y->n);
}
static int compare_subjects(const void *a, const void *b) {
    const by_subject *x = a, *y = b;
    int c = compare_ids(x, y);
    return c ? c : (x->fact > y->fact) - (x->fact < y->fact);
}

static er_status order_by_subject(builder *b, by_subject *order) {
    er_status rc = ER_OK;
    for (size_t i = 0; i < b->facts->count; i++) {
        const char *subject = b->facts->at[i].subject;
        ER_TRY(er_tokenizer_encode(b->m->tokenizer, &b->scratch, subject, strlen(subject), false));
        order[i] = (by_subject){malloc((b->scratch.count + 1) * sizeof *order[i].id), b->scratch.count, i};
        if (!order[i].id) ER_FAIL(ER_ENOMEM, "%zu token ids", b->scratch.count);
        for (size_t k = 0; k < b->scratch.count; k++) order[i].id[k] = b->scratch.at[k].id;
    }
    if (b->h->merge_subjects) qsort(order, b->facts->count, sizeof *order, compare_subjects);
out:
    return rc;
}
static int compare_requests(const void *a, const void *b) {
    size_t x = ((const er_request *)a)->fact[0], y = ((const er_request *)b)->fact[0];
    return (x > y) - (x < y);
}

static er_status group(builder *b, er_requests *all) {
    er_status rc = ER_OK;
    size_t n = b->facts->count;
    by_subject *order = calloc(n + 1, sizeof *order);
    size_t *members = malloc((n + 1) * sizeof *members);
    if (!order || !members) ER_FAIL(ER_ENOMEM, "%zu facts", n);
    ER_TRY(order_by_subject(b, order));
    for (size_t i = 0; i < n;) {
        size_t k = 0;
        do members[k++] = order[i++].fact;
        while (b->h->merge_subjects && i < n && !compare_ids(&order[i], &order[i - 1]));
        ER_TRY(er_stop_check("the facts are not encoded yet"));
        ER_TRY(build_request(b, &all->at[all->count], members, k));
        note_sizes(all, &all->at[all->count++]);
    }
    qsort(all->at, all->count, sizeof *all->at, compare_requests);  // back to the order of the file
out:
    for (size_t i = 0; order && i < n; i++) free(order[i].id);
    free(order);
    free(members);
    return rc;
}

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
static void warn_of_double_blanks(const builder *b) {
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

static void report(const builder *b, const er_requests *all) {
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

er_status er_requests_build(er_requests **out, er_facts *facts, const er_model *m, const er_hparams *h,
    const er_templates *templates) {
    er_status rc = ER_OK;
    er_requests *all = NULL;
    builder b = {.facts = facts, .m = m, .h = h, .templates = templates};
    if (templates->count < h->n_prefixes)
        ER_TRY(er_hparams_refuse(h, "n_prefixes", "n_prefixes: %zu context templates asked for, %zu at hand",
            h->n_prefixes, templates->count));
    ER_TRY(reject_bad(&b, facts));
    ER_TRY(er_prompts_agree(facts, m->tokenizer, h->space));
    ER_TRY(er_relation_prompts_create(
        &b.relation_prompts, facts));  // only now: rejecting frees a fact's strings
    if (!(all = calloc(1, sizeof *all)) || !(all->at = calloc(facts->count + 1, sizeof *all->at)))
        ER_FAIL(ER_ENOMEM, "%zu facts", facts->count);
    ER_TRY(group(&b, all));
    report(&b, all);
    *out = all;
    all = NULL;
out:
    er_relation_prompts_free(b.relation_prompts);
    er_tokens_free(&b.scratch);
    er_requests_free(all);
    return rc;
}
