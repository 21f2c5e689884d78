// A tokenizer.json of any bytes, and behind a NUL a tokenizer_config.json; where it opens, texts of any bytes
// through it and back. Spans must lie in the text, and an open text must be a closed one without its end.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "io/tokenizer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void round_trip(const er_tokenizer *t, const char *text, size_t len) {
    er_tokens out = {0}, open = {0};
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
        if (er_tokenizer_encode_open(t, &open, text, len) == ER_OK &&
            (open.count > out.count ||
                (open.count && memcmp(open.at, out.at, open.count * sizeof *open.at) != 0)))
            abort();
    }
    er_tokens_free(&out);
    er_tokens_free(&open);
}

// Tokens that no text leads to, in the order of their ids.
static void decode_all(const er_tokenizer *t) {
    int32_t ids[300];
    char *back = NULL;
    for (int32_t i = 0; i < 300; i++) ids[i] = i;
    if (er_tokenizer_decode(t, &back, ids, 300, false) == ER_OK) free(back);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char text[] =
        "It's 12 caf\xc3\xa9 e\xcc\x81\n\n  <mask>cat ab\xff\xe2\x82 1\xc2\xbd\xe3\x80\x80x";
    static const char marks[] =
        " \xe2\x96\x81 a_b\xe2\x96\x81\xe2\x96\x81<s>hi</s> yo. <0x41>DzABc\xc7\x85\xe6\x97\xa5'LL/\n";
    er_tokenizer *t = NULL;
    const uint8_t *nul = size ? memchr(data, 0, size) : NULL;
    size_t json = nul ? (size_t)(nul - data) : size;
    if (size > 20000 || er_tokenizer_parse(&t, (const char *)data, json, "fuzz") != ER_OK) return 0;
    if (nul) (void)er_tokenizer_configure(t, (const char *)nul + 1, size - json - 1, "config");
    round_trip(t, text, sizeof text - 1);
    round_trip(t, marks, sizeof marks - 1);
    round_trip(t, text, 0);
    decode_all(t);
    // The file itself is a text too: its end holds words of its own vocabulary.
    size_t n = json < 96 ? json : 96;
    round_trip(t, (const char *)data + json - n, n);
    er_tokenizer_free(t);
    return 0;
}
