// weir.h - handlers for the weir WebSocket server in C, with nothing but clang.
//
//     #include "weir.h"
//
//     static int on_message(weir_conn conn, int kind, weir_str data) {
//         return weir_send(conn, kind, data);
//     }
//
//     WEIR_HANDLER(.message = on_message)
//
//     clang --target=wasm32 -O2 -nostdlib -Wl,--no-entry -Wl,-z,stack-size=65536 -Wl,--stack-first -o echo.wasm echo.c
//
// Include it in one file of the module. Everything is either static or meant for the linker, so there is no library to
// link. weir_abi.h, which it includes, documents the host functions themselves (weir_topic_count, weir_timer_set,
// weir_time_unix_ms, weir_random and so on) and the statuses (WEIR_QUEUE_FULL, WEIR_CLOSED and so on).
//
// A callback returns 0 to commit what it asked for. Anything else throws all of it away, closes the connection with
// 1011 and discards the instance: that is for what must not have happened. For a peer that misbehaves, weir_close with
// a code that tells it so, and return 0.
//
// Static variables belong to one instance, and any instance may serve the next event of a connection. What belongs to
// a connection goes into its state (weir_set_state).

#ifndef WEIR_H
#define WEIR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#if defined(__wasi__) || !defined(__wasm__)
#include <stdlib.h>
#include <string.h>
#endif

#include "weir_abi.h"

// Size of the buffer that messages arrive in. A longer message makes the module's memory grow, once.
// Define it before including this file to change it.
#ifndef WEIR_INBOUND_BYTES
#define WEIR_INBOUND_BYTES 65536
#endif

#define WEIR_INLINE static inline __attribute__((always_inline, unused))
#define WEIR_FUNC static __attribute__((noinline, unused))
#ifdef __wasm__
#define WEIR_EXPORT(name) __attribute__((export_name(name), visibility("default")))
#else // a test of the handler: the names are taken by functions of its own
#define WEIR_EXPORT(name) static __attribute__((unused))
#endif

// ------------------------------------------------------------------------------------------------------------ strings

// Bytes that somebody else owns; not terminated by 0.
typedef struct {
    const char *ptr;
    uint32_t len;
} weir_str;

// Makes a weir_str of a literal: WEIR_S("all").
#define WEIR_S(literal) ((weir_str){"" literal "", sizeof(literal) - 1})

// Makes a weir_str of a string that ends in 0.
WEIR_INLINE weir_str weir_cstr(const char *s) { return (weir_str){s, (uint32_t)__builtin_strlen(s)}; }

// True if both have the same bytes.
WEIR_INLINE bool weir_equal(weir_str a, weir_str b) {
    return a.len == b.len && (a.len == 0 || __builtin_memcmp(a.ptr, b.ptr, a.len) == 0);
}

// A buffer to build a string in. What does not fit is left out as a whole and sets full, so that nothing is ever sent
// cut off: weir_send_buf and weir_publish_buf refuse a full buffer with WEIR_TOO_BIG.
typedef struct {
    char *ptr;
    uint32_t len, cap;
    bool full;
} weir_buf;

// Declares an empty buffer of so many bytes: WEIR_BUF(reply, 512);
#define WEIR_BUF(name, bytes) \
    char name##_bytes_[bytes]; \
    weir_buf name = {name##_bytes_, 0, sizeof name##_bytes_, false}

// Returns what the buffer holds, valid until it changes.
WEIR_INLINE weir_str weir_view(const weir_buf *b) { return (weir_str){b->ptr, b->len}; }

// Appends a string.
WEIR_FUNC void weir_put(weir_buf *b, weir_str s) {
    if (b->full || s.len > b->cap - b->len) {
        b->full = true;
        return;
    }
    if (s.len) __builtin_memcpy(b->ptr + b->len, s.ptr, s.len);
    b->len += s.len;
}

// Appends a string that ends in 0.
WEIR_INLINE void weir_puts(weir_buf *b, const char *s) { weir_put(b, weir_cstr(s)); }

// Appends one byte.
WEIR_FUNC void weir_putc(weir_buf *b, char c) { weir_put(b, (weir_str){&c, 1}); }

// Appends a Unicode code point as UTF-8; code is not half of a surrogate pair.
WEIR_FUNC void weir_put_rune(weir_buf *b, uint32_t code) {
    char bytes[4];
    uint32_t n = code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    for (uint32_t i = n - 1; i > 0; i--, code >>= 6) bytes[i] = (char)(0x80 | (code & 0x3f));
    bytes[0] = (char)((n == 1 ? 0 : 0xf00 >> n) | code);
    weir_put(b, (weir_str){bytes, n});
}

// Appends a number in decimal.
WEIR_FUNC void weir_put_int(weir_buf *b, int64_t n) {
    char digits[20];
    uint32_t at = sizeof digits;
    uint64_t rest = n < 0 ? -(uint64_t)n : (uint64_t)n;
    do digits[--at] = (char)('0' + rest % 10);
    while (rest /= 10);
    if (n < 0) digits[--at] = '-';
    weir_put(b, (weir_str){digits + at, (uint32_t)sizeof digits - at});
}

// Returns the length of the UTF-8 sequence at the head of s, 0 if it is not one (RFC 3629). s is not empty.
WEIR_FUNC uint32_t weir_utf8_len(weir_str s) {
    const uint8_t *p = (const uint8_t *)s.ptr;
    uint8_t lead = p[0], low = 0x80, high = 0xbf;
    uint32_t n = lead < 0x80 ? 1 : lead < 0xc2 ? 0 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : lead < 0xf5 ? 4 : 0;
    if (n == 0 || n > s.len) return 0;
    if (lead == 0xe0) low = 0xa0;
    if (lead == 0xed) high = 0x9f;
    if (lead == 0xf0) low = 0x90;
    if (lead == 0xf4) high = 0x8f;
    for (uint32_t i = 1; i < n; i++, low = 0x80, high = 0xbf)
        if (p[i] < low || p[i] > high) return 0;
    return n;
}

// True if s is UTF-8.
WEIR_FUNC bool weir_utf8_valid(weir_str s) {
    while (s.len) {
        uint32_t n = weir_utf8_len(s);
        if (n == 0) return false;
        s.ptr += n;
        s.len -= n;
    }
    return true;
}

// Appends s as a JSON string, with its quotes. Bytes that are not UTF-8 become U+FFFD.
WEIR_FUNC void weir_put_json(weir_buf *b, weir_str s) {
    weir_putc(b, '"');
    while (s.len) {
        uint32_t n = weir_utf8_len(s);
        uint8_t c = (uint8_t)s.ptr[0];
        if (n == 0) {
            weir_put_rune(b, 0xfffd);
            n = 1;
        } else if (c == '"' || c == '\\') {
            weir_putc(b, '\\');
            weir_putc(b, (char)c);
        } else if (c >= '\b' && c <= '\r' && c != '\v') {
            weir_putc(b, '\\');
            weir_putc(b, "btn?fr"[c - '\b']);
        } else if (c < 0x20) {
            weir_puts(b, "\\u00");
            weir_putc(b, "0123456789abcdef"[c >> 4]);
            weir_putc(b, "0123456789abcdef"[c & 15]);
        } else {
            weir_put(b, (weir_str){s.ptr, n});
        }
        s.ptr += n;
        s.len -= n;
    }
    weir_putc(b, '"');
}

// -------------------------------------------------------------------------------------------------------- connections

// Queues a message: kind is WEIR_KIND_TEXT or WEIR_KIND_BINARY.
WEIR_INLINE int32_t weir_send(weir_conn conn, int kind, weir_str data) {
    return weir_conn_send(conn, kind, data.ptr, data.len);
}

// Queues a text message.
WEIR_INLINE int32_t weir_send_text(weir_conn conn, weir_str text) { return weir_send(conn, WEIR_KIND_TEXT, text); }

// Queues what a buffer holds as a text message; WEIR_TOO_BIG if something did not fit into the buffer.
WEIR_INLINE int32_t weir_send_buf(weir_conn conn, const weir_buf *b) {
    return b->full ? WEIR_TOO_BIG : weir_send_text(conn, weir_view(b));
}

// Closes a connection behind what was queued for it: 1000, 1001, 1008, 1011 to 1013, or 3000 to 4999.
WEIR_INLINE int32_t weir_close(weir_conn conn, int code, const char *reason) {
    weir_str r = weir_cstr(reason);
    return weir_conn_close(conn, code, r.ptr, r.len);
}

// Accounts for what the host wrote behind a buffer's bytes; n is the host's result.
WEIR_INLINE int32_t weir_took(weir_buf *b, int32_t n) {
    if (n < 0) return n;
    if ((uint32_t)n > b->cap - b->len) {
        b->full = true;
        return WEIR_TOO_BIG;
    }
    b->len += (uint32_t)n;
    return n;
}

// Appends an attribute (WEIR_ATTR_PATH, "param:room", "header:user-agent"). Returns its length, or WEIR_NOT_FOUND and
// the like.
WEIR_INLINE int32_t weir_attr(weir_conn conn, const char *name, weir_buf *out) {
    weir_str n = weir_cstr(name);
    return weir_took(out, weir_conn_attr(conn, n.ptr, n.len, out->ptr + out->len, out->cap - out->len));
}

// Appends what weir_set_state stored, and returns its length.
WEIR_INLINE int32_t weir_state(weir_conn conn, weir_buf *out) {
    return weir_took(out, weir_conn_state_get(conn, out->ptr + out->len, out->cap - out->len));
}

// Stores up to 16 KiB with the connection, for whatever instance serves its next event.
WEIR_INLINE int32_t weir_set_state(weir_conn conn, weir_str state) {
    return weir_conn_state_set(conn, state.ptr, state.len);
}

WEIR_INLINE int weir_hex_(char c) {
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

// Appends text with its %20 decoded, and + as a space where plus is set; a per cent sign that no two hexadecimal digits
// follow stands for itself.
WEIR_FUNC void weir_unescape_(weir_buf *out, weir_str text, bool plus) {
    for (const char *p = text.ptr, *end = p + text.len; p < end; p++) {
        char c = plus && *p == '+' ? ' ' : *p;
        if (c == '%' && end - p > 2 && weir_hex_(p[1]) >= 0 && weir_hex_(p[2]) >= 0) {
            c = (char)(weir_hex_(p[1]) << 4 | weir_hex_(p[2]));
            p += 2;
        }
        weir_putc(out, c);
    }
}

// Appends a parameter of the request's query, decoded. Returns its length, or WEIR_NOT_FOUND and the like. The raw
// query must fit into 1 KiB.
WEIR_FUNC int32_t weir_query(weir_conn conn, const char *name, weir_buf *out) {
    WEIR_BUF(query, 1024);
    int32_t n = weir_attr(conn, WEIR_ATTR_QUERY, &query);
    if (n < 0) return n;
    weir_str want = weir_cstr(name);
    const char *p = query.ptr, *end = query.ptr + query.len;
    while (p < end) {
        const char *stop = p;
        while (stop < end && *stop != '&') stop++;
        if ((uint32_t)(stop - p) >= want.len && weir_equal((weir_str){p, want.len}, want) &&
            (p + want.len == stop || p[want.len] == '=')) {
            uint32_t before = out->len;
            p += want.len < (uint32_t)(stop - p) ? want.len + 1 : want.len;
            weir_unescape_(out, (weir_str){p, (uint32_t)(stop - p)}, true);
            return out->full ? WEIR_TOO_BIG : (int32_t)(out->len - before);
        }
        p = stop + 1;
    }
    return WEIR_NOT_FOUND;
}

// Appends the part of the path that the route calls name, as {room} in /chat/{room}, decoded. Returns its length, or
// WEIR_NOT_FOUND and the like. Name and value must fit into 1 KiB.
WEIR_FUNC int32_t weir_param(weir_conn conn, const char *name, weir_buf *out) {
    WEIR_BUF(attr, 256);
    WEIR_BUF(sent, 1024);
    weir_puts(&attr, WEIR_ATTR_PARAM);
    weir_puts(&attr, name);
    if (attr.full) return WEIR_NOT_FOUND;
    int32_t n = weir_took(&sent, weir_conn_attr(conn, attr.ptr, attr.len, sent.ptr, sent.cap));
    if (n < 0) return n;
    uint32_t before = out->len;
    weir_unescape_(out, weir_view(&sent), false);
    return out->full ? WEIR_TOO_BIG : (int32_t)(out->len - before);
}

// ------------------------------------------------------------------------------------------------- topics and the rest

// Makes a connection a member of a topic, a name of 1 to 255 bytes.
WEIR_INLINE int32_t weir_join(weir_conn conn, weir_str topic) { return weir_topic_join(conn, topic.ptr, topic.len); }

// Ends a connection's membership of a topic; WEIR_NOT_FOUND if it is not in it.
WEIR_INLINE int32_t weir_leave(weir_conn conn, weir_str topic) { return weir_topic_leave(conn, topic.ptr, topic.len); }

// Sends a message to every member of a topic but one; except is 0 for nobody.
WEIR_INLINE int32_t weir_publish(weir_str topic, int kind, weir_str data, weir_conn except) {
    return weir_topic_publish(topic.ptr, topic.len, kind, data.ptr, data.len, except);
}

// Publishes what a buffer holds as a text message; WEIR_TOO_BIG if something did not fit into the buffer.
WEIR_INLINE int32_t weir_publish_buf(weir_str topic, const weir_buf *b, weir_conn except) {
    return b->full ? WEIR_TOO_BIG : weir_publish(topic, WEIR_KIND_TEXT, weir_view(b), except);
}

// Returns how many members a topic has on this node.
WEIR_INLINE int32_t weir_count(weir_str topic) { return weir_topic_count(topic.ptr, topic.len); }

// Hands on the instance's state, at most 1 MiB; only in the save callback. The last call counts.
WEIR_INLINE int32_t weir_save(weir_str state) { return weir_state_save(state.ptr, state.len); }

// Appends what this instance is for: its key under the scope key, the connection's id in decimal under connection,
// nothing under pool and singleton. Returns its length.
WEIR_INLINE int32_t weir_key(weir_buf *out) {
    return weir_took(out, weir_instance_key(out->ptr + out->len, out->cap - out->len));
}

// Writes a line to the server's log: level is WEIR_LEVEL_DEBUG, _INFO, _WARN or _ERROR.
WEIR_INLINE int32_t weir_print(int level, weir_str text) { return weir_log(level, text.ptr, text.len); }

// True if the host has the named function, for modules that can do without it.
WEIR_INLINE bool weir_has(const char *function) {
    weir_str f = weir_cstr(function);
    return weir_abi_has(f.ptr, f.len) == 1;
}

// Appends a header of the request; only in the upgrade callback.
WEIR_INLINE int32_t weir_request_header(const char *name, weir_buf *out) {
    weir_str n = weir_cstr(name);
    return weir_took(out, weir_upgrade_header(n.ptr, n.len, out->ptr + out->len, out->cap - out->len));
}

// Picks a subprotocol that the client offers; only in the upgrade callback.
WEIR_INLINE int32_t weir_pick_protocol(weir_str name) { return weir_upgrade_protocol(name.ptr, name.len); }

// Adds a header to the response; only in the upgrade callback.
WEIR_INLINE int32_t weir_respond_header(const char *name, weir_str value) {
    weir_str n = weir_cstr(name);
    return weir_upgrade_respond_header(n.ptr, n.len, value.ptr, value.len);
}

// ------------------------------------------------------------------------------------------------------------ handler

// How a connection ended.
typedef struct {
    int code;        // 1005 when the peer gave none, 1006 when the connection broke
    bool clean;      // close frames went both ways
    weir_str reason; // lent until the callback returns
} weir_closed;

// The callbacks; those that are not set are not called, the server does not even enter the module. Strings are lent
// until the callback returns.
struct weir_handler {
    // The module's configuration (JSON), once per instance, first of all. Non-zero refuses the module.
    int (*init)(weir_str config);

    // A client asks to connect. 0 accepts, an HTTP status from 400 to 599 rejects. Without it everybody may.
    int (*upgrade)(weir_conn conn);

    // The first event of a connection.
    int (*open)(weir_conn conn);

    // A whole message: kind is WEIR_KIND_TEXT or WEIR_KIND_BINARY.
    int (*message)(weir_conn conn, int kind, weir_str data);

    // The last event of a connection, exactly once. It has left its topics; its attributes and state can be read.
    int (*close)(weir_conn conn, weir_closed why);

    // A timer is due; conn is 0 for one of the module.
    int (*timer)(weir_conn conn, int64_t id);

    // The server goes down in so many milliseconds: for each connection, and once with 0.
    int (*drain)(weir_conn conn, int64_t left_ms);

    // This instance, of the scope connection, key or singleton, is about to be replaced by the next generation: hand on
    // its state with weir_save. Its last event. Non-zero keeps the old version.
    int (*save)(void);

    // Takes over what the generation saved_by has saved, behind init and before anything else. Non-zero keeps the old
    // version.
    int (*restore)(weir_str state, uint64_t saved_by);
};

// Which load of the module this is, counting from 1: the same for all events of an instance, more after a reload. It is
// known from the init callback on, and 0 in a module without one.
static uint64_t weir_generation_;
WEIR_INLINE uint64_t weir_generation(void) { return weir_generation_; }

// Registers the callbacks: WEIR_HANDLER(.open = on_open, .message = on_message). Once in a module.
#define WEIR_HANDLER(...) \
    static const struct weir_handler weir_handler_ = {__VA_ARGS__}; \
    WEIR_EXPORT("weir_abi_1") uint64_t weir_abi_1(void) { return weir_handles_(&weir_handler_); } \
    WEIR_EXPORT("weir_inbound") void *weir_inbound(uint32_t size) { return weir_inbound_(size); } \
    WEIR_EXPORT("weir_event") \
    int32_t weir_event(int32_t event, weir_conn conn, int64_t arg, const char *ptr, uint32_t len) { \
        return weir_dispatch_(&weir_handler_, event, conn, arg, (weir_str){ptr, len}); \
    }

// The rest is machinery of that macro.

WEIR_INLINE uint64_t weir_handles_(const struct weir_handler *h) {
    return (h->init ? 1u << WEIR_EVENT_INIT : 0) | (h->upgrade ? 1u << WEIR_EVENT_UPGRADE : 0) |
           (h->open ? 1u << WEIR_EVENT_OPEN : 0) | (h->message ? 1u << WEIR_EVENT_TEXT | 1u << WEIR_EVENT_BINARY : 0) |
           (h->close ? 1u << WEIR_EVENT_CLOSE : 0) | (h->timer ? 1u << WEIR_EVENT_TIMER : 0) |
           (h->drain ? 1u << WEIR_EVENT_DRAIN : 0) | (h->save ? 1u << WEIR_EVENT_SAVE : 0) |
           (h->restore ? 1u << WEIR_EVENT_RESTORE : 0);
}

// The handler is constant, so that the compiler keeps only the branches that are used and calls directly.
WEIR_INLINE int32_t weir_dispatch_(const struct weir_handler *h, int32_t event, weir_conn conn, int64_t arg, weir_str data) {
    switch (event) {
    case WEIR_EVENT_TEXT: return h->message ? h->message(conn, WEIR_KIND_TEXT, data) : 0;
    case WEIR_EVENT_BINARY: return h->message ? h->message(conn, WEIR_KIND_BINARY, data) : 0;
    case WEIR_EVENT_OPEN: return h->open ? h->open(conn) : 0;
    case WEIR_EVENT_CLOSE:
        return h->close ? h->close(conn, (weir_closed){(int)(arg & 0xffff), (arg >> 16 & 1) != 0, data}) : 0;
    case WEIR_EVENT_TIMER: return h->timer ? h->timer(conn, arg) : 0;
    case WEIR_EVENT_DRAIN: return h->drain ? h->drain(conn, arg) : 0;
    case WEIR_EVENT_SAVE: return h->save ? h->save() : 0;
    case WEIR_EVENT_RESTORE: return h->restore ? h->restore(data, (uint64_t)arg) : 0;
    case WEIR_EVENT_UPGRADE: return h->upgrade ? h->upgrade(conn) : 0;
    case WEIR_EVENT_INIT:
        weir_generation_ = (uint64_t)arg;
        return h->init ? h->init(data) : 0;
    }
    return 0;
}

#define WEIR_PAGE_BYTES 65536u

#ifndef __wasm__
WEIR_INLINE void *weir_inbound_(uint32_t size) {
    static char first[WEIR_INBOUND_BYTES];
    return size <= sizeof first ? first : NULL; // weir_test.h lends its own
}
#else
// Returns a buffer for a message of size bytes: the static one, or pages behind everything else. NULL if there is no
// more memory.
WEIR_INLINE void *weir_inbound_(uint32_t size) {
    static _Alignas(16) char first[WEIR_INBOUND_BYTES];
    static char *grown;
    static uint32_t pages; // of grown
    if (size <= sizeof first) return first;
    uint32_t need = size / WEIR_PAGE_BYTES + (size % WEIR_PAGE_BYTES != 0);
    if (need <= pages) return grown;
    uint32_t end = __builtin_wasm_memory_size(0);
    bool last = grown && (uintptr_t)grown / WEIR_PAGE_BYTES + pages == end; // nobody has grown memory behind it
    if (__builtin_wasm_memory_grow(0, last ? need - pages : need) == SIZE_MAX) return NULL;
    if (!last) grown = (char *)((uintptr_t)end * WEIR_PAGE_BYTES);
    pages = need;
    return grown;
}

#endif

// What the compiler expects of a C library. A real one takes precedence; with wasi-libc these are not there at all.
#if defined(__wasm__) && !defined(__wasi__)
#define WEIR_LIBC(name) __attribute__((weak, no_builtin(name)))

void *memcpy(void *restrict to, const void *restrict from, size_t n);
void *memmove(void *to, const void *from, size_t n);
void *memset(void *to, int c, size_t n);
int memcmp(const void *a, const void *b, size_t n);
size_t strlen(const char *s);

// memory.copy and memory.fill are instructions: this is all of it.
WEIR_LIBC("memcpy") __attribute__((target("bulk-memory")))
void *memcpy(void *restrict to, const void *restrict from, size_t n) { return __builtin_memcpy(to, from, n); }

WEIR_LIBC("memmove") __attribute__((target("bulk-memory")))
void *memmove(void *to, const void *from, size_t n) { return __builtin_memmove(to, from, n); }

WEIR_LIBC("memset") __attribute__((target("bulk-memory")))
void *memset(void *to, int c, size_t n) { return __builtin_memset(to, c, n); }

WEIR_LIBC("memcmp") int memcmp(const void *a, const void *b, size_t n) {
    const unsigned char *p = a, *q = b;
    for (; n && *p == *q; n--) p++, q++;
    return n ? *p - *q : 0;
}

WEIR_LIBC("strlen") size_t strlen(const char *s) {
    size_t n = 0;
    while (s[n]) n++;
    return n;
}
#endif

#endif
