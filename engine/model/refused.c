// Families that are known and refused, and why.
#include "engine/model/family.h"
#include <string.h>

static const char after_mlp[] =
    "its MLP output is normalised before it joins the residual stream, where an added weight does not "
    "act linearly";
static const char experts[] = "mixture of experts: each token sees its own choice of weights";
static const char hybrid[] = "not a plain attention decoder";
static const char several[] =
    "a wrapper around several models; only text decoders that stand alone are supported";
static const struct {
    const char *type, *reason;
} refused[] = {
    {"gemma2", after_mlp},
    {"gemma3", after_mlp},
    {"gemma3_text", after_mlp},
    {"gemma3n", after_mlp},
    {"olmo2", after_mlp},
    {"olmo3", after_mlp},
    {"mixtral", experts},
    {"qwen2_moe", experts},
    {"qwen3_moe", experts},
    {"gpt_oss", experts},
    {"deepseek_v2", experts},
    {"deepseek_v3", experts},
    {"olmoe", experts},
    {"phimoe", experts},
    {"granitemoe", experts},
    {"llama4", experts},
    {"llama4_text", experts},
    {"dbrx", experts},
    {"qwen3_5_moe", experts},
    {"mamba", hybrid},
    {"mamba2", hybrid},
    {"rwkv", hybrid},
    {"jamba", hybrid},
    {"qwen3_next", hybrid},
    {"qwen3_5", hybrid},
    {"qwen3_5_text", hybrid},
    {"falcon_mamba", hybrid},
    {"lfm2", hybrid},
    {"recurrent_gemma", hybrid},
    {"bert", hybrid},
    {"t5", hybrid},
    {"llava", several},
    {"mllama", several},
    {"mistral3", several},
    {"qwen2_vl", several},
    {"qwen2_5_vl", several},
    {"qwen3_vl", several},
};

const char *er_family_refusal(const char *type) {
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++)
        if (!strcmp(refused[i].type, type)) return refused[i].reason;
    return NULL;
}
