// A golden model (random weights, no tokenizer of its own) with a tokenizer of single printable ASCII
// characters.
#ifndef ER_TEST_LETTER_MODEL_H
#define ER_TEST_LETTER_MODEL_H
#include "engine/model.h"

#define LETTER_BOS 96
// `bos`: the template puts "<s>" (id LETTER_BOS) first. Characters '!' .. '~' are ids 0 .. 93, space 94,
// newline 95.
er_status letter_model_open(er_model **out, er_device *dev, const char *dir, bool bos);
er_status letter_model_open_for(
    er_model **out, er_device *dev, const char *dir, bool bos, const er_model_options *options);
size_t letter_tokenizer_json(char *json, size_t room, bool bos);  // the tokenizer alone, under 6,000 bytes
#endif
