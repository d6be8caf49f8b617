// Parses a small JSON message, changes it, and answers.

#include "weir.h"
#include "weir_json.h"

enum { TYPE, ID, PLAYER, X, Y, TAGS, MEMBERS };

static char line_bytes[1 << 16];

static int on_message(weir_conn conn, int kind, weir_str message) {
    struct weir_json_member m[MEMBERS] = {
        [TYPE] = {.key = WEIR_S("type")}, [ID] = {.key = WEIR_S("id")}, [PLAYER] = {.key = WEIR_S("player")},
        [X] = {.key = WEIR_S("x")},       [Y] = {.key = WEIR_S("y")},   [TAGS] = {.key = WEIR_S("tags")},
    };
    int64_t id;
    bool move = kind == WEIR_KIND_TEXT && weir_json_members(message, m, MEMBERS) &&
                weir_equal(m[TYPE].value, WEIR_S("\"move\"")) && weir_json_int(m[ID].value, &id) && id < INT64_MAX;
    for (int i = PLAYER; i < MEMBERS; i++) move = move && m[i].value.ptr;
    if (!move) return weir_close(conn, 4400, "not a move");

    weir_buf b = {line_bytes, 0, sizeof line_bytes, false};
    weir_puts(&b, "{\"type\":\"moved\",\"id\":");
    weir_put_int(&b, id + 1);
    for (int i = PLAYER; i < MEMBERS; i++) {
        weir_puts(&b, ",\"");
        weir_put(&b, m[i].key);
        weir_puts(&b, "\":");
        weir_put(&b, m[i].value);
    }
    weir_puts(&b, "}");
    return weir_send_buf(conn, &b);
}

WEIR_HANDLER(.message = on_message)
