// Sends every message back to where it came from.

#include "weir.h"

static int on_message(weir_conn conn, int kind, weir_str data) {
    return weir_send(conn, kind, data);
}

WEIR_HANDLER(.message = on_message)
