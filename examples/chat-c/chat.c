// Chat rooms: whoever connects to the same path talks to each other. README.md documents the protocol.

#include "weir.h"
#include "weir_json.h"

#define NAME_BYTES 64
#define TEXT_BYTES 8000
#define LINE_BYTES (6 * (NAME_BYTES + TEXT_BYTES) + 64) // an escape takes six bytes

static char line_bytes[LINE_BYTES];

// Starts {"type":…,"from":…; one line at a time.
static weir_buf line(const char *type, weir_str from) {
    weir_buf b = {line_bytes, 0, sizeof line_bytes, false};
    weir_puts(&b, "{\"type\":\"");
    weir_puts(&b, type);
    weir_puts(&b, "\",\"from\":");
    weir_put_json(&b, from);
    return b;
}

// Tells a room who has come or gone, and how many are there now.
static int tell_members(weir_str room, const char *type, weir_str name) {
    weir_buf b = line(type, name);
    weir_puts(&b, ",\"members\":");
    weir_put_int(&b, weir_count(room));
    weir_puts(&b, "}");
    return weir_publish_buf(room, &b, 0);
}

// The room is the route's {room}, or the whole path where the route has none.
static int32_t find_room(weir_conn conn, weir_buf *room) {
    int32_t n = weir_attr(conn, "param:room", room);
    return n == WEIR_NOT_FOUND ? weir_attr(conn, "path", room) : n;
}

static int on_open(weir_conn conn) {
    WEIR_BUF(room, 255);
    WEIR_BUF(name, NAME_BYTES);
    if (find_room(conn, &room) < 0 || weir_query(conn, "name", &name) == WEIR_TOO_BIG ||
        weir_join(conn, weir_view(&room)) != WEIR_OK)
        return weir_close(conn, 4400, "bad name or room");
    if (name.len == 0) weir_puts(&name, "guest");
    int status = weir_set_state(conn, weir_view(&name));
    return status ? status : tell_members(weir_view(&room), "joined", weir_view(&name));
}

static int on_message(weir_conn conn, int kind, weir_str data) {
    WEIR_BUF(type, 8);
    WEIR_BUF(text, TEXT_BYTES);
    weir_str value;
    bool say = kind == WEIR_KIND_TEXT && weir_json_field(data, "type", &value) && weir_json_unquote(value, &type) &&
               weir_equal(weir_view(&type), WEIR_S("say")) &&
               weir_json_field(data, "text", &value) && weir_json_unquote(value, &text);
    if (!say || text.len == 0) return weir_close(conn, 4400, "not a chat message");

    WEIR_BUF(room, 255);
    WEIR_BUF(name, NAME_BYTES);
    find_room(conn, &room);
    weir_state(conn, &name);
    weir_buf b = line("say", weir_view(&name));
    weir_puts(&b, ",\"text\":");
    weir_put_json(&b, weir_view(&text));
    weir_puts(&b, "}");
    return weir_publish_buf(weir_view(&room), &b, conn);
}

static int on_close(weir_conn conn, weir_closed why) {
    (void)why;
    WEIR_BUF(room, 255);
    WEIR_BUF(name, NAME_BYTES);
    if (find_room(conn, &room) < 0 || weir_state(conn, &name) <= 0) return 0; // it never joined
    return tell_members(weir_view(&room), "left", weir_view(&name));
}

WEIR_HANDLER(.open = on_open, .message = on_message, .close = on_close)
