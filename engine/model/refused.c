// Families that are known and refused, and why.
#include "engine/model/family_internal.h"
#include <string.h>

static const char after_mlp[] =
    "its MLP output is normalised before it joins the residual stream, where an added weight does not "
    "act linearly";
static const char experts[] = "mixture of experts: each token sees its own choice of weights";
static const char hybrid[] = "not a plain attention decoder";
static const char several[] =
    "a wrapper around several models; only text decoders that stand alone are supported";
static const char alibi[] =
    "scores get a penalty that grows with distance (alibi), which the attention here does not add";
static const char squared[] = "its activation is a squared ReLU, which is not computed here";
static const char refined[] =
    "Falcon's first format, which needs code of its own; its converted form, model_type 'falcon', is read";
static const char mixformer[] =
    "Phi's first format, which needs code of its own; its converted form, model_type 'phi', is read";
static const struct {
    const char *type, *reason;
} refused[] = {
    {"bloom", alibi},
    {"mpt", alibi},
    {"cohere2",
        "layers with and without rotation and windows by a pattern of its own, norms of heads in one matrix"},
    {"codegen", "q, v and k are fused in blocks in an order of its own"},
    {"gpt_bigcode", "GPT-2 with one key-value head, whose fused q, k and v no row reads"},
    {"xglm", "positions are sinusoids that are added to the embedding"},
    {"openai-gpt", "its sums are normalised before they go on, where an added weight does not act linearly"},
    {"nemotron", squared},
    {"persimmon", squared},
    {"arcee", squared},
    {"apertus", "its activation has learned parameters (xIELU)"},
    {"hf_olmo",
        "OLMo's first format, which needs code of its own; its converted form, model_type 'olmo', is read"},
    {"RefinedWeb", refined},
    {"RefinedWebModel", refined},
    {"stablelm_epoch", "StableLM's first format, which needs code of its own; its converted form, model_type "
                       "'stablelm', is read"},
    {"phi-msft", mixformer},
    {"mixformer-sequential", mixformer},
    {"glm4", after_mlp},
    {"exaone4", after_mlp},
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
    {"falcon_h1", hybrid},
    {"bamba", hybrid},
    {"zamba2", hybrid},
    {"nemotron_h", hybrid},
    {"granitemoehybrid", hybrid},
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
