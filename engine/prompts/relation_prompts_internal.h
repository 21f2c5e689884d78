// Relation prompts: the prompts of other facts of the same relation. Used as further templates they teach a
// target value and a key to answer to more than one wording of the relation.
#ifndef ER_RELATION_PROMPTS_H
#define ER_RELATION_PROMPTS_H
#include "io/facts.h"

typedef struct er_phrasing {  // borrowed
    const char *relation, *text;
    er_space space;  // what the record says that it comes from
} er_phrasing;

typedef struct er_relation_prompts er_relation_prompts;
// Borrows the facts' strings.
er_status er_relation_prompts_create(er_relation_prompts **out, const er_facts *facts);
void er_relation_prompts_free(er_relation_prompts *s);
// Up to `most` phrasings of fact i's relation, its own left out; *out is malloc'd, the strings are borrowed.
// The choice depends on the fact's own content and the set of phrasings only, not on the order of the file.
er_status er_relation_prompts_of(
    er_phrasing **out, size_t *n, const er_relation_prompts *s, const er_facts *facts, size_t i, size_t most);
#endif
