// The batches of a deterministic run, known before it begins.
#include "engine/targets/z_slots_internal.h"

// As er_z_slots_take() on an empty batch fills it.
static bool joins(er_footprint *load, const er_footprint *own, size_t members, const er_z_slots_size *z) {
    er_footprint all = {load->tokens + own->tokens, load->rows + own->rows, load->labels + own->labels,
        load->prefix + own->prefix};
    bool fits = members < z->count && all.tokens <= z->cap_tokens && all.rows <= z->cap_rows &&
                all.labels <= z->cap_labels && all.tokens <= z->state_room && all.prefix <= z->prefix_room;
    if (members && !fits) return false;
    *load = all;
    return true;
}

size_t er_targets_groups(size_t *group, const er_requests *requests, size_t batch_tokens) {
    er_z_slots_size z;
    er_footprint load = {0};
    size_t groups = 0, members = 0;
    er_z_slots_measure(&z, requests, batch_tokens);
    for (size_t i = 0; i < requests->count; i++) {
        er_footprint own = er_request_footprint(&requests->at[i]);
        if (!joins(&load, &own, members, &z)) {
            load = (er_footprint){0}, members = 0;
            (void)joins(&load, &own, 0, &z);
        }
        groups += members++ == 0;
        group[i] = groups - 1;
    }
    return groups;
}
