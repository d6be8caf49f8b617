#include "json.h"

#include "dtoa.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum {
    MAX_DEPTH = 16,      // what is deeper may be endless, and is left to QuickJS, which watches the stack
    MAX_KEPT = 64 << 10, // of the buffer, between calls
    MAX_KEY = 31,        // bytes of a key that is remembered
    KEYS = 64,           // that are remembered

    // The class ids of QuickJS for what has nothing of its own but properties.
    CLASS_OBJECT = 1,
    CLASS_ARRAY = 2,
};

// JSON.parse and JSON.stringify as QuickJS has them.
static JSValue original_parse, original_stringify;

// Writing.

static JSAtom to_json; // "toJSON"

// A text is being written: toJSON and getters may call both functions again.
static bool busy;

// That text so far, in UTF-8; for reading, a string of it.
static struct {
    char *data;
    uint32_t size, room;
} text;

// What came of a value.
enum outcome {
    FAILED,  // an exception is pending
    WRITTEN,
    NOTHING, // it has no JSON
};

static bool need(JSContext *ctx, uint32_t more) {
    if (more <= text.room - text.size) return true;
    uint64_t room = ((uint64_t)text.size + more) * 2;
    char *data = room <= UINT32_MAX ? realloc(text.data, room) : NULL;
    if (!data) {
        JS_ThrowOutOfMemory(ctx);
        return false;
    }
    text.data = data;
    text.room = room;
    return true;
}

// Lets go of a buffer that a long text has left.
static void trim(void) {
    if (text.room <= MAX_KEPT) return;
    free(text.data);
    text.data = NULL;
    text.size = text.room = 0;
}

static void put(char c) { text.data[text.size++] = c; }

static bool write(JSContext *ctx, const char *data, uint32_t size) {
    if (!need(ctx, size)) return false;
    memcpy(text.data + text.size, data, size);
    text.size += size;
    return true;
}

// Writes a string within quotation marks (ECMA-262 §25.5.2.3).
static bool write_quoted(JSContext *ctx, JSValueConst value) {
    size_t size;
    const char *s = JS_ToCStringLen(ctx, &size, value);
    if (!s) return false;
    bool ok = size < UINT32_MAX / 6 - 1 && need(ctx, size * 6 + 2); // \u001f for each byte
    if (ok) {
        static const char digits[] = "0123456789abcdef";
        put('"');
        for (size_t i = 0; i < size; i++) {
            uint8_t c = s[i];
            if (c >= 0x20 && c != '"' && c != '\\' && c != 0xed) {
                put(c);
            } else if (c == 0xed && i + 2 < size && (uint8_t)s[i + 1] >= 0xa0) {
                // Half of a surrogate pair, which QuickJS writes as if it were a character: \udXXX.
                uint32_t unit = 0xd000 | (s[i + 1] & 0x3f) << 6 | (s[i + 2] & 0x3f);
                put('\\'), put('u');
                for (int shift = 12; shift >= 0; shift -= 4) put(digits[unit >> shift & 15]);
                i += 2;
            } else if (c == 0xed) {
                put(c);
            } else {
                put('\\');
                switch (c) {
                case '"': case '\\': put(c); break;
                case '\b': put('b'); break;
                case '\f': put('f'); break;
                case '\n': put('n'); break;
                case '\r': put('r'); break;
                case '\t': put('t'); break;
                default: put('u'), put('0'), put('0'), put(digits[c >> 4]), put(digits[c & 15]);
                }
            }
        }
        put('"');
    } else if (!JS_HasException(ctx)) {
        JS_ThrowOutOfMemory(ctx);
    }
    JS_FreeCString(ctx, s);
    return ok;
}

static bool write_int(JSContext *ctx, int32_t n) {
    char digits[11];
    char *at = digits + sizeof digits;
    uint32_t rest = n < 0 ? -(uint32_t)n : (uint32_t)n;
    do *--at = '0' + rest % 10; while (rest /= 10);
    if (n < 0) *--at = '-';
    return write(ctx, at, digits + sizeof digits - at);
}

// Writes what a value's own text is.
static bool write_text(JSContext *ctx, JSValueConst value) {
    size_t size;
    const char *s = JS_ToCStringLen(ctx, &size, value);
    if (!s) return false;
    bool ok = write(ctx, s, size);
    JS_FreeCString(ctx, s);
    return ok;
}

static enum outcome write_value(JSContext *ctx, JSValue value, JSAtom key, int depth);

// Leaves an object to QuickJS.
static enum outcome write_original(JSContext *ctx, JSValueConst value) {
    JSValue json = JS_Call(ctx, original_stringify, JS_UNDEFINED, 1, &value);
    if (JS_IsException(json)) return FAILED;
    if (JS_IsUndefined(json)) return NOTHING;
    bool ok = write_text(ctx, json);
    JS_FreeValue(ctx, json);
    return ok ? WRITTEN : FAILED;
}

static enum outcome write_array(JSContext *ctx, JSValueConst array, int depth) {
    JSValue value = JS_GetPropertyStr(ctx, array, "length");
    int64_t length;
    if (JS_IsException(value) || JS_ToInt64(ctx, &length, value)) return FAILED;
    if (!write(ctx, "[", 1)) return FAILED;
    for (int64_t i = 0; i < length; i++) {
        if (i > 0 && !write(ctx, ",", 1)) return FAILED;
        value = JS_GetPropertyUint32(ctx, array, i);
        if (JS_IsException(value)) return FAILED;
        JSAtom key = JS_NewAtomUInt32(ctx, i);
        enum outcome o = write_value(ctx, value, key, depth);
        JS_FreeAtom(ctx, key);
        if (o == FAILED || (o == NOTHING && !write(ctx, "null", 4))) return FAILED;
    }
    return write(ctx, "]", 1) ? WRITTEN : FAILED;
}

static enum outcome write_object(JSContext *ctx, JSValueConst object, int depth) {
    JSPropertyEnum *keys;
    uint32_t n;
    if (JS_GetOwnPropertyNames(ctx, &keys, &n, object, JS_GPN_STRING_MASK | JS_GPN_ENUM_ONLY)) return FAILED;
    enum outcome result = write(ctx, "{", 1) ? WRITTEN : FAILED;
    bool first = true;
    for (uint32_t i = 0; i < n && result == WRITTEN; i++) {
        uint32_t start = text.size; // to come back to if the value has no JSON
        JSValue value = JS_GetProperty(ctx, object, keys[i].atom);
        JSValue key = JS_IsException(value) ? JS_EXCEPTION : JS_AtomToString(ctx, keys[i].atom);
        if (JS_IsException(key) || (!first && !write(ctx, ",", 1)) || !write_quoted(ctx, key) || !write(ctx, ":", 1)) {
            JS_FreeValue(ctx, value);
            result = FAILED;
        } else {
            enum outcome o = write_value(ctx, value, keys[i].atom, depth);
            if (o == NOTHING) text.size = start;
            else first = false;
            if (o == FAILED) result = FAILED;
        }
        JS_FreeValue(ctx, key);
    }
    for (uint32_t i = 0; i < n; i++) JS_FreeAtom(ctx, keys[i].atom);
    js_free(ctx, keys);
    return result == WRITTEN && !write(ctx, "}", 1) ? FAILED : result;
}

// Takes the value.
static enum outcome write_value(JSContext *ctx, JSValue value, JSAtom key, int depth) {
    if (JS_IsObject(value)) {
        JSValue method = JS_GetProperty(ctx, value, to_json);
        if (JS_IsFunction(ctx, method)) {
            JSValue name = JS_AtomToString(ctx, key);
            JSValue replaced = JS_Call(ctx, method, value, 1, &name);
            JS_FreeValue(ctx, name);
            JS_FreeValue(ctx, value);
            value = replaced;
        }
        bool failed = JS_IsException(method);
        JS_FreeValue(ctx, method);
        if (failed || JS_IsException(value)) {
            JS_FreeValue(ctx, value);
            return FAILED;
        }
    }
    enum outcome o = NOTHING;
    switch (JS_VALUE_GET_NORM_TAG(value)) {
    case JS_TAG_STRING:
    case JS_TAG_STRING_ROPE:
        o = write_quoted(ctx, value) ? WRITTEN : FAILED;
        break;
    case JS_TAG_INT:
        o = write_int(ctx, JS_VALUE_GET_INT(value)) ? WRITTEN : FAILED;
        break;
    case JS_TAG_FLOAT64: {
        double d = JS_VALUE_GET_FLOAT64(value);
        o = (d - d != 0 ? write(ctx, "null", 4) : write_text(ctx, value)) ? WRITTEN : FAILED; // d is finite
        break;
    }
    case JS_TAG_BOOL:
    case JS_TAG_NULL:
        o = write_text(ctx, value) ? WRITTEN : FAILED;
        break;
    case JS_TAG_OBJECT:
        if (JS_IsFunction(ctx, value)) break;
        if (depth >= MAX_DEPTH || (JS_GetClassID(value) != CLASS_OBJECT && JS_GetClassID(value) != CLASS_ARRAY)) {
            o = write_original(ctx, value);
        } else if (JS_GetClassID(value) == CLASS_ARRAY) {
            o = write_array(ctx, value, depth + 1);
        } else {
            o = write_object(ctx, value, depth + 1);
        }
        break;
    case JS_TAG_SYMBOL:
    case JS_TAG_UNDEFINED:
        break;
    default: // a BigInt, which has no JSON either, but is an error
        o = write_original(ctx, value);
    }
    JS_FreeValue(ctx, value);
    return o;
}

static JSValue js_stringify(JSContext *ctx, JSValueConst this, int argc, JSValueConst *argv) {
    if (busy || !JS_IsUndefined(argv[1]) || !JS_IsUndefined(argv[2])) return JS_Call(ctx, original_stringify, this, argc, argv);
    busy = true;
    text.size = 0;
    JSAtom key = JS_NewAtomLen(ctx, "", 0);
    enum outcome o = write_value(ctx, JS_DupValue(ctx, argv[0]), key, 0);
    JS_FreeAtom(ctx, key);
    JSValue json = o == FAILED ? JS_EXCEPTION : o == NOTHING ? JS_UNDEFINED : JS_NewStringLen(ctx, text.data, text.size);
    busy = false;
    trim();
    return json;
}

// Reading. Whatever is not plain, mistakes above all, makes it give up, and QuickJS starts anew.

// Keys recur from message to message. Looking one up among these is quicker than among all strings that there are.
static struct key {
    JSAtom atom; // JS_ATOM_NULL: none
    uint8_t size;
    char text[MAX_KEY];
} keys[KEYS];

struct reader {
    JSContext *ctx;
    const char *at; // ends with a NUL
};

static void skip_space(struct reader *r) {
    while (*r->at == ' ' || *r->at == '\n' || *r->at == '\t' || *r->at == '\r') r->at++;
}

// Reads a string without escapes, behind its first quotation mark; NULL if it is not so simple.
static const char *read_simple(struct reader *r, uint32_t *size) {
    const char *start = r->at, *at = start;
    while (*at != '"') {
        if ((uint8_t)*at < 0x20 || *at == '\\') return NULL;
        at++;
    }
    r->at = at + 1;
    *size = at - start;
    return start;
}

// Reads four hexadecimal digits; -1 if there are none.
static int32_t read_unit(const char *at) {
    int32_t unit = 0;
    for (int i = 0; i < 4; i++) {
        char c = at[i], letter = c | 0x20;
        if (c >= '0' && c <= '9') unit = unit << 4 | (c - '0');
        else if (letter >= 'a' && letter <= 'f') unit = unit << 4 | (letter - 'a' + 10);
        else return -1;
    }
    return unit;
}

static void put_utf8(uint32_t c) {
    if (c < 0x80) {
        put(c);
    } else if (c < 0x800) {
        put(0xc0 | c >> 6), put(0x80 | (c & 0x3f));
    } else if (c < 0x10000) {
        put(0xe0 | c >> 12), put(0x80 | (c >> 6 & 0x3f)), put(0x80 | (c & 0x3f));
    } else {
        put(0xf0 | c >> 18), put(0x80 | (c >> 12 & 0x3f)), put(0x80 | (c >> 6 & 0x3f)), put(0x80 | (c & 0x3f));
    }
}

// Reads a string with escapes into the buffer for text; false if it is not well-formed or halves a surrogate pair.
static bool read_escaped(struct reader *r) {
    text.size = 0;
    for (;;) {
        uint8_t c = *r->at++;
        if (c == '"') return true;
        if (c < 0x20 || !need(r->ctx, 4)) return false;
        if (c != '\\') {
            put(c);
            continue;
        }
        switch (*r->at++) {
        case '"': put('"'); break;
        case '\\': put('\\'); break;
        case '/': put('/'); break;
        case 'b': put('\b'); break;
        case 'f': put('\f'); break;
        case 'n': put('\n'); break;
        case 'r': put('\r'); break;
        case 't': put('\t'); break;
        case 'u': {
            int32_t unit = read_unit(r->at);
            if (unit < 0) return false;
            r->at += 4;
            if (unit >= 0xd800 && unit < 0xe000) {
                int32_t low = unit < 0xdc00 && r->at[0] == '\\' && r->at[1] == 'u' ? read_unit(r->at + 2) : -1;
                if (low < 0xdc00 || low >= 0xe000) return false;
                r->at += 6;
                unit = 0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00);
            }
            put_utf8(unit);
            break;
        }
        default:
            return false;
        }
    }
}

// Reads a string behind its first quotation mark; JS_EXCEPTION to give up.
static JSValue read_string(struct reader *r) {
    uint32_t size;
    const char *simple = read_simple(r, &size);
    if (simple) return JS_NewStringLen(r->ctx, simple, size);
    return read_escaped(r) ? JS_NewStringLen(r->ctx, text.data, text.size) : JS_EXCEPTION;
}

// Reads a key behind its first quotation mark; JS_ATOM_NULL to give up. The atom is the caller's.
static JSAtom read_key(struct reader *r) {
    uint32_t size;
    const char *simple = read_simple(r, &size);
    if (!simple) {
        return read_escaped(r) ? JS_NewAtomLen(r->ctx, text.data, text.size) : JS_ATOM_NULL;
    }
    if (size > MAX_KEY || size == 0) return JS_NewAtomLen(r->ctx, simple, size);
    struct key *k = &keys[(size * 7 + (uint8_t)simple[0] * 31 + (uint8_t)simple[size - 1]) % KEYS];
    if (k->atom == JS_ATOM_NULL || k->size != size || memcmp(k->text, simple, size) != 0) {
        JSAtom atom = JS_NewAtomLen(r->ctx, simple, size);
        if (atom == JS_ATOM_NULL) return atom;
        JS_FreeAtom(r->ctx, k->atom);
        k->atom = atom;
        k->size = size;
        memcpy(k->text, simple, size);
    }
    return JS_DupAtom(r->ctx, k->atom);
}

static bool is_digit(char c) { return c >= '0' && c <= '9'; }

static JSValue read_number(struct reader *r) {
    const char *start = r->at, *at = start;
    bool negative = *at == '-';
    at += negative;
    const char *digits = at;
    int32_t n = 0;
    for (; is_digit(*at) && at - digits < 9; at++) n = n * 10 + (*at - '0');
    if (at == digits || (*digits == '0' && at - digits > 1)) return JS_EXCEPTION;
    if (*at != '.' && (*at | 0x20) != 'e' && !is_digit(*at) && !(negative && n == 0)) {
        r->at = at;
        return JS_NewInt32(r->ctx, negative ? -n : n);
    }
    while (is_digit(*at)) at++;
    if (*at == '.') {
        if (!is_digit(*++at)) return JS_EXCEPTION;
        while (is_digit(*at)) at++;
    }
    if ((*at | 0x20) == 'e') {
        at++;
        if (*at == '+' || *at == '-') at++;
        if (!is_digit(*at)) return JS_EXCEPTION;
        while (is_digit(*at)) at++;
    }
    JSATODTempMem temporary;
    const char *end;
    double d = js_atod(start, &end, 10, 0, &temporary);
    if (end != at) return JS_EXCEPTION;
    r->at = at;
    return JS_NewFloat64(r->ctx, d);
}

static JSValue read_value(struct reader *r, int depth);

static JSValue read_object(struct reader *r, int depth) {
    JSValue object = JS_NewObject(r->ctx);
    if (JS_IsException(object)) return object;
    skip_space(r);
    if (*r->at == '}') {
        r->at++;
        return object;
    }
    for (;; r->at++) { // behind a comma
        skip_space(r);
        if (*r->at++ != '"') break;
        JSAtom key = read_key(r);
        if (key == JS_ATOM_NULL) break;
        skip_space(r);
        JSValue value = *r->at == ':' ? (r->at++, read_value(r, depth)) : JS_EXCEPTION;
        bool ok = !JS_IsException(value) && JS_DefinePropertyValue(r->ctx, object, key, value, JS_PROP_C_W_E) >= 0;
        JS_FreeAtom(r->ctx, key);
        if (!ok) break;
        skip_space(r);
        if (*r->at == ',') continue;
        if (*r->at != '}') break;
        r->at++;
        return object;
    }
    JS_FreeValue(r->ctx, object);
    return JS_EXCEPTION;
}

static JSValue read_array(struct reader *r, int depth) {
    JSValue array = JS_NewArray(r->ctx);
    if (JS_IsException(array)) return array;
    skip_space(r);
    if (*r->at == ']') {
        r->at++;
        return array;
    }
    for (uint32_t i = 0;; i++, r->at++) { // behind a comma
        JSValue value = read_value(r, depth);
        if (JS_IsException(value) || JS_DefinePropertyValueUint32(r->ctx, array, i, value, JS_PROP_C_W_E) < 0) break;
        skip_space(r);
        if (*r->at == ',') continue;
        if (*r->at != ']') break;
        r->at++;
        return array;
    }
    JS_FreeValue(r->ctx, array);
    return JS_EXCEPTION;
}

static bool read_word(struct reader *r, const char *word) {
    size_t size = strlen(word);
    if (strncmp(r->at, word, size) != 0) return false;
    r->at += size;
    return true;
}

static JSValue read_value(struct reader *r, int depth) {
    skip_space(r);
    if (depth > MAX_DEPTH) return JS_EXCEPTION;
    switch (*r->at) {
    case '"': r->at++; return read_string(r);
    case '{': r->at++; return read_object(r, depth + 1);
    case '[': r->at++; return read_array(r, depth + 1);
    case 't': return read_word(r, "true") ? JS_TRUE : JS_EXCEPTION;
    case 'f': return read_word(r, "false") ? JS_FALSE : JS_EXCEPTION;
    case 'n': return read_word(r, "null") ? JS_NULL : JS_EXCEPTION;
    default: return read_number(r);
    }
}

static JSValue js_parse(JSContext *ctx, JSValueConst this, int argc, JSValueConst *argv) {
    if (busy || !JS_IsString(argv[0]) || !JS_IsUndefined(argv[1])) return JS_Call(ctx, original_parse, this, argc, argv);
    size_t size;
    const char *s = JS_ToCStringLen(ctx, &size, argv[0]);
    if (!s) return JS_EXCEPTION;
    struct reader r = {ctx, s};
    JSValue value = read_value(&r, 0);
    if (!JS_IsException(value)) {
        skip_space(&r);
        if (r.at != s + size) {
            JS_FreeValue(ctx, value);
            value = JS_EXCEPTION;
        }
    }
    JS_FreeCString(ctx, s);
    trim();
    if (!JS_IsException(value)) return value;
    if (JS_HasException(ctx)) JS_FreeValue(ctx, JS_GetException(ctx));
    return JS_Call(ctx, original_parse, this, argc, argv);
}

static bool replace(JSContext *ctx, JSValueConst json, const char *name, JSValue *before, JSCFunction *function, int arguments) {
    *before = JS_GetPropertyStr(ctx, json, name);
    return JS_SetPropertyStr(ctx, json, name, JS_NewCFunction(ctx, function, name, arguments)) > 0;
}

int json_install(JSContext *ctx) {
    JSValue global = JS_GetGlobalObject(ctx);
    JSValue json = JS_GetPropertyStr(ctx, global, "JSON");
    to_json = JS_NewAtom(ctx, "toJSON");
    bool done = replace(ctx, json, "parse", &original_parse, js_parse, 2) &&
                replace(ctx, json, "stringify", &original_stringify, js_stringify, 3);
    JS_FreeValue(ctx, json);
    JS_FreeValue(ctx, global);
    return done;
}
