// The header of an npy member: the dict literal that numpy writes.
#include "io/npy.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HAVE_DESCR 1
#define HAVE_ORDER 2
#define HAVE_SHAPE 4

static const struct {
    const char *descr;
    uint64_t bytes;
} types[] = {[ER_NPY_F4] = {"<f4", 4},
    [ER_NPY_F8] = {"<f8", 8},
    [ER_NPY_F2] = {"<f2", 2},
    [ER_NPY_I8] = {"<i8", 8},
    [ER_NPY_I4] = {"<i4", 4}};
#define N_TYPES (sizeof types / sizeof *types)

void er_npy_free(er_npy *a) {
    free(a->data);
    a->data = NULL;
}

bool er_npy_bytes(uint64_t *elements, uint64_t *bytes, const er_npy *a) {
    *elements = 1;
    for (int i = 0; i < a->rank; i++)
        if (__builtin_mul_overflow(*elements, a->shape[i], elements)) return false;
    return !__builtin_mul_overflow(*elements, a->item_bytes, bytes) && *bytes <= INT64_MAX;
}

// ---- the literal: {'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), } ----

typedef struct literal {
    const char *at, *end, *name;
} literal;

static er_status bad(const literal *p, const char *reason) {
    return er_fail(ER_EFORMAT, "%s: npy header: %s", p->name, reason);
}

static char peek(literal *p) {
    while (p->at < p->end && (*p->at == ' ' || *p->at == '\n' || *p->at == '\t' || *p->at == '\r')) p->at++;
    return p->at < p->end ? *p->at : '\0';
}

static bool take(literal *p, char c) {
    if (peek(p) != c) return false;
    p->at++;
    return true;
}

// A quoted string without escapes; false when it is not one or does not fit.
static bool take_string(literal *p, char *out, size_t size) {
    char quote = peek(p);
    size_t n = 0;
    if (quote != '\'' && quote != '"') return false;
    for (p->at++; p->at < p->end && *p->at != quote; p->at++) {
        if (*p->at == '\\' || n + 1 == size) return false;
        out[n++] = *p->at;
    }
    out[n] = '\0';
    return take(p, quote) && strlen(out) == n;
}

static bool take_number(literal *p, uint64_t *out) {
    uint64_t v = 0;
    if (peek(p) < '0' || peek(p) > '9') return false;
    for (; p->at < p->end && *p->at >= '0' && *p->at <= '9'; p->at++)
        if (__builtin_mul_overflow(v, 10u, &v) || __builtin_add_overflow(v, (uint64_t)(*p->at - '0'), &v))
            return false;
    if (p->at < p->end && *p->at == 'L') p->at++;  // Python 2 wrote 3L
    *out = v;
    return true;
}

static er_status read_descr(er_npy *a, literal *p) {
    char descr[24];
    literal number;
    uint64_t characters;
    if (peek(p) == '[')
        return er_fail(ER_EUNSUPPORTED, "%s: npy header: structured arrays are not read", p->name);
    if (!take_string(p, descr, sizeof descr)) return bad(p, "descr is not a short string");
    for (size_t i = 0; i < N_TYPES; i++)
        if (strcmp(descr, types[i].descr) == 0) {
            a->type = (er_npy_type)i;
            a->item_bytes = types[i].bytes;
            return ER_OK;
        }
    number = (literal){descr + 2, descr + strlen(descr), p->name};
    if (strncmp(descr, "<U", 2) == 0 && take_number(&number, &characters) && number.at == number.end &&
        characters <= 1u << 20) {
        a->type = ER_NPY_U;
        a->item_bytes = 4 * characters;
        return ER_OK;
    }
    if (strchr(descr, 'O'))
        return er_fail(ER_EUNSUPPORTED, "%s: holds pickled objects, which are never loaded", p->name);
    return er_fail(ER_EUNSUPPORTED, "%s: numbers of type '%s' are not read", p->name, descr);
}

static er_status read_shape(er_npy *a, literal *p) {
    if (!take(p, '(')) return bad(p, "shape is not a tuple");
    for (a->rank = 0; !take(p, ')');) {
        if (a->rank == ER_NPY_MAX_RANK)
            return er_fail(ER_EUNSUPPORTED, "%s: more than %d dimensions", p->name, ER_NPY_MAX_RANK);
        if (!take_number(p, &a->shape[a->rank])) return bad(p, "a dimension is not an unsigned integer");
        a->rank++;
        if (!take(p, ',') && (peek(p) != ')' || a->rank == 1)) return bad(p, "shape is not a tuple");
    }
    return ER_OK;
}

static er_status read_order(bool *fortran, literal *p) {
    peek(p);
    size_t left = (size_t)(p->end - p->at);
    if (left >= 4 && memcmp(p->at, "True", 4) == 0) *fortran = true, p->at += 4;
    else if (left >= 5 && memcmp(p->at, "False", 5) == 0) *fortran = false, p->at += 5;
    else return bad(p, "fortran_order is neither True nor False");
    return ER_OK;
}

er_status er_npy_parse_header(er_npy *a, bool *fortran, const char *text, size_t len, const char *name) {
    literal p = {text, text + len, name};
    int have = 0;
    uint64_t bytes;
    if (!take(&p, '{')) return bad(&p, "does not begin with '{'");
    while (!take(&p, '}')) {
        char key[24];
        er_status rc;
        int which;
        if (!take_string(&p, key, sizeof key) || !take(&p, ':'))
            return bad(&p, "expected a key in quotes and ':'");
        if (strcmp(key, "descr") == 0) which = HAVE_DESCR, rc = read_descr(a, &p);
        else if (strcmp(key, "fortran_order") == 0) which = HAVE_ORDER, rc = read_order(fortran, &p);
        else if (strcmp(key, "shape") == 0) which = HAVE_SHAPE, rc = read_shape(a, &p);
        else return bad(&p, "unknown key");
        if (rc != ER_OK) return rc;
        if (have & which) return bad(&p, "a key stands twice");
        have |= which;
        if (!take(&p, ',') && peek(&p) != '}') return bad(&p, "expected ',' or '}'");
    }
    if (peek(&p)) return bad(&p, "something follows its '}'");
    if (p.at != p.end) return bad(&p, "something follows its '}'");
    if (have != (HAVE_DESCR | HAVE_ORDER | HAVE_SHAPE))
        return bad(&p, "descr, fortran_order or shape is missing");
    if (!er_npy_bytes(&a->elements, &bytes, a)) return bad(&p, "its shape overflows");
    return ER_OK;
}

size_t er_npy_format_header(char out[1024], const er_npy *a) {
    char descr[24], shape[8 * 22 + 4] = "(", first[24] = "";
    if (a->rank < 0 || a->rank > ER_NPY_MAX_RANK) return 0;
    if (a->type == ER_NPY_U) {
        if (a->item_bytes % 4 != 0) return 0;
        (void)snprintf(descr, sizeof descr, "<U%" PRIu64, a->item_bytes / 4);
    } else {
        if ((size_t)a->type >= N_TYPES || a->item_bytes != types[a->type].bytes) return 0;
        (void)snprintf(descr, sizeof descr, "%s", types[a->type].descr);
    }
    for (int i = 0; i < a->rank; i++) {
        size_t n = strlen(shape);
        (void)snprintf(shape + n, sizeof shape - n,
            i + 1 < a->rank ? "%" PRIu64 ", "
            : a->rank == 1  ? "%" PRIu64 ","
                            : "%" PRIu64,
            a->shape[i]);
    }
    strcat(shape, ")");
    if (a->rank > 0) (void)snprintf(first, sizeof first, "%" PRIu64, a->shape[0]);
    // numpy leaves room for the first dimension to grow to 21 digits in place.
    int growth = a->rank > 0 ? 21 - (int)strlen(first) : 0;
    int n = snprintf(out + ER_NPY_PREAMBLE, 1024 - ER_NPY_PREAMBLE,
        "{'descr': '%s', 'fortran_order': False, 'shape': %s, }%*s", descr, shape, growth, "");
    size_t total = (ER_NPY_PREAMBLE + (size_t)n + 1 + 63) / 64 * 64, body = total - ER_NPY_PREAMBLE;
    memcpy(out, "\x93NUMPY\x01\x00", 8);
    out[8] = (char)(body & 255), out[9] = (char)(body >> 8);
    memset(out + ER_NPY_PREAMBLE + n, ' ', body - (size_t)n);
    out[total - 1] = '\n';
    return total;
}
