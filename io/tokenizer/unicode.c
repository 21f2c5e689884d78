// Character classes out of their run lengths, and the steps of lossy decoding.
#include "io/tokenizer/unicode.h"

#include <pthread.h>

// Flat rather than two-stage: 1.1 MB of which a text touches the few pages of its scripts, and one load per
// character.
static uint8_t classes[0x110000];
static pthread_once_t expanded = PTHREAD_ONCE_INIT;

static void expand(void) {
    size_t at = 0;
    for (unsigned i = 0; i < er_uc_run_count; i++)
        for (unsigned n = er_uc_runs[i] >> 7; n > 0 && at < sizeof classes; n--)
            classes[at++] = er_uc_runs[i] & 127;
}

const uint8_t *er_uc_classes(void) {
    (void)pthread_once(&expanded, expand);
    return classes;
}

size_t er_uc_lossy_step(const unsigned char *s, size_t left, int *bad) {
    *bad = 0;
    if (s[0] < 0x80) return 1;
    *bad = 1;
    if (s[0] < 0xc2 || s[0] > 0xf4) return 1;
    size_t want = er_uc_width(s[0]);
    // The second byte decides overlong forms, surrogates and what lies above U+10FFFF.
    unsigned low = s[0] == 0xe0   ? 0xa0
                   : s[0] == 0xf0 ? 0x90
                                  : 0x80,
             high = s[0] == 0xed   ? 0x9f
                    : s[0] == 0xf4 ? 0x8f
                                   : 0xbf;
    if (left < 2 || s[1] < low || s[1] > high) return 1;
    size_t n = 2;
    while (n < want && n < left && (s[n] & 0xc0) == 0x80) n++;
    *bad = n < want;
    return n;
}
