#include "tests/support/letter_model.h"
#include <stdio.h>
#include <stdlib.h>

static const char head[] =
    "{\"version\":\"1.0\",\"truncation\":null,\"padding\":null,\"added_tokens\":[{\"id\":96,\"content\":\"<"
    "s>\","
    "\"single_word\":false,\"lstrip\":false,\"rstrip\":false,\"normalized\":false,\"special\":true}],"
    "\"normalizer\":null,\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"trim_"
    "offsets\":true,"
    "\"use_regex\":true},\"decoder\":{\"type\":\"ByteLevel\",\"add_prefix_space\":true,\"trim_offsets\":true,"
    "\"use_regex\":true},\"post_processor\":";
static const char template[] =
    "{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"<s>\",\"type_id\":0}},"
    "{\"Sequence\":{\"id\":\"A\",\"type_id\":0}}],\"pair\":[{\"Sequence\":{\"id\":\"A\",\"type_id\":0}},"
    "{\"Sequence\":{\"id\":\"B\",\"type_id\":1}}],\"special_tokens\":{\"<s>\":{\"id\":\"<s>\",\"ids\":[96],"
    "\"tokens\":[\"<s>\"]}}}";

er_status letter_model_open(er_model **out, er_device *dev, const char *dir, bool bos) {
    return letter_model_open_for(out, dev, dir, bos, &(er_model_options){0});
}

size_t letter_tokenizer_json(char *json, size_t room, bool bos) {
    size_t n = (size_t)snprintf(json, room,
        "%s%s,\"model\":{\"type\":\"BPE\",\"dropout\":null,\"unk_token\":null,\"merges\":[],\"vocab\":{",
        head, bos ? template : "null");
    for (int c = '!'; c <= '~'; c++)
        n += (size_t)snprintf(
            json + n, room - n, "\"%s%c\":%d,", c == '"' || c == '\\' ? "\\" : "", c, c - '!');
    n += (size_t)snprintf(
        json + n, room - n, "\"\u0120\":94,\"\u010a\":95}}}");  // how bytes 32 and 10 are spelt
    return n;
}

er_status letter_model_open_for(
    er_model **out, er_device *dev, const char *dir, bool bos, const er_model_options *options) {
    char json[6000];
    size_t n = letter_tokenizer_json(json, sizeof json, bos);
    er_model *m = NULL;
    er_status rc = er_model_load(&m, dev, dir, options);
    if (rc == ER_OK) rc = er_tokenizer_parse(&m->tokenizer, json, n, "letters");
    if (rc == ER_OK) *out = m;
    else er_model_free(m);
    return rc;
}
