// Where a subject ends, told without byte offsets.
#ifndef ER_TEST_SUBJECT_DECODED_H
#define ER_TEST_SUBJECT_DECODED_H
#include "engine/prompts.h"
#include "io/tokenizer.h"
#include "tests/test.h"

// The subject's last token by decoding alone: the first token by whose end the text up to the subject's end
// is there. Independent of byte offsets.
static inline size_t by_decoding(const er_tokenizer *t, const er_prompt *r, const char *until) {
    for (size_t n = 1; n <= r->length; n++) {
        char *text = NULL;
        OK(er_tokenizer_decode(t, &text, r->token, n, true));
        bool there = !strncmp(text, until, strlen(until));
        free(text);
        if (there) return n - 1;
    }
    fail_msg("'%s' never appears", until);
    return 0;
}
#endif
