// Tokenizer speed in MB/s on one core, after the ids were checked against a plain second implementation.
//
//     bench_tokenizer MODEL_DIR TEXT_FILE          check, then time: whole file, and line by line
//     bench_tokenizer --serve MODEL_DIR            encode what stdin sends, for
//     scripts/fuzz_tokenizer_against_hf.py
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "engine/cli/terminal.h"
#include "io/base/file.h"
#include "io/base/json.h"
#include "io/tokenizer.h"

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);  // one thread: its own time, whoever shares the machine
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

// ---- the plain path: pieces by Oniguruma, merges looked up as strings, one rescan of the word per merge
// ----

#include <cjson/cJSON.h>
#include <oniguruma.h>

typedef struct plain_merge {
    char *pair;  // "left right" in the byte alphabet
    unsigned rank;
} plain_merge;
typedef struct plain_path {
    plain_merge *merges;
    size_t count;
    regex_t *words, *digit;  // digit: NULL, or what stands alone before words are cut
    char mapped[256][3];
} plain_path;

static int by_pair(const void *a, const void *b) {
    return strcmp(((const plain_merge *)a)->pair, ((const plain_merge *)b)->pair);
}

static bool plain_regex(regex_t **out, const char *pattern) {
    OnigErrorInfo info;
    const OnigUChar *p = (const OnigUChar *)pattern;
    return onig_new(out, p, p + strlen(pattern), ONIG_OPTION_NONE, ONIG_ENCODING_UTF8, ONIG_SYNTAX_DEFAULT,
               &info) == ONIG_NORMAL;
}

static bool plain_open(plain_path *p, const char *json_path) {
    cJSON *root = NULL;
    if (er_json_read(&root, json_path, (size_t)1 << 28) != ER_OK) return false;
    const cJSON *merges = cJSON_GetObjectItem(cJSON_GetObjectItem(root, "model"), "merges"), *m;
    p->merges = calloc((size_t)cJSON_GetArraySize(merges) + 1, sizeof *p->merges);
    if (!p->merges) return false;
    cJSON_ArrayForEach(m, merges) {
        char *pair = NULL;
        if (cJSON_IsString(m)) pair = strdup(m->valuestring);
        else if (asprintf(&pair, "%s %s", m->child->valuestring, m->child->next->valuestring) < 0)
            return false;
        p->merges[p->count] = (plain_merge){pair, (unsigned)p->count};
        p->count++;
    }
    qsort(p->merges, p->count, sizeof *p->merges, by_pair);
    unsigned hidden = 0x100;
    for (unsigned b = 0; b < 256; b++) {
        bool shown = (b > 0x20 && b < 0x7f) || (b > 0xa0 && b != 0xad);
        unsigned c = shown ? b : hidden++;
        if (c < 0x80) p->mapped[b][0] = (char)c;
        else p->mapped[b][0] = (char)(0xc0 | c >> 6), p->mapped[b][1] = (char)(0x80 | (c & 0x3f));
    }
    char *all = cJSON_PrintUnformatted(cJSON_GetObjectItem(root, "pre_tokenizer"));
    const char *digit = strstr(all, "\"Digits\"") ? "\\p{N}" : NULL;
    const char *gpt2 = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";
    const cJSON *list = cJSON_GetObjectItem(cJSON_GetObjectItem(root, "pre_tokenizer"), "pretokenizers");
    const cJSON *split =
        cJSON_GetObjectItem(cJSON_GetObjectItem(cJSON_GetArrayItem(list, 0), "pattern"), "Regex");
    const char *pattern = split ? split->valuestring : gpt2;
    bool fine = plain_regex(&p->words, pattern) && (!digit || plain_regex(&p->digit, digit));
    free(all);
    cJSON_Delete(root);
    return fine;
}

static unsigned plain_rank(const plain_path *p, const char *left, const char *right) {
    char key[2048];
    if ((size_t)snprintf(key, sizeof key, "%s %s", left, right) >= sizeof key) return UINT32_MAX;
    plain_merge probe = {key, 0}, *m = bsearch(&probe, p->merges, p->count, sizeof probe, by_pair);
    return m ? m->rank : UINT32_MAX;
}

// Appends the ids of one word; false when a piece has no id.
static bool plain_word(
    const plain_path *p, const er_tokenizer *t, const char *bytes, size_t len, er_tokens *out) {
    char(*piece)[512] = calloc(len, sizeof *piece);
    size_t n = len;
    if (!piece) return false;
    for (size_t i = 0; i < len; i++) strcpy(piece[i], p->mapped[(unsigned char)bytes[i]]);
    for (;;) {
        size_t best = 0;
        unsigned low = UINT32_MAX;
        for (size_t i = 0; i + 1 < n; i++) {
            unsigned rank = plain_rank(p, piece[i], piece[i + 1]);
            if (rank < low) low = rank, best = i;
        }
        if (low == UINT32_MAX) break;
        size_t a = strlen(piece[best]), b = strlen(piece[best + 1]);
        if (a + b >= sizeof *piece) break;
        memmove(piece[best] + a, piece[best + 1], b + 1);
        memmove(piece + best + 1, piece + best + 2, (--n - best - 1) * sizeof *piece);
    }
    for (size_t i = 0; i < n; i++) out->at[out->count++] = (er_token){er_tokenizer_id(t, piece[i]), 0, 0};
    free(piece);
    return true;
}

static bool plain_range(
    const plain_path *p, const er_tokenizer *t, const char *text, size_t len, er_tokens *out) {
    OnigRegion *region = onig_region_new();
    const OnigUChar *b = (const OnigUChar *)text, *e = b + len;
    bool fine = region != NULL;
    for (size_t at = 0; fine && at < len; at = (size_t)region->end[0]) {
        fine = onig_search(p->words, b, e, b + at, e, region, ONIG_OPTION_NONE) == (int)at &&
               region->end[0] > (int)at;
        if (fine) fine = plain_word(p, t, text + at, (size_t)region->end[0] - at, out);
    }
    if (region) onig_region_free(region, 1);
    return fine;
}

static bool plain_encode(
    const plain_path *p, const er_tokenizer *t, const char *text, size_t len, er_tokens *out) {
    OnigRegion *region = onig_region_new();
    const OnigUChar *b = (const OnigUChar *)text, *e = b + len;
    size_t done = 0;
    bool fine = region != NULL;
    while (fine && p->digit && onig_search(p->digit, b, e, b + done, e, region, ONIG_OPTION_NONE) >= 0) {
        size_t from = (size_t)region->beg[0], to = (size_t)region->end[0];
        fine = (from == done || plain_range(p, t, text + done, from - done, out)) &&
               plain_range(p, t, text + from, to - from, out);
        done = to;
    }
    if (region) onig_region_free(region, 1);
    return fine && (done == len || plain_range(p, t, text + done, len - done, out));
}

// The first `len` bytes (cut at a line end) through both paths.
static bool same_ids(const er_tokenizer *t, const char *dir, const char *text, size_t len) {
    plain_path p = {0};
    er_tokens got = {0}, want = {0};
    char *path = er_path_join(dir, "tokenizer.json");
    while (len > 0 && text[len - 1] != '\n') len--;
    bool fine = path && plain_open(&p, path) && (want.at = calloc(len + 1, sizeof *want.at)) != NULL;
    fine = fine && er_tokenizer_encode(t, &got, text, len, false) == ER_OK &&
           plain_encode(&p, t, text, len, &want);
    fine = fine && got.count == want.count;
    for (size_t i = 0; fine && i < got.count; i++) fine = got.at[i].id == want.at[i].id;
    printf(
        "# %s: %zu ids of %zu bytes against the plain path\n", fine ? "equal" : "DIFFERENT", want.count, len);
    for (size_t i = 0; i < p.count; i++) free(p.merges[i].pair);
    free(p.merges);
    if (p.words) onig_free(p.words);
    if (p.digit) onig_free(p.digit);
    er_tokens_free(&got);
    er_tokens_free(&want);
    free(path);
    return fine;
}

static double encode_lines(
    const er_tokenizer *t, er_tokens *out, const char *text, size_t len, size_t *tokens) {
    double start = now();
    *tokens = 0;
    for (size_t at = 0; at < len;) {
        const char *stop = memchr(text + at, '\n', len - at);
        size_t end = stop ? (size_t)(stop - text) + 1 : len;
        if (er_tokenizer_encode(t, out, text + at, end - at, false) != ER_OK) return -1;
        *tokens += out->count;
        at = end;
    }
    return now() - start;
}

static int by_value(const void *a, const void *b) {
    return (*(const double *)a > *(const double *)b) - (*(const double *)a < *(const double *)b);
}

static int bench(const char *dir, const char *file) {
    enum { RUNS = 20 };
    er_tokenizer *t = NULL;
    er_tokens out = {0};
    char *text = NULL;
    size_t len = 0, tokens = 0;
    double whole[RUNS], lines[RUNS], start = now();
    if (er_tokenizer_open(&t, dir) != ER_OK || er_file_read(&text, &len, file, (size_t)1 << 30) != ER_OK) {
        fprintf(stderr, "bench_tokenizer: %s\n", er_last_error());
        return 1;
    }
    printf("# %zu ids, opened in %.3f s; %zu bytes of text\n", er_tokenizer_vocab(t), now() - start, len);
    bool fine = same_ids(t, dir, text, len < 400000 ? len : 400000);
    for (int i = 0; fine && i < RUNS; i++) {
        start = now();
        fine = er_tokenizer_encode(t, &out, text, len, false) == ER_OK;
        whole[i] = now() - start;
        lines[i] = encode_lines(t, &out, text, len, &tokens);
    }
    if (fine) {
        qsort(whole, RUNS, sizeof *whole, by_value);
        qsort(lines, RUNS, sizeof *lines, by_value);
        double mb = (double)len * 1e-6;
        printf("%-8s %10s %10s %12s\n", "op", "best MB/s", "med. MB/s", "Mtokens/s");
        printf("%-8s %10.1f %10.1f %12.2f\n", "whole", mb / whole[0], mb / whole[RUNS / 2],
            (double)tokens * 1e-6 / whole[RUNS / 2]);
        printf("%-8s %10.1f %10.1f %12.2f\n", "lines", mb / lines[0], mb / lines[RUNS / 2],
            (double)tokens * 1e-6 / lines[RUNS / 2]);
    }
    er_tokens_free(&out);
    er_tokenizer_free(t);
    free(text);
    return fine ? 0 : 1;
}

// Requests: u32 flags (1 add_special, 2 lossy, 4 decode the ids too, 8 skip special), u32 bytes, the bytes.
// Answers: i32 status, u32 count, then id, begin, end of each token; with flag 4 also u32 bytes and the
// decoded text.
static int serve(const char *dir) {
    er_tokenizer *t = NULL;
    er_tokens out = {0};
    uint32_t head[2];
    if (er_tokenizer_open(&t, dir) != ER_OK) {
        fprintf(stderr, "bench_tokenizer: %s\n", er_last_error());
        return 1;
    }
    while (fread(head, sizeof head, 1, stdin) == 1) {
        char *text = malloc((size_t)head[1] + 1);
        if (!text || fread(text, 1, head[1], stdin) != head[1]) return 1;
        er_status rc = (head[0] & 2 ? er_tokenizer_encode_lossy : er_tokenizer_encode)(
            t, &out, text, head[1], (head[0] & 1) != 0);
        uint32_t reply[2] = {(uint32_t)rc, rc == ER_OK ? (uint32_t)out.count : 0};
        fwrite(reply, sizeof reply, 1, stdout);
        if (reply[1]) fwrite(out.at, sizeof *out.at, reply[1], stdout);
        if (head[0] & 4) {
            int32_t *ids = malloc((out.count + 1) * sizeof *ids);
            char *decoded = NULL;
            for (size_t i = 0; ids && i < reply[1]; i++) ids[i] = out.at[i].id;
            if (!ids || er_tokenizer_decode(t, &decoded, ids, reply[1], (head[0] & 8) != 0) != ER_OK)
                return 1;
            uint32_t n = (uint32_t)strlen(decoded);
            fwrite(&n, sizeof n, 1, stdout);
            fwrite(decoded, 1, n, stdout);
            free(decoded);
            free(ids);
        }
        fflush(stdout);
        free(text);
    }
    er_tokens_free(&out);
    er_tokenizer_free(t);
    return 0;
}

int main(int argc, char **argv) {
    er_terminal_listen();
    if (argc == 3 && !strcmp(argv[1], "--serve")) return serve(argv[2]);
    if (argc == 3) return bench(argv[1], argv[2]);
    fprintf(stderr, "usage: bench_tokenizer MODEL_DIR TEXT_FILE | --serve MODEL_DIR\n");
    return 2;
}
