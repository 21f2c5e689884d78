// vocab.json, merges.txt and tokenizer_config.json of any bytes, with a NUL between them; where they open, a
// text through them and back.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "io/tokenizer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char text[] = "the \xc3\xa9 a</s>b<|endoftext|> ab  abc \xff 12";
    const char *at = (const char *)data, *part[3] = {"", "", ""};
    size_t len[3] = {0}, left = size;
    er_tokenizer *t = NULL;
    er_tokens out = {0};
    if (size > 20000) return 0;
    for (int i = 0; i < 3 && left; i++) {
        const char *nul = i < 2 ? memchr(at, 0, left) : NULL;
        part[i] = at;
        len[i] = nul ? (size_t)(nul - at) : left;
        left -= nul ? len[i] + 1 : len[i];
        at = nul ? nul + 1 : at + len[i];
    }
    if (er_tokenizer_parse_legacy(&t, part[0], len[0], part[1], len[1], part[2], len[2]) != ER_OK) return 0;
    if (er_tokenizer_encode_lossy(t, &out, text, sizeof text - 1, true) == ER_OK) {
        int32_t ids[256];
        char *back = NULL;
        size_t n = out.count < 256 ? out.count : 256;
        for (size_t i = 0; i < out.count; i++) {
            if (out.at[i].begin > out.at[i].end || out.at[i].end >= sizeof text) abort();
            if (out.at[i].id < 0 || (size_t)out.at[i].id >= er_tokenizer_vocab(t)) abort();
            if (i < n) ids[i] = out.at[i].id;
        }
        if (er_tokenizer_decode(t, &back, ids, n, true) == ER_OK) free(back);
    }
    er_tokens_free(&out);
    er_tokenizer_free(t);
    return 0;
}
