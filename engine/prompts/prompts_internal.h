// Shared by the files of engine/prompts/.
#ifndef ER_PROMPTS_INTERNAL_H
#define ER_PROMPTS_INTERNAL_H
#include "engine/prompts.h"
#include "engine/prompts/joint.h"
#include "engine/prompts/relation_prompts_internal.h"

// A prompt with its subject in place, and where the subject's bytes are.
typedef struct er_filled {
    char *text;
    size_t subject_begin, subject_end;
} er_filled;

// `prompt` (one "{}") behind `around` (one "{}", or NULL), with `subject` filled in. Nothing is cut: white
// space at the end is the prompt's own.
er_status er_fill(er_filled *out, const char *around, const char *prompt, const char *subject);

// One encoded prompt: tokens, the subject's last token, the number of tokens.
typedef struct er_encoded {
    int32_t *token;
    size_t length, subject_last;
    size_t by_prefix;  // the last token of the text cut behind the subject, encoded by itself
} er_encoded;
// EFORMAT with a reason when no token overlaps the subject.
er_status er_encode_prompt(er_encoded *out, const er_tokenizer *t, er_tokens *scratch, const er_filled *f);

// ---- request.c: one request ----
typedef struct er_request_builder {
    const er_facts *facts;
    const er_model *m;
    const er_hparams *h;
    const er_templates *templates;
    er_relation_prompts *relation_prompts;
    er_tokens scratch;
    size_t capacity;  // prompts that the request in hand has memory for
} er_request_builder;
// The request of the facts members[0 .. n-1], which share their subject; er_request_clear frees what it owns.
// EFORMAT when one of them cannot be encoded.
er_status er_request_build(er_request_builder *b, er_request *u, const size_t *members, size_t n);
void er_request_clear(er_request *u);

// ---- requests_report.c ----
void er_requests_report(const er_request_builder *b, const er_requests *all);
#endif
