// Sibling phrasings: the prompts of other facts of the same relation. Used as further templates they teach a
// value and a key to answer to more than one wording of the relation.
#ifndef ER_SIBLINGS_H
#define ER_SIBLINGS_H
#include "io/facts.h"

typedef struct er_phrasing {  // borrowed
    const char *relation, *text;
    er_space space;  // what the record says that it comes from
} er_phrasing;

typedef struct er_siblings er_siblings;
er_status er_siblings_create(er_siblings **out, const er_facts *facts);  // borrows the facts' strings
void er_siblings_free(er_siblings *s);
// Up to `most` phrasings of fact i's relation, its own left out; *out is malloc'd, the strings are borrowed.
// The choice depends on the fact's own content and the set of phrasings only, not on the order of the file.
er_status er_siblings_of(
    er_phrasing **out, size_t *n, const er_siblings *s, const er_facts *facts, size_t i, size_t most);
#endif
