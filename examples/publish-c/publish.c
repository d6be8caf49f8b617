// Puts every connection into one topic, and publishes each message to all of it, the sender included.

#include "weir.h"

static int on_open(weir_conn conn) {
    return weir_join(conn, WEIR_S("all"));
}

static int on_message(weir_conn conn, int kind, weir_str data) {
    (void)conn;
    return weir_publish(WEIR_S("all"), kind, data, 0);
}

WEIR_HANDLER(.open = on_open, .message = on_message)
