// Where a prompt ends and its target begins, in tokens.
#ifndef ER_JOINT_H
#define ER_JOINT_H
#include "io/facts.h"
#include "io/tokenizer.h"

// A prompt and its target as one text, cut into what is read and what is to follow.
typedef enum er_joint_how {
    ER_JOINT_WHOLE,  // the prompt's ids begin the whole's
    ER_JOINT_BLANK,  // white space at the prompt's end went into the target's first token, as it does in any
                     // text: "lives in " and "Rome" are the ids of "lives in Rome". The context is shorter
                     // than the prompt's own ids
    ER_JOINT_APART   // a token would stand across the seam, or change in front of it: the prompt's own ids,
                     // then the target's own
} er_joint_how;
typedef struct er_joint {
    int32_t *token;  // [n_context + n_labels], BOS included; malloc'd
    size_t n_context, n_labels;
    size_t prompt_bytes;  // of the prompt, that the context stands for; less than all with ER_JOINT_BLANK
    er_joint_how how;
    er_seam seam;
} er_joint;
// The one place that joins the two; editing and evaluation both ask it. `fact` and `job` as in er_seam_of.
// EFORMAT when either has no tokens.
er_status er_encode_joint(er_joint *out, const er_tokenizer *t, er_tokens *scratch, const char *prompt,
    const char *target, er_space fact, er_space job);
#endif
