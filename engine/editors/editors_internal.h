// The editors, one file each, as editors.def lists them.
#ifndef ER_EDITORS_INTERNAL_H
#define ER_EDITORS_INTERNAL_H
#include "engine/editors/editor.h"

#define EDITOR(name) extern const er_editor er_editor_##name;
#include "engine/editors/editors.def"
#undef EDITOR
#endif
