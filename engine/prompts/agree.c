// Duplicates and contradictions as the tokenizer sees them.
#include <stdlib.h>
#include <string.h>

#include "engine/prompts/prompts_internal.h"

typedef struct read {  // a fact's own prompt and target, encoded
    er_joint joint;
    size_t fact;
} read_fact;

static int compare_ids(const int32_t *a, size_t n, const int32_t *b, size_t m) {
    size_t least = n < m ? n : m;
    int c = least ? memcmp(a, b, least * sizeof *a) : 0;
    return c ? c : (n > m) - (n < m);
}
static int compare_prompts(const read_fact *x, const read_fact *y) {
    return compare_ids(x->joint.token, x->joint.n_context, y->joint.token, y->joint.n_context);
}
static int compare_targets(const read_fact *x, const read_fact *y) {
    return compare_ids(x->joint.token + x->joint.n_context, x->joint.n_labels,
        y->joint.token + y->joint.n_context, y->joint.n_labels);
}
static int compare(const void *a, const void *b) {
    const read_fact *x = a, *y = b;
    int c = compare_prompts(x, y);
    if (!c) c = compare_targets(x, y);
    return c ? c : (x->fact > y->fact) - (x->fact < y->fact);
}

er_status er_prompts_agree(er_facts *facts, const er_tokenizer *t, er_space job) {
    er_status rc = ER_OK;
    er_tokens scratch = {0};
    size_t n = 0, all = facts->count, prompts = 0, targets = 0;
    read_fact *at = calloc(all + 1, sizeof *at);
    er_fact_class *class = calloc(all + 1, sizeof *class);
    char *text = NULL;
    if (!at || !class) ER_FAIL(ER_ENOMEM, "%zu facts", all);
    for (size_t i = 0; i < all; i++) {
        const er_fact *f = &facts->at[i];
        class[i].prompt = SIZE_MAX;
        free(text);
        if (!(text = er_fact_filled(f))) ER_FAIL(ER_ENOMEM, "a prompt");
        rc = er_encode_joint(&at[n].joint, t, &scratch, text, f->target, f->space, job);
        if (rc == ER_OK) at[n++].fact = i;
        else if (rc != ER_EFORMAT) goto out;  // what cannot be encoded is refused elsewhere, with its reason
        rc = ER_OK;
    }
    qsort(at, n, sizeof *at, compare);
    for (size_t i = 0; i < n; i++) {
        if (i && compare_prompts(&at[i], &at[i - 1])) prompts++;
        if (i && compare_targets(&at[i], &at[i - 1])) targets++;
        class[at[i].fact] = (er_fact_class){prompts, targets};
    }
    ER_TRY(er_facts_merge_classes(facts, class));
out:
    for (size_t i = 0; at && i < all; i++) free(at[i].joint.token);
    free(at);
    free(class);
    free(text);
    er_tokens_free(&scratch);
    return rc;
}
