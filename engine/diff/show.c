// A comparison as a table and as JSON.
#include "engine/diff.h"

#include <math.h>

static const char *kind_name(er_diff_kind k) {
    static const char *const names[] = {"changed", "only in base", "only in edited", "reshaped"};
    return names[k];
}

static double percent(double part, double all) { return all > 0 ? 100 * part / all : 0; }

void er_diff_print_table(FILE *to, const er_diff *d) {
    bool rank = false;
    size_t lost = 0, fresh = 0;
    for (size_t i = 0; i < d->count; i++) {
        rank = rank || d->at[i].rank > 0;
        lost += d->at[i].kind == ER_DIFF_ONLY_BASE;
        fresh += d->at[i].kind == ER_DIFF_ONLY_EDITED;
    }
    if (d->count == 0) {
        fprintf(to, "no difference in %zu tensors\n", d->compared);
        return;
    }
    fprintf(to, "%-44s %12s %10s %10s %9s %10s %9s%s\n", "tensor", "shape", "|W|", "|dW|", "dW/W %",
        "max |dW|", "changed %", rank ? "   st.rank" : "");
    for (size_t i = 0; i < d->count; i++) {
        const er_diff_tensor *t = &d->at[i];
        char shape[48];
        (void)snprintf(
            shape, sizeof shape, "%llux%llu", (unsigned long long)t->rows, (unsigned long long)t->cols);
        fprintf(to, "%-44s %12s", t->name, shape);
        if (!t->measured) {
            fprintf(to, " %s\n", kind_name(t->kind));
            continue;
        }
        fprintf(to, " %10.4g %10.4g %9.3f %10.3g %9.2f", t->base_norm, t->norm,
            percent(t->norm, t->base_norm), t->largest,
            percent((double)t->changed, (double)t->rows * (double)t->cols));
        if (rank) fprintf(to, " %9.1f", t->rank);
        fputc('\n', to);
    }
    fprintf(to, "%zu of %zu common tensors differ", d->count - lost - fresh, d->compared);
    if (lost) fprintf(to, ", %zu only in base", lost);
    if (fresh) fprintf(to, ", %zu only in edited", fresh);
    fputc('\n', to);
}

static bool number(cJSON *o, const char *key, double v) {
    return isfinite(v) ? cJSON_AddNumberToObject(o, key, v) != NULL : cJSON_AddNullToObject(o, key) != NULL;
}

static bool add_tensor(cJSON *list, const er_diff_tensor *t) {
    cJSON *o = cJSON_CreateObject(), *shape;
    if (!o || !cJSON_AddItemToArray(list, o)) {
        cJSON_Delete(o);
        return false;
    }
    shape = cJSON_AddArrayToObject(o, "shape");
    if (!shape || !cJSON_AddItemToArray(shape, cJSON_CreateNumber((double)t->rows)) ||
        !cJSON_AddItemToArray(shape, cJSON_CreateNumber((double)t->cols)))
        return false;
    bool ok =
        cJSON_AddStringToObject(o, "name", t->name) &&
        cJSON_AddStringToObject(o, "kind", kind_name(t->kind)) &&
        (t->layer >= 0 ? number(o, "layer", (double)t->layer) : cJSON_AddNullToObject(o, "layer") != NULL);
    if (!t->measured) return ok;
    return ok && number(o, "base_norm", t->base_norm) && number(o, "norm", t->norm) &&
           number(o, "relative", t->base_norm > 0 ? t->norm / t->base_norm : (double)NAN) &&
           number(o, "largest", t->largest) && number(o, "changed_elements", (double)t->changed) &&
           (t->rank <= 0 || number(o, "stable_rank", t->rank));
}

er_status er_diff_json(cJSON **out, const er_diff *d) {
    cJSON *root = cJSON_CreateObject(), *list = NULL;
    bool ok = root && cJSON_AddStringToObject(root, "base", d->base) &&
              cJSON_AddStringToObject(root, "edited", d->edited) &&
              cJSON_AddNumberToObject(root, "tensors_compared", (double)d->compared) &&
              (list = cJSON_AddArrayToObject(root, "changed")) != NULL;
    for (size_t i = 0; ok && i < d->count; i++) ok = add_tensor(list, &d->at[i]);
    if (!ok) {
        cJSON_Delete(root);
        return er_fail(ER_ENOMEM, "a comparison of %zu tensors", d->compared);
    }
    *out = root;
    return ER_OK;
}
