// The regular expressions that nearly every byte-level tokenizer splits with, as scanners: at `at`, where
// does the first alternative that matches end? They leave no gap: every character begins a match.
#include <string.h>
#include "io/tokenizer/tokenizer_internal.h"
#include "io/tokenizer/unicode.h"

#define KINDS (UC_LETTER | UC_NUMBER | UC_SPACE)

static inline unsigned kind_at(const uint8_t *classes, const char *text, size_t at) {
    unsigned char c = (unsigned char)text[at];
    return (c < 0x80 ? classes[c] : classes[er_uc_next(text, &at)]) & KINDS;
}

// Behind the longest run of characters of this kind; 0 is what is neither letter, number nor space.
static inline size_t run_of(const uint8_t *classes, const char *text, size_t at, size_t end, unsigned kind) {
    while (at < end) {
        size_t next = at;
        unsigned char c = (unsigned char)text[at];
        if (c < 0x80) {
            if ((classes[c] & KINDS) != kind) return at;
            at++;
            continue;
        }
        if ((classes[er_uc_next(text, &next)] & KINDS) != kind) return at;
        at = next;
    }
    return at;
}

// \s*[\r\n]+ (when `lines`), \s+(?!\S), \s+ : up to the last line break of the run; or the whole run when the
// text ends with it; or all but its last character, which then belongs to the next word.
static size_t spaces_from(const uint8_t *classes, const char *text, size_t at, size_t end, bool lines) {
    size_t last = at, p = at, broken = 0;
    while (p < end) {
        size_t next = p;
        uint32_t c = er_uc_next(text, &next);
        if (!(classes[c] & UC_SPACE)) break;
        if (c == '\r' || c == '\n') broken = next;
        last = p;
        p = next;
    }
    if (lines && broken) return broken;
    return p == end || last == at ? p : last;
}

// Bytes of 's 't 're 've 'm 'll 'd at `at`, or 0. Without regard to case, U+017F is an s.
static size_t contraction(const char *text, size_t at, size_t end, bool any_case) {
    size_t left = end - at;
    if (left < 2) return 0;
    unsigned char a = (unsigned char)text[at + 1], b = left > 2 ? (unsigned char)text[at + 2] : 0;
    if (any_case && a == 0xc5 && b == 0xbf) return 3;
    if (any_case && a >= 'A' && a <= 'Z') a |= 0x20;
    if (any_case && b >= 'A' && b <= 'Z') b |= 0x20;
    if (a == 's' || a == 't' || a == 'm' || a == 'd') return 2;
    if ((a == 'r' && b == 'e') || (a == 'v' && b == 'e') || (a == 'l' && b == 'l')) return 3;
    return 0;
}

size_t er_scan_gpt2(const uint8_t *classes, const char *text, size_t at, size_t end) {
    if (text[at] == '\'') {
        size_t n = contraction(text, at, end, false);
        if (n) return at + n;
    }
    size_t body = text[at] == ' ' && at + 1 < end ? at + 1 : at;
    unsigned kind = kind_at(classes, text, body);
    if (kind == UC_SPACE) return spaces_from(classes, text, at, end, false);
    return run_of(classes, text, body, end, kind);
}

size_t er_scan_words(const uint8_t *classes, const char *text, size_t at, size_t end, unsigned digits) {
    char c = text[at];
    if (c == '\'') {
        size_t n = contraction(text, at, end, true);
        if (n) return at + n;
    }
    unsigned kind = kind_at(classes, text, at);
    if (kind == UC_LETTER) return run_of(classes, text, at, end, UC_LETTER);
    size_t next = at + er_uc_width((unsigned char)c);
    if (kind == UC_NUMBER) {
        for (unsigned n = 1; n < digits && next < end && kind_at(classes, text, next) == UC_NUMBER; n++)
            next += er_uc_width((unsigned char)text[next]);
        return next;
    }
    unsigned follows = next < end ? kind_at(classes, text, next) : UC_SPACE;
    if (c != '\r' && c != '\n' && follows == UC_LETTER) return run_of(classes, text, next, end, UC_LETTER);
    if (kind == 0 || (c == ' ' && follows == 0)) {
        size_t p = run_of(classes, text, next, end, 0);
        while (p < end && (text[p] == '\r' || text[p] == '\n')) p++;
        return p;
    }
    return spaces_from(classes, text, at, end, true);
}

// Behind the longest run of characters of this class.
static inline size_t run_in(const uint8_t *classes, const char *text, size_t at, size_t end, unsigned class) {
    for (size_t next = at; at < end; at = next)
        if (!(classes[er_uc_next(text, &next)] & class)) return at;
    return at;
}

// [capitals]*[small letters]+ from `at` on, or `at` where it does not match. Letters without case are in both
// classes: the capitals give some back when no small letter follows, up to the last that may be one.
static size_t small_from(const uint8_t *classes, const char *text, size_t at, size_t end) {
    size_t capitals = run_in(classes, text, at, end, UC_UPPER),
           stop = run_in(classes, text, capitals, end, UC_LOWER);
    if (stop > capitals) return stop;
    while (stop > at) {
        size_t last = er_uc_floor(text, stop - 1), next = last;
        if (classes[er_uc_next(text, &next)] & UC_LOWER) break;
        stop = last;
    }
    return stop;
}

// [capitals]+[small letters]*
static size_t capitals_from(const uint8_t *classes, const char *text, size_t at, size_t end) {
    size_t capitals = run_in(classes, text, at, end, UC_UPPER);
    return capitals == at ? at : run_in(classes, text, capitals, end, UC_LOWER);
}

size_t er_scan_cased(
    const uint8_t *classes, const char *text, size_t at, size_t end, unsigned digits, bool contractions) {
    char c = text[at];
    unsigned kind = kind_at(classes, text, at);
    size_t next = at + er_uc_width((unsigned char)c), word = at;
    bool prefix = kind != UC_LETTER && kind != UC_NUMBER && c != '\r' && c != '\n' && next < end;
    for (int small = 1; small >= 0 && word == at; small--) {
        size_t (*from)(const uint8_t *, const char *, size_t, size_t) = small ? small_from : capitals_from;
        if (prefix && (word = from(classes, text, next, end)) == next) word = at;
        if (word == at) word = from(classes, text, at, end);
    }
    if (word > at) {
        if (contractions && word < end && text[word] == '\'') word += contraction(text, word, end, true);
        return word;
    }
    if (kind == UC_NUMBER) {
        for (unsigned n = 1; n < digits && next < end && kind_at(classes, text, next) == UC_NUMBER; n++)
            next += er_uc_width((unsigned char)text[next]);
        return next;
    }
    unsigned follows = next < end ? kind_at(classes, text, next) : UC_SPACE;
    if (kind == 0 || (c == ' ' && follows == 0)) {
        size_t p = run_of(classes, text, next, end, 0);
        while (p < end && (text[p] == '\r' || text[p] == '\n' || text[p] == '/')) p++;
        return p;
    }
    return spaces_from(classes, text, at, end, true);
}

// A word of letters and up to three digits: Llama 3; cl100k says the same in other words (possessive
// quantifiers change nothing where the next class is disjoint, and \s*[\r\n] also ends at the last line
// break). Qwen 2 takes digits one by one. o200k and Mistral's tekken also end a word where a capital follows
// a small letter.
#define CASED(end)                                                                                           \
    "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]+" end          \
    "|[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]+[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]*" end
#define CASED_REST "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
bool er_scan_known(const char *regex, er_step *step) {
    static const char gpt2[] =
        "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";
    static const char llama3[] = "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}"
                                 "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
    static const char cl100k[] = "'(?i:[sdmt]|ll|ve|re)|[^\\r\\n\\p{L}\\p{N}]?+\\p{L}+|\\p{N}{1,3}"
                                 "| ?[^\\s\\p{L}\\p{N}]++[\\r\\n]*|\\s*[\\r\\n]|\\s+(?!\\S)|\\s+";
    static const char qwen2[] = "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}"
                                "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
    static const char tekken[] = CASED("") "|\\p{N}" CASED_REST;
    static const char o200k[] = CASED("(?i:'s|'t|'re|'ve|'m|'ll|'d)?") "|\\p{N}{1,3}" CASED_REST;
    if (!strcmp(regex, gpt2)) return step->match = MATCH_GPT2, true;
    if (!strcmp(regex, llama3) || !strcmp(regex, cl100k))
        return step->match = MATCH_WORDS, step->digits = 3, true;
    if (!strcmp(regex, o200k))
        return step->match = MATCH_CASED, step->digits = 3, step->contractions = true, true;
    if (!strcmp(regex, tekken)) return step->match = MATCH_CASED, step->digits = 1, true;
    if (!strcmp(regex, qwen2)) return step->match = MATCH_WORDS, step->digits = 1, true;
    return false;
}
