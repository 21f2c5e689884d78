// A tokenizer over a, b and c, written as JSON with whatever parts a test is about.
#ifndef ER_TEST_SMALL_TOKENIZER_H
#define ER_TEST_SMALL_TOKENIZER_H
#include "io/tokenizer.h"
#include "tests/test.h"

#define BYTE_LEVEL                                                                                           \
    "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"trim_offsets\":true,\"use_regex\":true}"
#define FLAGS "\"single_word\":false,\"lstrip\":false,\"rstrip\":false,\"normalized\":false,\"special\":true"
#define VOCAB "\"Ġ\":0,\"a\":1,\"b\":2,\"c\":3,\"ab\":4,\"bc\":5,\"abc\":6"

// A tokenizer.json of the given parts; NULL keeps the usual one.
typedef struct parts {
    const char *vocab, *merges, *model, *added, *normalizer, *pre, *post, *decoder;
} parts;

static inline char *json_of(parts p) {
    char *s = NULL;
    int n = asprintf(&s,
        "{\"version\":\"1.0\",\"added_tokens\":[%s],\"normalizer\":%s,\"pre_tokenizer\":%s,\"post_"
        "processor\":%s,"
        "\"decoder\":%s,\"model\":{%s\"vocab\":{%s},\"merges\":[%s]}}",
        p.added ? p.added : "", p.normalizer ? p.normalizer : "null", p.pre ? p.pre : BYTE_LEVEL,
        p.post ? p.post : "null", p.decoder ? p.decoder : BYTE_LEVEL, p.model ? p.model : "",
        p.vocab ? p.vocab : VOCAB, p.merges ? p.merges : "");
    assert_true(n > 0);
    return s;
}

static inline er_tokenizer *make(parts p) {
    er_tokenizer *t = NULL;
    char *json = json_of(p);
    OK(er_tokenizer_parse(&t, json, strlen(json), "tokenizer.json"));
    free(json);
    return t;
}

// Ids and byte spans of `text`, as "id[begin,end) ...".
static inline void encodes(const er_tokenizer *t, const char *text, const char *want) {
    er_tokens out = {0};
    char got[512] = "";
    size_t n = 0;
    OK(er_tokenizer_encode(t, &out, text, strlen(text), true));
    for (size_t i = 0; i < out.count; i++)
        n += (size_t)snprintf(got + n, sizeof got - n, "%s%d[%u,%u)", i ? " " : "", out.at[i].id,
            out.at[i].begin, out.at[i].end);
    assert_string_equal(got, want);
    er_tokens_free(&out);
}
#endif
