// Does what the test's client says: a text message is a script of commands separated by ';', run in order in one
// invocation. "?cmd" also sends the command's status. Binary messages come back as they are. A connection whose state
// begins with '!', '@' or '#' runs the rest of it as a script when it is told close, timer or drain.

#include "weir.h"

#define TEXT_BYTES 70000

static weir_str token(weir_str *rest, char stop) {
    weir_str t = {rest->ptr, 0};
    while (t.len < rest->len && rest->ptr[t.len] != stop) t.len++;
    uint32_t skip = t.len < rest->len ? t.len + 1 : t.len;
    rest->ptr += skip;
    rest->len -= skip;
    return t;
}

static int64_t number(weir_str *rest) {
    weir_str t = token(rest, ' ');
    bool minus = t.len > 0 && t.ptr[0] == '-';
    int64_t n = 0;
    for (uint32_t i = minus; i < t.len; i++) n = n * 10 + (t.ptr[i] - '0');
    return minus ? -n : n;
}

static void terminate(char *out, uint32_t cap, weir_str s) {
    uint32_t n = s.len < cap - 1 ? s.len : cap - 1;
    __builtin_memcpy(out, s.ptr, n);
    out[n] = 0;
}

static int32_t say_int(weir_conn conn, const char *what, int64_t n) {
    WEIR_BUF(line, 128);
    weir_puts(&line, what);
    weir_putc(&line, '=');
    weir_put_int(&line, n);
    return weir_send_buf(conn, &line);
}

static char text_bytes[TEXT_BYTES];
static volatile uint32_t sink;
static int failure; // what the event returns

// What an instance keeps in memory and hands on.
static struct {
    char text[256];
    uint32_t text_len;
    int64_t total;
} kept;
static char save_fails, restore_fails; // 'r' refuses, 't' traps

static int32_t run(weir_conn conn, weir_str verb, weir_str rest) {
#define IS(name) weir_equal(verb, WEIR_S(name))
    char cstr[128];
    weir_buf out = {text_bytes, 0, sizeof text_bytes, false};
    if (IS("echo")) return weir_send_text(conn, rest);
    if (IS("repeat")) { // N TEXT
        int64_t n = number(&rest);
        int32_t status = 0;
        while (n-- > 0 && status == 0) status = weir_send_text(conn, rest);
        return status;
    }
    if (IS("blob")) { // N bytes
        out.len = (uint32_t)number(&rest);
        __builtin_memset(out.ptr, 'x', out.len);
        return weir_send(conn, WEIR_KIND_BINARY, weir_view(&out));
    }
    if (IS("id")) return say_int(conn, "id", (int64_t)conn);
    if (IS("send")) {
        int64_t id = number(&rest);
        return weir_send_text((weir_conn)id, rest);
    }
    if (IS("trap")) __builtin_trap();
    if (IS("fail")) return failure = (int)number(&rest);
    if (IS("join")) return weir_join(conn, rest);
    if (IS("leave")) return weir_leave(conn, rest);
    if (IS("count")) return say_int(conn, "count", weir_count(rest));
    if (IS("publish") || IS("publishx")) {
        weir_str topic = token(&rest, ' ');
        return weir_publish(topic, WEIR_KIND_TEXT, rest, IS("publishx") ? conn : 0);
    }
    if (IS("close")) {
        int code = (int)number(&rest);
        terminate(cstr, sizeof cstr, rest);
        return weir_close(conn, code, cstr);
    }
    if (IS("closeid")) {
        int64_t id = number(&rest);
        return weir_close((weir_conn)id, (int)number(&rest), "");
    }
    if (IS("joinid") || IS("leaveid")) { // ID TOPIC
        int64_t id = number(&rest);
        return IS("joinid") ? weir_join((weir_conn)id, rest) : weir_leave((weir_conn)id, rest);
    }
    if (IS("timerid")) { // ID TIMER AFTER EVERY
        int64_t id = number(&rest), timer = number(&rest), after = number(&rest);
        return weir_timer_set((weir_conn)id, timer, after, number(&rest));
    }
    if (IS("setid")) { // ID TEXT
        int64_t id = number(&rest);
        return weir_set_state((weir_conn)id, rest);
    }
    if (IS("mcancel")) return weir_timer_cancel(0, number(&rest));
    if (IS("set")) return weir_set_state(conn, rest);
    if (IS("get")) {
        weir_state(conn, &out);
        return weir_send_buf(conn, &out);
    }
    if (IS("attr")) {
        terminate(cstr, sizeof cstr, rest);
        int32_t n = weir_attr(conn, cstr, &out);
        return n < 0 ? n : weir_send_buf(conn, &out);
    }
    if (IS("timer") || IS("mtimer")) { // ID AFTER EVERY
        int64_t id = number(&rest), after = number(&rest), every = number(&rest);
        return weir_timer_set(IS("timer") ? conn : 0, id, after, every);
    }
    if (IS("cancel")) return weir_timer_cancel(conn, number(&rest));
    if (IS("gen")) return say_int(conn, "gen", (int64_t)weir_generation());
    if (IS("queued")) return say_int(conn, "queued", weir_conn_queued(conn));
    if (IS("mono")) return say_int(conn, "mono", weir_time_mono_ns());
    if (IS("keep")) { // in the instance's memory
        terminate(kept.text, sizeof kept.text, rest);
        return (int32_t)(kept.text_len = rest.len < sizeof kept.text - 1 ? rest.len : sizeof kept.text - 1);
    }
    if (IS("kept")) return weir_send_text(conn, (weir_str){kept.text, kept.text_len});
    if (IS("total")) return say_int(conn, "total", kept.total += number(&rest));
    if (IS("key")) {
        weir_key(&out);
        return weir_send_buf(conn, &out);
    }
    if (IS("badsave")) return save_fails = rest.ptr[0];
    if (IS("badrestore")) return restore_fails = rest.ptr[0];
    if (IS("spin")) {
        int64_t n = number(&rest);
        while (n-- > 0) sink++;
        return 0;
    }
    return WEIR_INVALID;
}

static int script(weir_conn conn, weir_str s) {
    failure = 0;
    while (s.len) {
        weir_str command = token(&s, ';');
        weir_str verb = token(&command, ' ');
        bool ask = verb.len > 0 && verb.ptr[0] == '?';
        if (ask) verb.ptr++, verb.len--;
        int32_t status = run(conn, verb, command);
        if (ask) say_int(conn, "status", status);
    }
    return failure;
}

// scripted runs the connection's state if it begins with mark.
static bool scripted(weir_conn conn, char mark, int *result) {
    weir_buf state = {text_bytes, 0, sizeof text_bytes, false};
    if (!conn || weir_state(conn, &state) < 0 || state.len == 0 || state.ptr[0] != mark) return false;
    static char copy[2048];
    weir_str s = {copy, state.len - 1 < sizeof copy ? state.len - 1 : sizeof copy};
    __builtin_memcpy(copy, state.ptr + 1, s.len);
    *result = script(conn, s);
    return true;
}

static int on_init(weir_str config) {
    if (config.len == 0 || config.ptr[0] != '!') return 0;
    config.ptr++, config.len--;
    return script(0, config);
}

static int on_message(weir_conn conn, int kind, weir_str data) {
    return kind == WEIR_KIND_BINARY ? weir_send(conn, kind, data) : script(conn, data);
}

// The query's "open" is a script too, with '+' for spaces.
static int on_open(weir_conn conn) {
    WEIR_BUF(value, 1024);
    return weir_query(conn, "open", &value) < 0 ? 0 : script(conn, weir_view(&value));
}

static int on_upgrade(weir_conn conn) {
    WEIR_BUF(value, 256);
    if (weir_query(conn, "pick", &value) >= 0) return weir_pick_protocol(weir_view(&value)) == 0 ? 0 : 400;
    if (weir_query(conn, "reject", &value) >= 0) {
        weir_str v = weir_view(&value);
        weir_respond_header("X-Puppet", WEIR_S("no"));
        return (int)number(&v);
    }
    if (weir_query(conn, "trap", &value) >= 0) __builtin_trap();
    if (weir_query(conn, "evil", &value) >= 0) return weir_respond_header("X-Evil", WEIR_S("x\r\nSet-Cookie: a")) == WEIR_INVALID ? 403 : 200;
    if (weir_request_header("Authorization", &value) >= 0) weir_set_state(conn, weir_view(&value));
    return 0;
}

static int on_close(weir_conn conn, weir_closed why) {
    int result = 0;
    scripted(conn, '!', &result);
    WEIR_BUF(line, 512);
    weir_puts(&line, "closed ");
    weir_put_int(&line, why.code);
    weir_puts(&line, why.clean ? " clean " : " unclean ");
    weir_put(&line, why.reason);
    weir_send_text(conn, WEIR_S("too late")); // refused
    weir_publish_buf(WEIR_S("gone"), &line, 0);
    return result;
}

static int on_timer(weir_conn conn, int64_t id) {
    int result;
    if (scripted(conn, '@', &result)) return result;
    if (conn) return say_int(conn, "timer", id);
    WEIR_BUF(line, 64);
    weir_puts(&line, "module timer ");
    weir_put_int(&line, id);
    return weir_publish_buf(WEIR_S("ticks"), &line, 0);
}

static int on_drain(weir_conn conn, int64_t left_ms) {
    int result;
    if (scripted(conn, '#', &result)) return result;
    if (conn) return weir_send_text(conn, WEIR_S("draining"));
    WEIR_BUF(line, 64);
    weir_puts(&line, "module drain ");
    weir_put_int(&line, left_ms);
    return weir_publish_buf(WEIR_S("drains"), &line, 0);
}

static int fails(char how) {
    if (how == 't') __builtin_trap();
    return how == 'r';
}

static int on_save(void) {
    if (fails(save_fails)) return 1;
    return weir_save((weir_str){(const char *)&kept, sizeof kept});
}

static int on_restore(weir_str state, uint64_t saved_by) {
    (void)saved_by;
    if (fails(restore_fails) || state.len != sizeof kept) return 1;
    __builtin_memcpy(&kept, state.ptr, sizeof kept);
    return weir_publish(WEIR_S("ticks"), WEIR_KIND_TEXT, WEIR_S("never"), 0) != WEIR_DENIED; // nothing else takes hold
}

WEIR_HANDLER(.init = on_init, .upgrade = on_upgrade, .open = on_open, .message = on_message, .close = on_close, .timer = on_timer, .drain = on_drain, .save = on_save,
             .restore = on_restore)
