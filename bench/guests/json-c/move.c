// Parses a small JSON message, changes it, and answers.

#include "weir.h"
#include "weir_json.h"

static char line_bytes[1 << 16];

// Appends a member whose value stays as it was.
static bool copy(weir_buf *b, weir_str message, const char *head, const char *key) {
    weir_str value;
    if (!weir_json_field(message, key, &value)) return false;
    weir_puts(b, head);
    weir_put(b, value);
    return true;
}

static int on_message(weir_conn conn, int kind, weir_str message) {
    weir_str type, id;
    int64_t n;
    if (kind != WEIR_KIND_TEXT || !weir_json_field(message, "type", &type) || !weir_equal(type, WEIR_S("\"move\"")) ||
        !weir_json_field(message, "id", &id) || !weir_json_int(id, &n))
        return weir_close(conn, 4400, "not a move");
    weir_buf b = {line_bytes, 0, sizeof line_bytes, false};
    weir_puts(&b, "{\"type\":\"moved\",\"id\":");
    weir_put_int(&b, n + 1);
    if (!copy(&b, message, ",\"player\":", "player") || !copy(&b, message, ",\"x\":", "x") || !copy(&b, message, ",\"y\":", "y") ||
        !copy(&b, message, ",\"tags\":", "tags"))
        return weir_close(conn, 4400, "not a move");
    weir_puts(&b, "}");
    return weir_send_buf(conn, &b);
}

WEIR_HANDLER(.message = on_message)
