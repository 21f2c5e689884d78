// Tokens that a text has and the embedding has not: a tokenizer of another model, or one that a fine-tune
// added to without a row of the embedding for what it added.
#include <stdlib.h>
#include "engine/model.h"

er_status er_model_check_tokens(const er_model *m, const int32_t *token, size_t n) {
    for (size_t i = 0; i < n; i++) {
        char *text = NULL;
        if (token[i] >= 0 && (size_t)token[i] < m->arch.vocab) continue;
        if (er_tokenizer_decode(m->tokenizer, &text, &token[i], 1, false) != ER_OK) text = NULL;
        er_status rc = er_fail(ER_EFORMAT,
            "%s: the tokenizer makes token %d ('%.40s') of the text, the embedding has %zu rows (vocab_size "
            "of "
            "config.json)",
            m->checkpoint ? er_checkpoint_dir(m->checkpoint) : "the model", token[i], text ? text : "",
            m->arch.vocab);
        free(text);
        return rc;
    }
    return ER_OK;
}
