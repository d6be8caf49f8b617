// The conformance guest in C; ../README.md says what it does.

#include "weir.h"

#ifndef CONFORMANCE_BYTES
#define CONFORMANCE_BYTES (1 << 21)
#endif

static char word_bytes[2][CONFORMANCE_BYTES]; // what two words of one command stand for
static char value_bytes[CONFORMANCE_BYTES];   // what is read
static char kept_bytes[CONFORMANCE_BYTES], config_bytes[CONFORMANCE_BYTES];
static weir_buf kept = {kept_bytes, 0, sizeof kept_bytes, false};
static bool keeps; // whether something is kept, which may be nothing
static weir_buf config = {config_bytes, 0, sizeof config_bytes, false};

static const weir_str events = WEIR_S("events");

// ------------------------------------------------------------------------------------------------------------- words

// Takes the field before the next space, and the space.
static weir_str field(weir_str *line) {
    weir_str f = {line->ptr, 0};
    while (f.len < line->len && f.ptr[f.len] != ' ') f.len++;
    uint32_t taken = f.len < line->len ? f.len + 1 : f.len;
    line->ptr += taken;
    line->len -= taken;
    return f;
}

static int64_t number(weir_str s) {
    bool minus = s.len && s.ptr[0] == '-';
    int64_t n = 0;
    for (uint32_t i = minus; i < s.len; i++) n = n * 10 + (s.ptr[i] - '0');
    return minus ? -n : n;
}

static uint32_t hex(weir_str digits, char *out) {
    for (uint32_t i = 0; i + 1 < digits.len; i += 2)
        out[i / 2] = (char)(weir_hex_(digits.ptr[i]) << 4 | weir_hex_(digits.ptr[i + 1]));
    return digits.len / 2;
}

// The bytes that a word stands for.
static weir_str bytes(weir_str word, int which) {
    char *out = word_bytes[which];
    if (weir_equal(word, WEIR_S("-"))) return WEIR_S("");
    if (word.len < 2 || word.ptr[1] != ':') return word;
    weir_str rest = {word.ptr + 2, word.len - 2};
    if (word.ptr[0] == 'x') return (weir_str){out, hex(rest, out)};
    if (word.ptr[0] != 'r') return word;
    uint32_t star = 0;
    while (rest.ptr[star] != '*') star++;
    uint32_t n = hex((weir_str){rest.ptr, star}, out), len = 0;
    for (int64_t times = number((weir_str){rest.ptr + star + 1, rest.len - star - 1}); times > 0 && len + n <= CONFORMANCE_BYTES; times--)
        for (uint32_t i = 0; i < n; i++) out[len++] = out[i];
    return (weir_str){out, len};
}

// Appends the word that stands for bytes.
static void put_word(weir_buf *b, weir_str s) {
    bool plain = s.len <= 64;
    uint32_t sum = 0;
    for (uint32_t i = 0; i < s.len; i++) {
        if (s.ptr[i] < '!' || s.ptr[i] > '~') plain = false;
        sum += (uint8_t)s.ptr[i];
    }
    if (s.len == 0) {
        weir_puts(b, "-");
    } else if (plain) {
        weir_put(b, s);
    } else if (s.len <= 64) {
        weir_puts(b, "x:");
        for (uint32_t i = 0; i < s.len; i++) {
            weir_putc(b, "0123456789abcdef"[(uint8_t)s.ptr[i] >> 4]);
            weir_putc(b, "0123456789abcdef"[s.ptr[i] & 15]);
        }
    } else {
        weir_puts(b, "#");
        weir_put_int(b, s.len);
        weir_puts(b, ":");
        weir_put_int(b, sum);
    }
}

// Appends what was read: its length and a word, or the status.
static void put_value(weir_buf *b, int64_t status, weir_str value) {
    weir_put_int(b, status);
    if (status < 0) return;
    weir_puts(b, " ");
    put_word(b, value);
}

static int kind(weir_str word) { return weir_equal(word, WEIR_S("text")) ? WEIR_KIND_TEXT : WEIR_KIND_BINARY; }

static weir_conn connection(weir_str word, weir_conn self) {
    return weir_equal(word, WEIR_S("self")) ? self : (weir_conn)number(word);
}

static int level(weir_str word) {
    static const weir_str names[] = {WEIR_S("debug"), WEIR_S("info"), WEIR_S("warn"), WEIR_S("error")};
    for (int i = 0; i < 4; i++)
        if (weir_equal(word, names[i])) return i;
    return -1;
}

// --------------------------------------------------------------------------------------------------------- commands

static int64_t found(int64_t status) { return status == WEIR_NOT_FOUND ? 0 : status; }

// Does one command and sends what came of it. Non-zero ends the event.
static int run(weir_conn self, weir_str line) {
    WEIR_BUF(reply, 512);
    weir_buf value = {value_bytes, 0, sizeof value_bytes, false};
    weir_str name = field(&line);
    weir_put(&reply, name);
    weir_puts(&reply, " ");
#define IS(word) weir_equal(name, WEIR_S(word))
#define CONN() connection(field(&line), self)
    if (IS("fail")) return 1;
    if (IS("trap")) __builtin_trap();
    if (IS("send")) {
        weir_conn to = CONN();
        int k = kind(field(&line));
        weir_put_int(&reply, weir_send(to, k, bytes(field(&line), 0)));
    } else if (IS("close")) {
        weir_conn to = CONN();
        int code = (int)number(field(&line));
        weir_str reason = bytes(field(&line), 0);
        weir_put_int(&reply, weir_conn_close(to, code, reason.ptr, reason.len));
    } else if (IS("attr")) {
        weir_conn of = CONN();
        weir_str attr = bytes(field(&line), 0);
        int32_t n = weir_took(&value, weir_conn_attr(of, attr.ptr, attr.len, value.ptr, value.cap));
        put_value(&reply, n, weir_view(&value));
    } else if (IS("query") || IS("param")) {
        WEIR_BUF(key, 256);
        weir_put(&key, field(&line));
        weir_putc(&key, 0);
        if (IS("query")) weir_query(self, key.ptr, &value);
        else weir_param(self, key.ptr, &value);
        put_word(&reply, weir_view(&value));
    } else if (IS("state")) {
        int32_t n = weir_state(CONN(), &value);
        put_value(&reply, n, weir_view(&value));
    } else if (IS("set")) {
        weir_conn of = CONN();
        weir_put_int(&reply, weir_set_state(of, bytes(field(&line), 0)));
    } else if (IS("queued")) {
        int64_t n = weir_conn_queued(CONN());
        if (n < 0) weir_put_int(&reply, n);
        else weir_puts(&reply, "ok");
    } else if (IS("join")) {
        weir_conn who = CONN();
        weir_put_int(&reply, weir_join(who, bytes(field(&line), 0)));
    } else if (IS("leave")) {
        weir_conn who = CONN();
        weir_put_int(&reply, found(weir_leave(who, bytes(field(&line), 0))));
    } else if (IS("publish")) {
        weir_str topic = bytes(field(&line), 0);
        int k = kind(field(&line));
        weir_str data = bytes(field(&line), 1);
        weir_put_int(&reply, weir_publish(topic, k, data, CONN()));
    } else if (IS("count")) {
        int32_t n = weir_count(bytes(field(&line), 0));
        weir_put_int(&reply, n < 0 ? 0 : n);
    } else if (IS("timer")) {
        weir_conn of = CONN();
        int64_t id = number(field(&line)), after = number(field(&line));
        weir_put_int(&reply, weir_timer_set(of, id, after, number(field(&line))));
    } else if (IS("cancel")) {
        weir_conn of = CONN();
        weir_put_int(&reply, found(weir_timer_cancel(of, number(field(&line)))));
    } else if (IS("clock")) {
        int64_t unix_ms = weir_time_unix_ms(), mono_ns = weir_time_mono_ns();
        bool stands = unix_ms == weir_time_unix_ms() && mono_ns == weir_time_mono_ns() && unix_ms > 1577836800000;
        weir_puts(&reply, stands ? "stands" : "runs");
    } else if (IS("random")) {
        uint32_t n = (uint32_t)number(field(&line));
        int32_t status = weir_random(word_bytes[0], n);
        weir_random(word_bytes[1], n);
        weir_put_int(&reply, status);
        weir_puts(&reply, __builtin_memcmp(word_bytes[0], word_bytes[1], n) ? " new" : " old");
    } else if (IS("log")) {
        int l = level(field(&line));
        weir_put_int(&reply, weir_print(l, bytes(field(&line), 0)));
    } else if (IS("metric")) {
        weir_str metric = bytes(field(&line), 0);
        weir_put_int(&reply, weir_metric_add(metric.ptr, metric.len, number(field(&line))));
    } else if (IS("has")) {
        weir_str function = bytes(field(&line), 0);
        weir_put_int(&reply, weir_abi_has(function.ptr, function.len));
    } else if (IS("key")) {
        int32_t n = weir_key(&value);
        put_value(&reply, n, weir_view(&value));
    } else if (IS("generation")) {
        weir_put_int(&reply, (int64_t)weir_generation());
    } else if (IS("config")) {
        put_word(&reply, weir_view(&config));
    } else if (IS("keep")) {
        keeps = true;
        kept.len = 0;
        weir_put(&kept, bytes(field(&line), 0));
        weir_puts(&reply, "0");
    } else if (IS("kept")) {
        put_word(&reply, weir_view(&kept));
    } else {
        reply = (weir_buf){reply.ptr, 0, reply.cap, false}; // the name may have filled it
        weir_puts(&reply, "unknown");
    }
    if (weir_send_buf(self, &reply)) weir_publish_buf(events, &reply, 0); // it has been closed
    return 0;
}

// ----------------------------------------------------------------------------------------------------------- events

static int on_init(weir_str text) {
    config.len = 0;
    weir_put(&config, text);
    for (uint32_t i = 0; i + 6 <= text.len; i++)
        if (weir_equal((weir_str){text.ptr + i, 6}, WEIR_S("refuse"))) return 1;
    return 0;
}

static int on_upgrade(weir_conn conn) {
    WEIR_BUF(arg, 256);
    if (weir_query(conn, "reject", &arg) > 0) return weir_equal(weir_view(&arg), WEIR_S("fail")) ? 1 : (int)number(weir_view(&arg));
    if (weir_query(conn, "pick", &arg) > 0) return weir_pick_protocol(weir_view(&arg)) ? 418 : 0;
    WEIR_BUF(state, 1024);
    bool any = false;
    if (weir_query(conn, "state", &arg) > 0) {
        any = true;
        weir_put(&state, weir_view(&arg));
    }
    if (weir_query(conn, "uri", &arg) > 0) {
        any = true, state.len = 0;
        weir_took(&state, weir_upgrade_uri(state.ptr, state.cap));
    }
    arg.len = 0;
    if (weir_query(conn, "echo", &arg) > 0) {
        any = true, state.len = 0;
        weir_putc(&arg, 0);
        if (weir_request_header(arg.ptr, &state) < 0) weir_puts(&state, "none");
    }
    arg.len = 0;
    if (weir_query(conn, "answer", &arg) > 0) {
        any = true, state.len = 0;
        weir_putc(&arg, 0);
        weir_put_int(&state, weir_respond_header(arg.ptr, WEIR_S("yes")));
    }
    return any ? weir_set_state(conn, weir_view(&state)) : 0;
}

static int on_open(weir_conn conn) {
    WEIR_BUF(arg, 16);
    weir_query(conn, "open", &arg);
    if (weir_equal(weir_view(&arg), WEIR_S("fail"))) return 1;
    if (weir_equal(weir_view(&arg), WEIR_S("close"))) return weir_close(conn, 4001, "no");
    return weir_send_text(conn, WEIR_S("open"));
}

static int on_message(weir_conn conn, int k, weir_str data) {
    if (k == WEIR_KIND_BINARY) return weir_send(conn, k, data);
    while (data.len) {
        weir_str line = {data.ptr, 0};
        while (line.len < data.len && line.ptr[line.len] != '\n') line.len++;
        uint32_t taken = line.len < data.len ? line.len + 1 : line.len;
        data.ptr += taken;
        data.len -= taken;
        int failed = run(conn, line);
        if (failed) return failed;
    }
    return 0;
}

static int on_close(weir_conn conn, weir_closed why) {
    WEIR_BUF(text, 256);
    weir_puts(&text, "close ");
    weir_put_int(&text, why.code);
    weir_puts(&text, why.clean ? " clean " : " broken ");
    put_word(&text, why.reason);
    weir_publish_buf(events, &text, 0);
    text.len = 0;
    weir_puts(&text, "after ");
    weir_put_int(&text, weir_send_text(conn, WEIR_S("late")));
    weir_publish_buf(events, &text, 0);
    return 0;
}

// Tells the connection, or those who listen to the module.
static int tell(weir_conn conn, const char *what, int64_t n) {
    WEIR_BUF(text, 64);
    weir_puts(&text, what);
    weir_put_int(&text, n);
    if (conn) return weir_send_buf(conn, &text);
    weir_publish_buf(events, &text, 0);
    return 0;
}

static int on_timer(weir_conn conn, int64_t id) { return tell(conn, "timer ", id); }

static int on_drain(weir_conn conn, int64_t left_ms) { return tell(conn, "drain ", left_ms); }

static int on_save(void) {
    if (weir_equal(weir_view(&kept), WEIR_S("refuse"))) return 1;
    return keeps ? weir_save(weir_view(&kept)) : WEIR_OK;
}

static int on_restore(weir_str state, uint64_t saved_by) {
    if (weir_equal(state, WEIR_S("poison"))) return 1;
    keeps = true;
    kept.len = 0;
    weir_put(&kept, state);
    weir_puts(&kept, " by ");
    weir_put_int(&kept, (int64_t)saved_by);
    return 0;
}

WEIR_HANDLER(.init = on_init, .upgrade = on_upgrade, .open = on_open, .message = on_message, .close = on_close,
             .timer = on_timer, .drain = on_drain, .save = on_save, .restore = on_restore)
