// Adds to metrics as the test's client says: a text message is a list of "NAME DELTA", separated by ';', of which it is
// told each status; "fail" and "trap" among them end the event so. Its init adds 1 to the metric "starts".

#include "weir.h"

static weir_str token(weir_str *rest, char stop) {
    weir_str t = {rest->ptr, 0};
    while (t.len < rest->len && rest->ptr[t.len] != stop) t.len++;
    uint32_t skip = t.len < rest->len ? t.len + 1 : t.len;
    rest->ptr += skip;
    rest->len -= skip;
    return t;
}

static int64_t number(weir_str s) {
    bool minus = s.len > 0 && s.ptr[0] == '-';
    uint64_t n = 0;
    for (uint32_t i = minus; i < s.len; i++) n = n * 10 + (uint64_t)(s.ptr[i] - '0');
    return (int64_t)(minus ? -n : n);
}

static int on_init(weir_str config) {
    (void)config;
    weir_metric_add("starts", 6, 1);
    return 0;
}

static int on_message(weir_conn conn, int kind, weir_str data) {
    (void)kind;
    int result = 0;
    WEIR_BUF(reply, 256);
    while (data.len) {
        weir_str item = token(&data, ';');
        if (weir_equal(item, WEIR_S("trap"))) __builtin_trap();
        if (weir_equal(item, WEIR_S("fail"))) {
            result = 1;
            continue;
        }
        weir_str name = token(&item, ' ');
        if (reply.len) weir_putc(&reply, ' ');
        weir_put_int(&reply, weir_metric_add(name.ptr, name.len, number(item)));
    }
    weir_send_buf(conn, &reply);
    return result;
}

static int on_save(void) {
    weir_metric_add("starts", 6, 1000); // refused
    return weir_save(WEIR_S("x"));
}

static int on_restore(weir_str state, uint64_t saved_by) {
    (void)state, (void)saved_by;
    return weir_metric_add("starts", 6, 1000) != WEIR_DENIED;
}

WEIR_HANDLER(.init = on_init, .message = on_message, .save = on_save, .restore = on_restore)
