// vocab.json, merges.txt and tokenizer_config.json of any bytes, with a NUL between them; where they open,
// texts through them and back. Whatever the files say, no text may yield an id outside the vocabulary.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "io/tokenizer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_ids(const er_tokenizer *t, const er_tokens *out, size_t len) {
    for (size_t i = 0; i < out->count; i++) {
        if (out->at[i].begin > out->at[i].end || out->at[i].end > len) abort();
        if (out->at[i].id < 0 || (size_t)out->at[i].id >= er_tokenizer_vocab(t)) abort();
    }
}

static void round_trip(const er_tokenizer *t, const char *text, size_t len) {
    er_tokens out = {0};
    if (er_tokenizer_encode_lossy(t, &out, text, len, true) == ER_OK) {
        int32_t ids[256];
        char *back = NULL;
        size_t n = out.count < 256 ? out.count : 256;
        check_ids(t, &out, len);
        for (size_t i = 0; i < n; i++) ids[i] = out.at[i].id;
        if (er_tokenizer_decode(t, &back, ids, n, true) == ER_OK) free(back);
    }
    if (er_tokenizer_encode_open(t, &out, text, len) == ER_OK) check_ids(t, &out, len);
    er_tokens_free(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char text[] = "the \xc3\xa9 a</s>b<|endoftext|> ab  abc \xff 12";
    const char *at = (const char *)data, *part[3] = {"", "", ""};
    size_t len[3] = {0}, left = size;
    er_tokenizer *t = NULL;
    if (size > 20000) return 0;
    for (int i = 0; i < 3 && left; i++) {
        const char *nul = i < 2 ? memchr(at, 0, left) : NULL;
        part[i] = at;
        len[i] = nul ? (size_t)(nul - at) : left;
        left -= nul ? len[i] + 1 : len[i];
        at = nul ? nul + 1 : at + len[i];
    }
    if (er_tokenizer_parse_legacy(&t, part[0], len[0], part[1], len[1], part[2], len[2]) != ER_OK) return 0;
    int32_t bos = er_tokenizer_bos(t), eos = er_tokenizer_eos(t);
    if (bos >= 0 && (size_t)bos >= er_tokenizer_vocab(t)) abort();
    if (eos >= 0 && (size_t)eos >= er_tokenizer_vocab(t)) abort();
    round_trip(t, text, sizeof text - 1);
    round_trip(t, text, 0);
    // The files are texts too: they hold words of their own vocabulary, and its special tokens.
    for (int i = 0; i < 3; i++) round_trip(t, part[i], len[i] < 96 ? len[i] : 96);
    er_tokenizer_free(t);
    return 0;
}
