// Exposes the helpers of weir.h and weir_json.h to c_test.go, which compares them with Go's.

#include "weir.h"
#include "weir_json.h"

static char in[1 << 16], out[1 << 16];
static weir_buf result = {out, 0, sizeof out, false};

WEIR_EXPORT("in") char *in_(void) { return in; }
WEIR_EXPORT("out") char *out_(void) { return out; }

// Starts over; returns the first len bytes of in.
static weir_str begin(uint32_t len) {
    result = (weir_buf){out, 0, sizeof out, false};
    return (weir_str){in, len};
}

// Length of the result, -1 if it did not fit.
static int32_t end(void) { return result.full ? -1 : (int32_t)result.len; }

WEIR_EXPORT("put_json") int32_t put_json(uint32_t len) {
    weir_put_json(&result, begin(len));
    return end();
}

WEIR_EXPORT("put_int") int32_t put_int(int64_t n) {
    begin(0);
    weir_put_int(&result, n);
    return end();
}

WEIR_EXPORT("utf8_valid") int32_t utf8_valid(uint32_t len) { return weir_utf8_valid(begin(len)); }

// The raw value of "text", -2 if there is none.
WEIR_EXPORT("json_field") int32_t json_field(uint32_t len) {
    weir_str value;
    if (!weir_json_field(begin(len), "text", &value)) return -2;
    weir_put(&result, value);
    return end();
}

// The raw values of "a", "b" and "c", with - for one that is not there; -2 if the document is no object.
WEIR_EXPORT("json_members") int32_t json_members(uint32_t len) {
    struct weir_json_member m[] = {{.key = WEIR_S("a")}, {.key = WEIR_S("b")}, {.key = WEIR_S("c")}};
    if (!weir_json_members(begin(len), m, 3)) return -2;
    for (int i = 0; i < 3; i++) {
        if (i) weir_putc(&result, ' ');
        weir_put(&result, m[i].value.ptr ? m[i].value : WEIR_S("-"));
    }
    return end();
}

WEIR_EXPORT("json_unquote") int32_t json_unquote(uint32_t len) {
    return weir_json_unquote(begin(len), &result) ? end() : -2;
}

WEIR_EXPORT("json_int") int64_t json_int(uint32_t len, int64_t otherwise) {
    int64_t n;
    return weir_json_int(begin(len), &n) ? n : otherwise;
}

// The parameter "name" of the query that the host answers with.
WEIR_EXPORT("query") int32_t query(uint32_t room) {
    begin(0);
    result.cap = room;
    return weir_query(1, "name", &result);
}

// Fills a message buffer, as a host would; 0 if there is no memory for it.
WEIR_EXPORT("fill") int32_t fill(uint32_t size) {
    char *p = weir_inbound_(size);
    if (p) memset(p, 'x', size);
    return (int32_t)(uintptr_t)p;
}

// Grows memory as an allocator of the guest would.
WEIR_EXPORT("grow") void grow(uint32_t pages) { __builtin_wasm_memory_grow(0, pages); }
