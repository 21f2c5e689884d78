// A settings file's model_name against the model at hand. Names are free text, so a difference is a warning:
// only well-known names of families, and sizes such as 7b or 135M, are read out of them.
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "engine/hparams/fields_internal.h"
#include "io/base/log.h"

// The longer name first where one holds another.
static const struct {
    const char *word, *families;  // families: their model_type, one of several
} known[] = {{"gpt2", "gpt2"}, {"gptj", "gptj"}, {"gptneox", "gpt_neox"}, {"pythia", "gpt_neox"},
    {"gptneo", "gpt_neo"}, {"opt", "opt"}, {"tinyllama", "llama"}, {"smollm3", "smollm3"},
    {"smollm", "llama"}, {"vicuna", "llama"}, {"codellama", "llama"}, {"llama", "llama"},
    {"mixtral", "mixtral"}, {"mistral", "mistral"}, {"qwen3", "qwen3"}, {"qwen", "qwen2"}, {"phi2", "phi"},
    {"phi3", "phi3"}, {"phi4", "phi3"}, {"gemma", "gemma"}, {"falcon", "falcon"}, {"bloom", "bloom"},
    {"baichuan", "baichuan"}, {"internlm", "internlm"}, {"chatglm", "chatglm"}, {"stablelm", "stablelm"},
    {"starcoder", "starcoder2"}};

// The last part of a path, small letters and digits only; words are told by the part before and behind.
static void squeeze(char *out, size_t size, const char *name) {
    size_t n = 0, end = strlen(name);
    while (end && name[end - 1] == '/') end--;
    size_t from = end;
    while (from && name[from - 1] != '/') from--;
    for (size_t i = from; i < end && n + 1 < size; i++)
        if (isalnum((unsigned char)name[i]) || name[i] == '.')
            out[n++] = (char)tolower((unsigned char)name[i]);
    out[n] = '\0';
}

static const char *family_in(const char *squeezed) {
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        const char *at = strstr(squeezed, known[i].word);
        // "opt" is three letters of many words: only a name that begins with it, and goes on with a size.
        if (at && !strcmp(known[i].word, "opt") && (at != squeezed || !isdigit((unsigned char)at[3])))
            continue;
        if (at) return known[i].families;
    }
    return NULL;
}

// Parameters as "7b" or "135m" says them, standing by itself in the name; 0: none.
static double size_in(const char *name) {
    const char *slash = strrchr(name, '/');
    for (const char *s = slash && slash[1] ? slash + 1 : name; *s;) {
        if (!isdigit((unsigned char)*s)) {
            s++;
            continue;
        }
        char *end = NULL;
        double v = strtod(s, &end);
        int unit = tolower((unsigned char)*end);
        if ((unit == 'b' || unit == 'm') && !isalnum((unsigned char)end[1]))
            return v * (unit == 'b' ? 1e9 : 1e6);
        s = end > s ? end : s + 1;
    }
    return 0;
}

// GPT-2's sizes have names: the layers that one of them has; 0: none of them.
static size_t gpt2_layers(const char *squeezed) {
    static const struct {
        const char *word;
        size_t layers;
    } sizes[] = {{"gpt2xl", 48}, {"gpt2large", 36}, {"gpt2medium", 24}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        if (strstr(squeezed, sizes[i].word)) return sizes[i].layers;
    return 0;
}

void er_hparams_compare_model(const er_hparams *h, const er_arch *a) {
    char squeezed[128];
    if (!h->model_name[0]) return;
    squeeze(squeezed, sizeof squeezed, h->model_name);
    const char *family = family_in(squeezed);
    double said = size_in(h->model_name);
    // A multiply and an add per weight.
    double own =
        (er_arch_layer_flops(a) * (double)a->layers + er_arch_head_flops(a) * (a->tied_head ? 1 : 2)) / 2;
    bool other = family && strcmp(family, a->family) != 0;
    bool qwen =
        family && !strncmp(family, "qwen", 4) && !strncmp(a->family, "qwen", 4);  // "Qwen" may be either
    if (other && !qwen)
        er_warn("%s: model_name is '%s', the model's family %s: settings for another model, perhaps", h->file,
            h->model_name, a->family);
    else if (gpt2_layers(squeezed) && gpt2_layers(squeezed) != a->layers)
        er_warn("%s: model_name is '%s', the model has %zu layers: settings for another size, perhaps",
            h->file, h->model_name, a->layers);
    else if (said > 0 && (own > 1.6 * said || own < said / 1.6))
        er_warn("%s: model_name is '%s', the model has %.3g parameters: settings for another size, perhaps",
            h->file, h->model_name, own);
}
