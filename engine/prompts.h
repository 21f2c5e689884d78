// Facts as token rows. Each row is encoded once, as text, with byte offsets; the subject's last token is the
// last token that overlaps the subject's bytes. Row kinds of a fact: the bare prompt (row 0), context
// templates ("prefix sentence. {}"), relation prompt phrasings, and one KL row "{subject} is a". Two
// conventions in use elsewhere are kept in sight: rows whose target had to be encoded apart from its prompt,
// and rows where encoding the text up to the subject's end counts another last token, are marked and counted.
#ifndef ER_PROMPTS_H
#define ER_PROMPTS_H
#include "engine/hparams.h"
#include "io/facts.h"

typedef struct er_prompt {
    int32_t *token;  // [length] BOS included; prompt, then all target tokens but the last
    size_t length;
    size_t subject_last;   // index of the subject's last token
    size_t first_label;    // index of the token that predicts target token 0 (the prompt's last)
    const int32_t *label;  // [n_labels] target ids, behind token[length-1] in its allocation; n_labels 0 for
                           // the KL row, whose loss sits at subject_last
    size_t n_labels;
    float key_weight;   // share in the fact's key; bare 1/2, the others share the rest (reference); 0 for the
                        // KL row
    float nll_weight;   // share in the fact's loss
    bool target_alone;  // the labels are the target's own encoding: the prompt's ids are no prefix of the
                        // whole's
    bool prefix_differs;     // the text cut behind the subject, encoded by itself, ends at another index
    int32_t template_index;  // which context template it stands behind; -1: none. Rows of one template share
                             // their first tokens
} er_prompt;

typedef struct
    er_request {   // one subject's edit: one z, one key. Usually one fact; several when they share a
                   // subject
    size_t *fact;  // [n_facts] indices into er_facts.at
    size_t n_facts;
    er_prompt *row;  // bare row of fact[0] first; KL row last
    size_t n_rows;
    size_t seam[ER_SEAM_KINDS];  // of its facts' own prompts
    char digest[65];             // of all tokens, positions, labels and weights: z caches are keyed by it
} er_request;

typedef struct er_requests {
    er_request *at;
    size_t count;
    size_t max_prompt_tokens, max_suffix_tokens, max_prefix_tokens,
        max_labels;  // per request: sums over its rows
    size_t max_rows;
    size_t seam[ER_SEAM_KINDS];                       // of the facts' own prompts: how many have which
    size_t n_rows, n_target_alone, n_prefix_differs;  // over all requests, the KL rows among them
} er_requests;

typedef struct er_templates {  // context templates, each with one "{}", the bare "{}" not among them
    char **text;
    size_t count;
} er_templates;

// Builds all requests. Facts that are one text to the tokenizer are merged, or rejected where they contradict
// each other. Facts whose subject is not found, or that do not fit the model's positions, are rejected in
// `facts` with the reason. Templates: the built-in ones (engine/presets/templates.json) unless given.
er_status er_requests_build(er_requests **out, er_facts *facts, const er_model *m, const er_hparams *h,
    const er_templates *templates);
void er_requests_free(er_requests *u);
// Takes out of `facts` what is a duplicate or a contradiction to the tokenizer: equal tokens in front of the
// target are one text, whatever their bytes (composed and decomposed letters, a blank that joins the target).
er_status er_prompts_agree(er_facts *facts, const er_tokenizer *t, er_space job);
// JSON array of strings with one "{}" each
er_status er_templates_read(er_templates **out, const char *path);
er_status er_templates_builtin(er_templates **out, size_t count);
void er_templates_free(er_templates *t);
#endif
