// Facts as tokenised prompts. Each prompt is encoded once, as text, with byte offsets; the subject's last
// token is the last token that overlaps the subject's bytes. A fact has
//
//     its own prompt, bare                       the first of its prompts
//     the same behind context templates          "prefix sentence. {}"
//     phrasings of other facts of its relation   every second one behind a template
//
// and a request one KL prompt more, "{subject} is a", its last. Two conventions in use elsewhere are kept in
// sight, marked and counted: prompts whose target had to be encoded apart from them, and prompts whose text
// up to the subject's end, encoded by itself, ends at another token.
#ifndef ER_PROMPTS_H
#define ER_PROMPTS_H
#include "engine/hparams.h"
#include "io/facts.h"

typedef struct er_prompt {
    int32_t *token;  // [length], BOS included: the prompt, then all target tokens but the last
    size_t length;
    size_t subject_last;   // index of the subject's last token
    size_t first_label;    // index of the token that predicts target token 0 (the prompt's last)
    const int32_t *label;  // [n_labels] target ids, behind token[length - 1] in its allocation
    size_t n_labels;       // 0 for the KL prompt, whose loss sits at subject_last
    float key_weight;      // share in the request's averaged key; 0 for the KL prompt
    float nll_weight;      // share in the request's loss
    // The labels are the target's own encoding: the prompt's ids do not begin the whole's
    bool target_alone;
    bool prefix_differs;  // the text cut behind the subject, encoded by itself, ends at another index
    // The context template in front, -1: none. Prompts of one template share their first tokens
    int32_t template_index;
} er_prompt;

typedef struct er_request {  // one subject's edit: one z. Of one fact, or of several that share the subject
    size_t *fact;            // [n_facts] indices into er_facts.at
    size_t n_facts;
    er_prompt *row;  // [n_rows] the bare prompt of fact[0] first, the KL prompt last
    size_t n_rows;
    size_t seam[ER_SEAM_KINDS];  // of its facts' own prompts: how many have which
    char digest[65];             // of all tokens, positions, labels and weights: caches of z are keyed by it
} er_request;

typedef struct er_requests {
    er_request *at;
    size_t count;
    size_t max_prompt_tokens;  // of one prompt
    size_t max_suffix_tokens;  // of one request: tokens from the subject's last on, summed over its prompts
    size_t max_prefix_tokens;  // of one request: tokens before that one
    size_t max_labels;         // of one request, and one for the KL
    size_t max_rows;           // prompts of one request
    size_t seam[ER_SEAM_KINDS];
    size_t n_rows, n_target_alone, n_prefix_differs;  // over all requests, the KL prompts among them
} er_requests;

typedef struct er_templates {  // context templates, each with one "{}", the bare "{}" not among them
    char **text;
    size_t count;
} er_templates;

// Builds all requests; the caller frees. Facts that are one text to the tokenizer are merged, or rejected
// where they contradict each other. Facts whose subject is not found, or that do not fit the model's
// positions, are rejected in `facts` with the reason. ECONFIG when there are fewer templates than
// h->n_prefixes.
er_status er_requests_build(er_requests **out, er_facts *facts, const er_model *m, const er_hparams *h,
    const er_templates *templates);
void er_requests_free(er_requests *u);
// Takes out of `facts` what is a duplicate or a contradiction to the tokenizer: equal tokens in front of the
// target are one text, whatever their bytes (composed and decomposed letters, a blank that joins the target).
er_status er_prompts_agree(er_facts *facts, const er_tokenizer *t, er_space job);
// A JSON array of strings with one "{}" each
er_status er_templates_read(er_templates **out, const char *path);
// The first `count` of engine/presets/templates.json
er_status er_templates_builtin(er_templates **out, size_t count);
void er_templates_free(er_templates *t);
#endif
