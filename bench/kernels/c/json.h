// JSON: a document becomes a tree, is changed, and becomes a document again.

#ifndef JSON_H
#define JSON_H

#include "weir.h"

enum json_type { JSON_NULL, JSON_FALSE, JSON_TRUE, JSON_NUMBER, JSON_STRING, JSON_ARRAY, JSON_OBJECT };

struct json {
    enum json_type type;
    weir_str name;             // in an object
    weir_str string;           // without escapes
    int64_t number;            // whole numbers only
    struct json *first, *last; // of an array or an object
    struct json *next;         // in the one that holds it
};

// What one document's tree is made in; it is emptied for the next.
static _Alignas(16) char json_arena[64 << 10];
static uint32_t json_arena_used;

static void *json_alloc(uint32_t bytes) {
    bytes = (bytes + 7) & ~7u;
    if (bytes > sizeof json_arena - json_arena_used) return NULL;
    void *p = json_arena + json_arena_used;
    json_arena_used += bytes;
    return p;
}

#define JSON_DEPTH 32

struct json_reader {
    const char *at, *end;
};

static void json_space(struct json_reader *r) {
    while (r->at < r->end && (*r->at == ' ' || *r->at == '\n' || *r->at == '\r' || *r->at == '\t')) r->at++;
}

static bool json_is(struct json_reader *r, char c) {
    if (r->at == r->end || *r->at != c) return false;
    r->at++;
    return true;
}

// Reads a string. One without escapes stays where it is.
static bool json_string(struct json_reader *r, weir_str *out) {
    if (!json_is(r, '"')) return false;
    const char *from = r->at, *p = from;
    while (p < r->end && *p != '"' && *p != '\\' && (uint8_t)*p >= 0x20) p++;
    if (p < r->end && *p == '"') {
        *out = (weir_str){from, (uint32_t)(p - from)};
        r->at = p + 1;
        return true;
    }
    const char *close = p; // escapes only ever shrink
    while (close < r->end && *close != '"') close += *close == '\\' ? 2 : 1;
    if (close >= r->end) return false;
    char *to = json_alloc((uint32_t)(close - from));
    if (!to) return false;
    char *w = to;
    for (p = from; p < close;) {
        if ((uint8_t)*p < 0x20) return false;
        if (*p != '\\') {
            *w++ = *p++;
            continue;
        }
        switch (p[1]) {
        case 'n': *w++ = '\n'; break;
        case 't': *w++ = '\t'; break;
        case 'r': *w++ = '\r'; break;
        case 'b': *w++ = '\b'; break;
        case 'f': *w++ = '\f'; break;
        case '"':
        case '\\':
        case '/': *w++ = p[1]; break;
        default: return false; // \u: no document here has it
        }
        p += 2;
    }
    *out = (weir_str){to, (uint32_t)(w - to)};
    r->at = close + 1;
    return true;
}

// Reads a whole number of at most 18 digits.
static bool json_number(struct json_reader *r, int64_t *out) {
    bool negative = json_is(r, '-');
    const char *from = r->at;
    int64_t n = 0;
    while (r->at < r->end && *r->at >= '0' && *r->at <= '9') n = n * 10 + (*r->at++ - '0');
    *out = negative ? -n : n;
    return r->at > from && r->at - from <= 18;
}

static bool json_word(struct json_reader *r, const char *word) {
    while (*word)
        if (!json_is(r, *word++)) return false;
    return true;
}

static struct json *json_value(struct json_reader *r, int depth) {
    struct json *v = json_alloc(sizeof *v);
    if (!v || depth == 0) return NULL;
    __builtin_memset(v, 0, sizeof *v);
    json_space(r);
    if (r->at == r->end) return NULL;
    char close = '}';
    switch (*r->at) {
    case 'n': return json_word(r, "null") ? v : NULL;
    case 't': v->type = JSON_TRUE; return json_word(r, "true") ? v : NULL;
    case 'f': v->type = JSON_FALSE; return json_word(r, "false") ? v : NULL;
    case '"': v->type = JSON_STRING; return json_string(r, &v->string) ? v : NULL;
    case '[': v->type = JSON_ARRAY, close = ']'; break;
    case '{': v->type = JSON_OBJECT; break;
    default: v->type = JSON_NUMBER; return json_number(r, &v->number) ? v : NULL;
    }
    r->at++;
    json_space(r);
    if (json_is(r, close)) return v;
    do {
        weir_str name = {NULL, 0};
        if (v->type == JSON_OBJECT) {
            json_space(r);
            if (!json_string(r, &name)) return NULL;
            json_space(r);
            if (!json_is(r, ':')) return NULL;
        }
        struct json *child = json_value(r, depth - 1);
        if (!child) return NULL;
        child->name = name;
        if (v->last) v->last->next = child;
        else v->first = child;
        v->last = child;
        json_space(r);
    } while (json_is(r, ','));
    return json_is(r, close) ? v : NULL;
}

// Makes a tree of a document, NULL if it is none.
static struct json *json_parse(weir_str document) {
    json_arena_used = 0;
    struct json_reader r = {document.ptr, document.ptr + document.len};
    struct json *v = json_value(&r, JSON_DEPTH);
    json_space(&r);
    return r.at == r.end ? v : NULL;
}

static struct json *json_member(struct json *object, const char *name) {
    weir_str want = weir_cstr(name);
    for (struct json *v = object->first; v; v = v->next)
        if (weir_equal(v->name, want)) return v;
    return NULL;
}

static void json_write_string(weir_buf *b, weir_str s) {
    weir_putc(b, '"');
    const char *from = s.ptr, *end = s.ptr + s.len;
    for (const char *p = from; p < end; p++) {
        const char *escape = *p == '"' ? "\\\"" : *p == '\\' ? "\\\\" : *p == '\n' ? "\\n" : *p == '\t' ? "\\t" : *p == '\r' ? "\\r" : NULL;
        if (!escape) continue;
        weir_put(b, (weir_str){from, (uint32_t)(p - from)});
        weir_puts(b, escape);
        from = p + 1;
    }
    weir_put(b, (weir_str){from, (uint32_t)(end - from)});
    weir_putc(b, '"');
}

static void json_write(weir_buf *b, const struct json *v) {
    switch (v->type) {
    case JSON_NULL: weir_puts(b, "null"); return;
    case JSON_FALSE: weir_puts(b, "false"); return;
    case JSON_TRUE: weir_puts(b, "true"); return;
    case JSON_NUMBER: weir_put_int(b, v->number); return;
    case JSON_STRING: json_write_string(b, v->string); return;
    case JSON_ARRAY:
    case JSON_OBJECT: break;
    }
    weir_putc(b, v->type == JSON_ARRAY ? '[' : '{');
    for (const struct json *child = v->first; child; child = child->next) {
        if (child != v->first) weir_putc(b, ',');
        if (v->type == JSON_OBJECT) {
            json_write_string(b, child->name);
            weir_putc(b, ':');
        }
        json_write(b, child);
    }
    weir_putc(b, v->type == JSON_ARRAY ? ']' : '}');
}

// False if the document is not one of those that the kernel works on.
static bool json_change(struct json *document) {
    struct json *version = json_member(document, "version"), *items = json_member(document, "items");
    if (!version || !items) return false;
    version->number++;
    for (struct json *x = items->first; x; x = x->next) {
        struct json *id = json_member(x, "id"), *price = json_member(x, "price");
        struct json *active = json_member(x, "active"), *tags = json_member(x, "tags");
        if (!id || !price || !active || !tags) return false;
        price->number += id->number;
        active->type = active->type == JSON_TRUE ? JSON_FALSE : JSON_TRUE;
        struct json *first = tags->first;
        if (first && first->next) { // the first becomes the last
            tags->first = first->next;
            first->next = NULL;
            tags->last->next = first;
            tags->last = first;
        }
    }
    return true;
}

// Parses, changes and serialises the document, round after round.
static bool json_kernel(weir_str document, uint32_t rounds, weir_buf *answer) {
    static char bytes[2][8192];
    for (uint32_t round = 0; round < rounds; round++) {
        weir_buf out = {bytes[round & 1], 0, sizeof bytes[0], false};
        struct json *tree = json_parse(document);
        if (!tree || !json_change(tree)) return false;
        json_write(&out, tree);
        if (out.full) return false;
        document = weir_view(&out);
    }
    weir_put(answer, document);
    return true;
}

#endif
