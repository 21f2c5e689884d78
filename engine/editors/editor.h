// Editors: what a job does at each site. An editor is a struct of functions over one pipeline; NULL means
// MEMIT's own:
//
//     targets    z per request by gradient descent (engine/targets)
//     run        the walk over the sites (engine/editors/apply.h), of which these are the steps:
//       spread   the share of the residual that a site takes: 1 / (sites that are left) (MEMIT eq. 20)
//       system   the prior of the normal equations: lambda C (MEMIT eq. 14)
//       project  none
//       filter   none: dW as solved
//
// A new editor is a file of this folder and a line of editors.def (docs/add-an-editor.md).
#ifndef ER_EDITOR_H
#define ER_EDITOR_H
#include "covariance/covariance.h"
#include "engine/editors/apply.h"
#include "engine/hparams.h"
#include "engine/model/site.h"
#include "engine/solve/normal.h"
#include "engine/targets.h"

// The edit of one site, in the order of the sites.
typedef struct er_site_edit {
    er_device *dev;
    const er_hparams *h;
    const er_site *site;
    size_t index, n_sites, n_requests;
    er_second_moment *c;  // statistics of the site's keys; their sum is on the device
    double lambda;        // the weight of C, resolved
} er_site_edit;

typedef struct er_editor {
    const char *name;        // --editor, manifest
    const char *alg_name;    // as the peers' settings files spell it
    const er_field *fields;  // [n_fields] numbers of its own; their values are h->own, in this order
    size_t n_fields;
    bool averaged;    // prompts of a request are averaged into one column, whatever key_per_prompt says
    bool hard;        // system may ask for the hard constraint dW K = R (ridge 0)
    bool restricted;  // project is set
    // The keys of earlier edits of this model join A; this edit's are kept beside the output
    bool keeps_history;
    er_status (*check)(const er_hparams *h);  // before any work. ECONFIG (er_hparams_refuse): its own numbers
    er_status (*targets)(er_targets_stats *stats, er_model *m, const er_requests *requests,
        const er_hparams *h, const er_targets_options *options, er_target_sink sink, void *ctx);
    er_status (*run)(er_apply_report *out, er_model *m, const er_apply *a);
    double (*spread)(const er_site_edit *e);
    er_status (*system)(const er_site_edit *e, er_normal *s);
    er_status (*project)(const er_site_edit *e, er_normal *s);
    er_status (*filter)(const er_site_edit *e, double *dw);  // dw [d_out, d_key] [dev]
} er_editor;

const er_editor *er_editor_find(const char *name);  // by name or alg_name, letters of either case; NULL
const er_editor *er_editor_at(size_t i);            // the i-th of all editors, NULL behind the last
bool er_editor_settings_at(er_editor_settings *out, size_t i);  // an er_editor_list of them

// MEMIT's prior, for editors that add to it.
er_status er_memit_system(const er_site_edit *e, er_normal *s);
#endif
