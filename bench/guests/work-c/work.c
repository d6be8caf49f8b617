// Sends every message back, after some work on it: what overload loads a server with.

#include "weir.h"

// About 50 µs of the CPU that docs/bench names, so that the handler, not the sockets, is what there is too little of.
#define ROUNDS 100

static uint32_t sum; // of all messages so far, so that the work cannot be left out

static int on_message(weir_conn conn, int kind, weir_str data) {
    for (int round = 0; round < ROUNDS; round++)
        for (uint32_t i = 0; i < data.len; i++) sum = (sum ^ (uint8_t)data.ptr[i]) * 16777619u;
    return weir_send(conn, kind, data);
}

WEIR_HANDLER(.message = on_message)
