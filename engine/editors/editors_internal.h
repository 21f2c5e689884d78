// The editors, one file each.
#ifndef ER_EDITORS_INTERNAL_H
#define ER_EDITORS_INTERNAL_H
#include "engine/editors/editor.h"

extern const er_editor er_editor_memit, er_editor_memit_seq, er_editor_emmet, er_editor_alphaedit;
#endif
