// A tokenizer.json of any bytes; where it opens, texts of any bytes through it and back. Spans must lie in the text.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "io/tokenizer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void round_trip(const er_tokenizer *t, const char *text, size_t len) {
    er_tokens out = {0};
    char *back = NULL;
    if (er_tokenizer_encode_lossy(t, &out, text, len, true) == ER_OK) {
        int32_t *ids = malloc((out.count + 2) * sizeof *ids);
        if (!ids) abort();
        for (size_t i = 0; i < out.count; i++) {
            if (out.at[i].begin > out.at[i].end || out.at[i].end > len) abort();
            if (out.at[i].id < 0 || (size_t)out.at[i].id >= er_tokenizer_vocab(t)) abort();
            ids[i] = out.at[i].id;
        }
        ids[out.count] = -1;
        ids[out.count + 1] = INT32_MAX;
        if (er_tokenizer_decode(t, &back, ids, out.count + 2, len % 2) == ER_OK) free(back);
        free(ids);
    }
    er_tokens_free(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char text[] = "It's 12 caf\xc3\xa9 e\xcc\x81\n\n  <mask>cat ab\xff\xe2\x82 1\xc2\xbd\xe3\x80\x80x";
    er_tokenizer *t = NULL;
    if (size > 20000 || er_tokenizer_parse(&t, (const char *)data, size, "fuzz") != ER_OK) return 0;
    round_trip(t, text, sizeof text - 1);
    // The file itself is a text too: its end holds words of its own vocabulary.
    size_t n = size < 96 ? size : 96;
    round_trip(t, (const char *)data + size - n, n);
    er_tokenizer_free(t);
    return 0;
}
