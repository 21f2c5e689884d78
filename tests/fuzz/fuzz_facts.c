// Any bytes are a file of facts: read or refused, and whatever was accepted keeps the reader's promises.
#include <stdlib.h>
#include <string.h>
#include "io/facts.h"
#include "io/base/json.h"
#include "io/base/log.h"
#include "io/base/utf8.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void demand(bool promise) {
    if (!promise) abort();
}

static void check(const er_fact *f) {
    const char *place = strstr(f->prompt, "{}");
    char *filled = er_fact_filled(f);
    demand(place && !strstr(place + 2, "{}"));
    demand(f->id && *f->subject && *f->target && f->line > 0 && filled);
    demand(!f->old || strcmp(f->old, f->target) != 0);
    demand(er_utf8_valid(filled, strlen(filled), NULL) && er_utf8_valid(f->target, strlen(f->target), NULL));
    for (size_t i = 0; i < f->n_paraphrases; i++) demand(*f->paraphrases[i]);
    for (size_t i = 0; i < f->n_neighbors; i++) demand(*f->neighbors[i].prompt);
    free(filled);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    er_log_set_level(ER_LOG_QUIET);
    for (int answers = 0; answers < 2; answers++) {
        er_facts *f = NULL;
        er_facts_options options = {.zsre_answers = answers != 0, .limit = answers ? 3 : 0};
        if (er_facts_parse(&f, (const char *)data, size, "fuzz", &options) != ER_OK) continue;
        for (size_t i = 0; i < f->count; i++) check(&f->at[i]);
        for (size_t i = 0; i < f->n_rejects; i++) demand(f->rejects[i].reason && f->rejects[i].line > 0);
        er_facts_free(f);
    }
    return 0;
}
