// tokenizer_config.json beside a tokenizer.json: the end of a text, and what stands around one. Some
// tokenizer classes do not trust the file's post_processor: they put the beginning and end of a text
// themselves, as add_bos_token and add_eos_token say. For every other class the file stands, whatever the
// configuration says.
#include <stdlib.h>
#include <string.h>
#include "io/base/file.h"
#include "io/base/json.h"
#include "io/tokenizer/load_internal.h"

typedef struct er_class {
    const char *name;
    bool add_bos;  // unless told otherwise
    const char *bos, *eos;
} er_class;

static const er_class *class_of(const char *name) {
    static const er_class all[] = {{"LlamaTokenizer", true, "<s>", "</s>"},
        {"CodeLlamaTokenizer", true, "<s>", "</s>"}, {"GemmaTokenizer", true, "<bos>", "<eos>"},
        {"CohereTokenizer", true, "<BOS_TOKEN>", "<|END_OF_TURN_TOKEN|>"},
        {"GPTNeoXTokenizer", false, "<|endoftext|>", "<|endoftext|>"}};
    size_t len = name ? strlen(name) : 0;
    if (len > 4 && !strcmp(name + len - 4, "Fast")) len -= 4;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (strlen(all[i].name) == len && !memcmp(all[i].name, name, len)) return &all[i];
    return NULL;
}

// A token in a configuration is a string or an object with its "content".
er_status er_config_string(const char **out, const cJSON *config, const char *key, const char *name) {
    const cJSON *node = cJSON_GetObjectItemCaseSensitive(config, key);
    if (!node || cJSON_IsNull(node)) return ER_OK;
    if (cJSON_IsObject(node)) return er_json_get_str(out, node, "content", name);
    return er_json_get_str(out, config, key, name);
}

// The id of `key`'s token when `add_key` asks for one, else -1.
static er_status wanted_id(int32_t *id, const er_tokenizer *t, const cJSON *config, const char *key,
    const char *usual, const char *add_key, bool wanted, const char *name) {
    er_status rc = ER_OK;
    const cJSON *flag = cJSON_GetObjectItemCaseSensitive(config, add_key);
    const char *token = cJSON_GetObjectItemCaseSensitive(config, key) ? NULL : usual;
    *id = -1;
    if (flag && cJSON_IsNull(flag)) wanted = false;
    ER_TRY(er_json_get_bool(&wanted, config, add_key, name));
    if (!wanted) goto out;
    ER_TRY(er_config_string(&token, config, key, name));
    if (!token) ER_FAIL(ER_EFORMAT, "%s: %s without a %s", name, add_key, key);
    if ((*id = er_vocab_find(&t->vocab, token, strlen(token))) < 0)
        ER_FAIL(ER_EFORMAT, "%s: %s '%.60s' is not in the vocabulary", name, key, token);
out:
    return rc;
}

static bool says(const int32_t *list, size_t count, int32_t id) {
    return id < 0 ? count == 0 : count == 1 && list[0] == id;
}

// The file's digest no longer tells what is encoded.
static er_status redigest(er_tokenizer *t, int32_t bos, int32_t eos) {
    er_digest *d = NULL;
    er_status rc = er_digest_new(&d);
    if (rc != ER_OK) return rc;
    er_digest_add_str(d, t->digest);
    er_digest_add(d, &bos, sizeof bos);
    er_digest_add(d, &eos, sizeof eos);
    er_digest_hex(d, t->digest);
    er_digest_free(d);
    return ER_OK;
}

// What the class in the configuration puts around a text.
static er_status apply_template(er_tokenizer *t, const cJSON *config, const char *name) {
    er_status rc = ER_OK;
    const char *class_name = NULL;
    int32_t bos, eos;
    ER_TRY(er_json_get_str(&class_name, config, "tokenizer_class", name));
    const er_class *c = class_of(class_name);
    // The key is the mark of transformers 5, which writes no add_bos_token: its template is the file's.
    if (!c || cJSON_GetObjectItemCaseSensitive(config, "backend")) goto out;
    ER_TRY(wanted_id(&bos, t, config, "bos_token", c->bos, "add_bos_token", c->add_bos, name));
    ER_TRY(wanted_id(&eos, t, config, "eos_token", c->eos, "add_eos_token", false, name));
    if (says(t->before, t->before_count, bos) && says(t->after, t->after_count, eos)) goto out;
    t->before_count = t->after_count = 0;
    if (bos >= 0) ER_TRY(er_template_add(&t->before, &t->before_count, bos));
    if (eos >= 0) ER_TRY(er_template_add(&t->after, &t->after_count, eos));
    ER_TRY(redigest(t, bos, eos));
out:
    return rc;
}

// The end of a text, and with `overrides` what a configuration puts around one.
er_status er_config_read(er_tokenizer *t, const char *json, size_t len, bool overrides, const char *name) {
    er_status rc = ER_OK;
    cJSON *config = NULL;
    const char *eos = NULL;
    ER_TRY(er_json_parse_python(&config, json, len, name));
    if (overrides) ER_TRY(apply_template(t, config, name));
    ER_TRY(er_config_string(&eos, config, "eos_token", name));
    if (eos && (t->eos = er_vocab_find(&t->vocab, eos, strlen(eos))) < 0)
        ER_FAIL(ER_EFORMAT, "%s: eos_token '%.60s' is not in the vocabulary", name, eos);
out:
    cJSON_Delete(config);
    return rc;
}

er_status er_tokenizer_configure(er_tokenizer *t, const char *json, size_t len, const char *name) {
    return er_config_read(t, json, len, true, name);
}
