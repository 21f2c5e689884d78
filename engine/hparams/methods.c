// Settings files of other methods than the editor's, told by the keys that only they have: many name no
// method (AlphaEdit's own, MEMIT's too), and numbers tuned for one method are not another's. The editors' own
// keys are known from the editors; these are of methods that are none here, or are shared with one.
#include <string.h>

#include "engine/hparams/fields_internal.h"

static const struct {
    const char *key, *method;
} signs[] = {
    {"calculate_objective_value", "EMMET"},
    {"update_norm_lambda", "EMMET or FastMEMIT"},
    {"dynamic_multiplier", "FastMEMIT"},
    {"rewrite_module_tmps", "PMET"},
    {"nll_loss_factor", "PMET"},
    {"context_template_length_params", "ROME"},
    {"mask_ratio", "WISE"},
    {"act_margin", "WISE"},
    {"act_margin_loss", "WISE"},
    {"act_ratio", "WISE"},
    {"merge_alg", "WISE"},
    {"merge_freq", "WISE"},
    {"dist_fn", "GRACE"},
    {"eps_expand", "GRACE"},
    {"val_init", "GRACE"},
    {"val_train", "GRACE"},
    {"lora_type", "LoRA"},
    {"lora_alpha", "LoRA"},
    {"lora_dropout", "LoRA"},
    {"lora_rank", "LoRA"},
    {"quantization_bit", "QLoRA"},
    {"double_quant", "QLoRA"},
    {"peft_type", "PEFT (an adapter's configuration)"},
    {"target_modules", "LoRA"},
    {"adaptive_threshold", "KN"},
    {"refine", "KN"},
    {"n_toks", "KN"},
    {"coarse_adaptive_threshold", "KN"},
    {"sentence_model_name", "IKE"},
    {"cls_class", "SERAC"},
    {"cls_name", "SERAC"},
    {"dist_heads", "SERAC"},
    {"checkpoint_grad", "SERAC"},
    {"mlp_class", "MEND"},
    {"x_only", "MEND"},
    {"delta_only", "MEND"},
    {"train_base", "MEND"},
    {"lr_scale", "MEND"},
    {"gtn", "MEND"},
    {"edit_modules", "UltraEdit or MALMEN"},
    {"class_name", "UltraEdit or MALMEN"},
    {"half", "UltraEdit or MALMEN"},
    {"name_or_path", "UltraEdit or MALMEN"},
    {"n_blocks", "MALMEN"},
    {"optim_num_step", "UnKE"},
    {"ex_data_num", "UnKE"},
    {"wd_power_law", "FT"},
    {"norm_constraint", "FT"},
    {"objective_optimization", "FT"},
    {"num_steps", "FT"},
    {"weight_decay", "FT"},
    {"inner_params", "MEND, or another method with inner_params"},
    {"edit_lr", "MEND, or another method with an edit_lr"},
};

static bool given(const cJSON *obj, const char *key) {
    const cJSON *v = cJSON_GetObjectItemCaseSensitive(obj, key);
    return v && !cJSON_IsNull(v);
}

// Of a method that may want to be named, or that there is no editor for.
static er_status refuse(const char *key, const char *method, const char *path, er_editor_list editors) {
    er_editor_settings e;
    return er_fail(ER_ECONFIG, "%s: '%s' is a setting of %s: settings of another method than MEMIT (%s)",
        path, key, method,
        er_hparams_find_editor(&e, method, editors)
            ? "alg_name in the file, or --editor, says which one is meant"
            : "if they are meant for it all the same, say alg_name MEMIT in the file");
}

static bool is_sign(const char *key) {
    for (size_t i = 0; i < sizeof signs / sizeof *signs; i++)
        if (!strcmp(key, signs[i].key)) return true;
    return false;
}

er_status er_hparams_check_method(
    const er_hparams *h, const cJSON *obj, const char *path, er_editor_list editors) {
    er_editor_settings whose;
    // The file's own word settles it: then a key too many is no more than unknown.
    if (given(obj, "alg_name")) return ER_OK;
    for (const cJSON *x = obj->child; x; x = x->next)
        if (!cJSON_IsNull(x) && er_hparams_is_idle(&whose, h, x->string, editors) && !is_sign(x->string))
            return refuse(x->string, whose.alg_name, path, editors);
    for (size_t i = 0; i < sizeof signs / sizeof *signs; i++)
        if (given(obj, signs[i].key) && er_hparams_own_index(&h->editor, signs[i].key) == SIZE_MAX)
            return refuse(signs[i].key, signs[i].method, path, editors);
    // ROME's published files have the switch and no weight.
    if (given(obj, "mom2_adjustment") && !given(obj, "mom2_update_weight") &&
        !given(obj, "mom2_trace_ratio") && given(obj, "v_num_grad_steps"))
        return er_fail(ER_ECONFIG,
            "%s: 'mom2_adjustment' without a 'mom2_update_weight', as in ROME's files: settings of another "
            "method than MEMIT (if they are meant for it all the same, say alg_name MEMIT in the file)",
            path);
    return ER_OK;
}
