// Is a space written between a prompt and its target? What a careful typist of the script would do, read off
// the prompt's end and the target's beginning alone, so that the edit, its evaluation and a later question
// meet the same text.
#include <string.h>
#include <utf8proc.h>
#include "io/facts.h"
#include "io/facts/chars.h"

typedef struct end {  // the last visible character of a prompt
    const char *text;
    size_t at;        // its first byte
    uint32_t last;    // 0: there is none
    uint32_t before;  // the visible one in front of it; 0: none
} end;

static uint32_t visible_before(const char *s, size_t *at) {
    uint32_t c = 0;
    do c = er_char_before(s, at);
    while (c && er_char_is_invisible(c));
    return c;
}

static utf8proc_category_t category(uint32_t c) { return utf8proc_category((utf8proc_int32_t)c); }

// A word may begin behind it: white space, an opening bracket or quote, the text's beginning.
static bool is_fresh(uint32_t c) {
    return !c || er_char_is_white(c) || c == '=' || category(c) == UTF8PROC_CATEGORY_PS ||
           category(c) == UTF8PROC_CATEGORY_PI;
}
static bool is_wordy(uint32_t c) { return er_char_is_letter(c) || er_char_is_digit(c); }

// The character in front of the run of equal ones that ends the prompt; *n is the run's length.
static uint32_t before_run(const end *e, size_t *n) {
    size_t at = e->at;
    uint32_t c;
    *n = 1;
    while ((c = visible_before(e->text, &at)) == e->last) ++*n;
    return c;
}

static bool holds(const end *e, uint32_t what) {
    for (size_t at = 0; at < e->at;)
        if (er_char_next(e->text, e->at, &at) == what) return true;
    return false;
}

// How often the last character stands on the prompt's last line, itself included.
static size_t on_line(const end *e) {
    size_t n = 1, at = e->at;
    for (uint32_t c; (c = er_char_before(e->text, &at)) != 0 && c != '\n';) n += c == e->last;
    return n;
}

// An article or pronoun that loses its vowel: l'Italie, dell'Arno, d'Artagnan, O'Neill. The apostrophe
// belongs to the word behind it.
static bool elides(const end *e) {
    static const char *const words[] = {"l", "d", "c", "s", "n", "j", "m", "t", "qu", "o", "dell", "all",
        "nell", "sull", "dall", "un", "gl", "quell", "quest", "sant", "jusqu", "lorsqu", "puisqu", "quelqu"};
    char word[8] = "";
    size_t at = e->at, n = 0;
    uint32_t c = 0;
    while ((c = visible_before(e->text, &at)) != 0 && c < 0x80 && er_char_is_letter(c)) {
        if (n == sizeof word - 1) return false;
        word[n++] = (char)(c | 0x20);
    }
    if (!n || is_wordy(c) || er_char_plain(c) == '\'') return false;  // 's' between quotes is none
    for (size_t i = 0; i < n / 2; i++) {
        char swap = word[i];
        word[i] = word[n - 1 - i], word[n - 1 - i] = swap;
    }
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (!strcmp(word, words[i])) return true;
    return false;
}

static bool is_tag(const end *e) {  // "<b>", "<|assistant|>"
    size_t at = e->at;
    for (uint32_t c; (c = er_char_before(e->text, &at)) != 0 && !er_char_is_white(c) && c != '>';)
        if (c == '<') return true;
    return false;
}

static bool opening_quote(const end *e) {
    uint32_t b = e->before;
    uint32_t partner = e->last == 0xbb ? 0xab : e->last == 0x203a ? 0x2039 : e->last == 0x201d ? 0x201c : 0;
    if (partner && holds(e, partner)) return false;  // « Rome »
    if (is_fresh(b)) return true;
    switch (e->last) {
    case '"':
    case '`':  // behind a digit it is inches
        return !er_char_is_digit(b) && on_line(e) % 2 == 1;
    case '\'':
    case 0x2019:
        return elides(e);
    case 0x201c:  // closes in German, where low marks open
        return !holds(e, 0x201e);
    case 0x2018:
        return !holds(e, 0x201a);
    case 0xab:
        return !holds(e, 0xbb);
    case 0x2039:
        return !holds(e, 0x203a);
    default:
        return false;
    }
}

static bool trailing_currency(const end *e) {  // "5 €": behind its number
    size_t at = e->at;
    uint32_t c = visible_before(e->text, &at);
    if (er_char_is_white(c)) c = visible_before(e->text, &at);
    return er_char_is_digit(c);
}

static bool glues_sign(const end *e) {
    size_t n = 1;
    uint32_t b = before_run(e, &n);
    bool line_start = !b || b == '\n', apart = line_start || er_char_is_white(b);
    switch (e->last) {
    case '/':
    case '=':
        return !apart || (line_start && e->last == '/');
    case '-':
    case 0x2010:
    case 0x2011:
        return apart ? n > 1 : is_wordy(b) || b == ')';
    case 0x2013:
    case 0x2014:
    case 0x2015:
        return !apart;
    case '#':  // a hashtag, but neither a heading nor C#
        return !line_start && !is_wordy(b);
    case '*':
        return apart && (n > 1 || !line_start);
    case '~':
        return apart;
    case '<':
        return !er_char_is_white(b);
    case '>':
        return is_tag(e);
    case '&':
        return er_char_is_letter(b);
    case ':':
        return n > 1;
    case '\\':
    case '_':
    case '^':
    case '@':
    case 0xbf:
    case 0xa1:
        return true;
    default:
        return false;
    }
}

static bool opens(const end *e) {
    utf8proc_category_t k = category(e->last);
    if (k == UTF8PROC_CATEGORY_PS) return true;
    if (k == UTF8PROC_CATEGORY_SC) return !trailing_currency(e);
    if (k == UTF8PROC_CATEGORY_PI || k == UTF8PROC_CATEGORY_PF || e->last == '"' || e->last == '\'' ||
        e->last == '`')
        return opening_quote(e);
    return glues_sign(e);
}

static bool is_contraction(const char *t) {  // behind an apostrophe
    static const char *const ends[] = {"s", "t", "re", "ve", "m", "ll", "d"};
    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++) {
        size_t n = strlen(ends[i]), at = n;
        if (!strncmp(t, ends[i], n) && !er_char_is_letter(er_char_next(t, strlen(t), &at))) return true;
    }
    return false;
}

// Written against the word before it: a comma, a closing bracket, a unit sign, a suffix.
static bool attaches(const char *target, size_t at, uint32_t c) {
    size_t len = strlen(target), next = at;
    uint32_t d = er_char_next(target, len, &next);
    utf8proc_category_t k = category(c);
    switch (c) {
    case ',':
    case ';':
    case ':':
    case '!':
    case '?':
    case '%':
    case 0xb0:
    case 0xb2:
    case 0xb3:
    case 0xba:
    case 0xaa:
    case 0xae:
    case 0x2122:
    case 0x2026:
    case 0x2030:
    case 0x2032:
    case 0x2033:
    case 0x2014:
    case 0x60c:
    case 0x61b:
    case 0x61f:
    case 0x964:
        return true;
    case '.':
        return !is_wordy(d);
    case '\'':
        return is_contraction(target + at);
    case 0x2019:
        return !er_char_is_letter(d) || is_contraction(target + at);
    case '"':
        return d == 0;
    case '-':
    case 0x2010:
    case 0x2011:
        return er_char_is_letter(d);
    default:
        break;
    }
    if (k == UTF8PROC_CATEGORY_PF) return !is_wordy(d);
    if (k == UTF8PROC_CATEGORY_PE || (k >= UTF8PROC_CATEGORY_MN && k <= UTF8PROC_CATEGORY_ME)) return true;
    return er_char_is_east_asian(c) && k == UTF8PROC_CATEGORY_PO;  // full-width comma, stop, percent sign
}

// The script of the prompt's last letter, across digits and punctuation but not across white space.
static bool last_letter_unspaced(const end *e) {
    size_t at = e->at;
    for (uint32_t c = e->last; c && !er_char_is_white(c); c = visible_before(e->text, &at))
        if (er_char_is_letter(c)) return er_char_is_unspaced(c);
    return false;
}

static er_seam automatic(const char *prompt, size_t len, const char *target) {
    size_t from = 0, n = strlen(target);
    end e = {.text = prompt, .at = len};
    e.last = visible_before(prompt, &e.at);
    if (!e.last || er_char_is_white(e.last)) return ER_SEAM_BLANK;
    size_t at = e.at;
    e.before = visible_before(prompt, &at);
    uint32_t t = 0;
    do t = er_char_next(target, n, &from);
    while (t && er_char_is_invisible(t));
    if (attaches(target, from, t)) return ER_SEAM_TARGET;
    if (opens(&e)) return ER_SEAM_OPEN;
    if (er_char_is_east_asian(e.last)) return ER_SEAM_SCRIPT;
    if (er_char_is_unspaced(t) && last_letter_unspaced(&e)) return ER_SEAM_SCRIPT;
    return ER_SEAM_SPACE;
}

er_seam er_seam_of(const char *prompt, size_t len, const char *target, er_space fact, er_space job) {
    size_t at = 0;
    er_space said = fact != ER_SPACE_AUTO ? fact : job;
    if (er_char_is_white(er_char_next(target, strlen(target), &at))) return ER_SEAM_OWN;
    if (said != ER_SPACE_AUTO) return said == ER_SPACE_ALWAYS ? ER_SEAM_SPACE : ER_SEAM_ASKED;
    return automatic(prompt, len, target);
}

er_status er_space_parse(er_space *out, const char *word) {
    static const char *const words[] = {[ER_SPACE_AUTO] = "auto", "always", "never"};
    for (int i = 0; i < 3; i++)
        if (!strcmp(word, words[i])) return *out = (er_space)i, ER_OK;
    return er_fail(ER_EARG, "'%s' is none of auto, always, never", word);
}

const char *er_space_name(er_space s) {
    return s == ER_SPACE_ALWAYS ? "always" : s == ER_SPACE_NEVER ? "never" : "auto";
}
