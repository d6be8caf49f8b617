// weir_json.h - reading small JSON messages, without a tree and without memory of its own.
//
//     weir_str text;
//     if (weir_json_field(message, "text", &text) && weir_json_unquote(text, &buf)) ...
//
// weir_json_members finds several members at once. To write JSON, see weir_put_json in weir.h.

#ifndef WEIR_JSON_H
#define WEIR_JSON_H

#include "weir.h"

// How deep arrays and objects may nest; deeper is not taken for JSON.
#ifndef WEIR_JSON_DEPTH
#define WEIR_JSON_DEPTH 32
#endif

// Finds the value of a key of a JSON object: the part of the document that stands for it, a string with its quotes.
// False if the document is not a JSON object as a whole (RFC 8259), or has no such key. If it is there more than once,
// the last counts. A key that the document writes with escapes is not found.
WEIR_FUNC bool weir_json_field(weir_str document, const char *key, weir_str *value);

// A member to look for; value is set by weir_json_members.
struct weir_json_member {
    weir_str key, value;
};

// Finds several members as weir_json_field finds one, in one pass. The value of one that is not there has no ptr. False
// if the document is not a JSON object as a whole, whatever was found until then.
WEIR_FUNC bool weir_json_members(weir_str document, struct weir_json_member *members, int count);

// Appends what a JSON string stands for. False if value is not a string, or does not fit.
WEIR_FUNC bool weir_json_unquote(weir_str value, weir_buf *out);

// Reads a whole number; false if value is not one, or does not fit.
WEIR_FUNC bool weir_json_int(weir_str value, int64_t *out);

// What is left to read.
typedef struct {
    const char *at, *end;
} weir_json_;

WEIR_INLINE void weir_json_space_(weir_json_ *r) {
    while (r->at < r->end && (*r->at == ' ' || *r->at == '\n' || *r->at == '\r' || *r->at == '\t')) r->at++;
}

// Reads one byte, if it is c.
WEIR_INLINE bool weir_json_is_(weir_json_ *r, char c) {
    if (r->at == r->end || *r->at != c) return false;
    r->at++;
    return true;
}

// Reads the four digits of a \u escape; -1 if they are not.
WEIR_INLINE int32_t weir_json_hex4_(weir_json_ *r) {
    if (r->end - r->at < 4) return -1;
    int32_t code = 0;
    for (int i = 0; i < 4; i++) {
        int digit = weir_hex_(*r->at++);
        if (digit < 0) return -1;
        code = code << 4 | digit;
    }
    return code;
}

// Reads a string, and appends what it stands for to out unless that is NULL.
WEIR_FUNC bool weir_json_string_(weir_json_ *r, weir_buf *out) {
    if (!weir_json_is_(r, '"')) return false;
    while (r->at < r->end) {
        char c = *r->at++;
        if (c == '"') return true;
        if ((uint8_t)c < 0x20) return false;
        if (c != '\\') {
            if (out) weir_putc(out, c);
            continue;
        }
        if (r->at == r->end) return false;
        int32_t code;
        switch (*r->at++) {
        case '"': code = '"'; break;
        case '\\': code = '\\'; break;
        case '/': code = '/'; break;
        case 'b': code = '\b'; break;
        case 'f': code = '\f'; break;
        case 'n': code = '\n'; break;
        case 'r': code = '\r'; break;
        case 't': code = '\t'; break;
        case 'u':
            code = weir_json_hex4_(r);
            if (code < 0) return false;
            if (code >= 0xd800 && code < 0xdc00 && r->end - r->at >= 6 && r->at[0] == '\\' && r->at[1] == 'u') {
                weir_json_ behind = {r->at + 2, r->end};
                int32_t low = weir_json_hex4_(&behind);
                if (low >= 0xdc00 && low < 0xe000) {
                    code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
                    *r = behind;
                }
            }
            if (code >= 0xd800 && code < 0xe000) code = 0xfffd; // half of a pair
            break;
        default: return false;
        }
        if (out) weir_put_rune(out, (uint32_t)code);
    }
    return false;
}

// Reads one digit or more.
WEIR_INLINE bool weir_json_digits_(weir_json_ *r) {
    const char *from = r->at;
    while (r->at < r->end && *r->at >= '0' && *r->at <= '9') r->at++;
    return r->at > from;
}

// Reads a number.
WEIR_FUNC bool weir_json_number_(weir_json_ *r) {
    weir_json_is_(r, '-');
    if (!weir_json_is_(r, '0') && !weir_json_digits_(r)) return false;
    if (weir_json_is_(r, '.') && !weir_json_digits_(r)) return false;
    if (r->at < r->end && (*r->at | 0x20) == 'e') {
        r->at++;
        if (r->at < r->end && (*r->at == '+' || *r->at == '-')) r->at++;
        if (!weir_json_digits_(r)) return false;
    }
    return true;
}

// Reads a word such as true.
WEIR_FUNC bool weir_json_word_(weir_json_ *r, weir_str word) {
    if ((size_t)(r->end - r->at) < word.len || !weir_equal((weir_str){r->at, word.len}, word)) return false;
    r->at += word.len;
    return true;
}

// Reads a value. At the top members is not NULL: only an object will do, and they are looked for in it.
WEIR_FUNC bool weir_json_value_(weir_json_ *r, int depth, struct weir_json_member *members, int count) {
    if (depth == 0) return false;
    weir_json_space_(r);
    if (r->at == r->end) return false;
    char c = *r->at;
    if (members && c != '{') return false;
    switch (c) {
    case '"': return weir_json_string_(r, NULL);
    case 't': return weir_json_word_(r, WEIR_S("true"));
    case 'f': return weir_json_word_(r, WEIR_S("false"));
    case 'n': return weir_json_word_(r, WEIR_S("null"));
    case '{':
    case '[': break;
    default: return weir_json_number_(r);
    }
    char close = c == '{' ? '}' : ']';
    r->at++;
    weir_json_space_(r);
    if (weir_json_is_(r, close)) return true;
    do {
        weir_str name = {NULL, 0};
        weir_json_space_(r);
        if (c == '{') {
            const char *from = r->at + 1;
            if (!weir_json_string_(r, NULL)) return false;
            name = (weir_str){from, (uint32_t)(r->at - 1 - from)};
            weir_json_space_(r);
            if (!weir_json_is_(r, ':')) return false;
            weir_json_space_(r);
        }
        const char *from = r->at;
        if (!weir_json_value_(r, depth - 1, NULL, 0)) return false;
        for (int i = 0; i < count; i++)
            if (weir_equal(name, members[i].key)) members[i].value = (weir_str){from, (uint32_t)(r->at - from)};
        weir_json_space_(r);
    } while (weir_json_is_(r, ','));
    return weir_json_is_(r, close);
}

WEIR_FUNC bool weir_json_members(weir_str document, struct weir_json_member *members, int count) {
    weir_json_ r = {document.ptr, document.ptr + document.len};
    for (int i = 0; i < count; i++) members[i].value = (weir_str){NULL, 0};
    if (!weir_json_value_(&r, WEIR_JSON_DEPTH, members, count)) return false;
    weir_json_space_(&r);
    return r.at == r.end;
}

WEIR_FUNC bool weir_json_field(weir_str document, const char *key, weir_str *value) {
    struct weir_json_member member = {.key = weir_cstr(key)};
    bool read = weir_json_members(document, &member, 1);
    *value = member.value;
    return read && value->ptr;
}

WEIR_FUNC bool weir_json_unquote(weir_str value, weir_buf *out) {
    weir_json_ r = {value.ptr, value.ptr + value.len};
    return weir_json_string_(&r, out) && r.at == r.end && !out->full;
}

WEIR_FUNC bool weir_json_int(weir_str value, int64_t *out) {
    const char *p = value.ptr, *end = value.ptr + value.len;
    bool negative = p < end && *p == '-';
    if (negative) p++;
    if (p == end) return false;
    int64_t n = 0; // below zero, where there is room for one more
    for (; p < end; p++) {
        int digit = *p - '0';
        if (digit < 0 || digit > 9 || n < (INT64_MIN + digit) / 10) return false;
        n = n * 10 - digit;
    }
    if (!negative && n == INT64_MIN) return false;
    *out = negative ? n : -n;
    return true;
}

#endif
