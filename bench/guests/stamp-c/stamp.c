// Sends every message back behind the number of the generation that handles it: 8 bytes, little-endian.

#include "weir.h"

#define MOST_BYTES 4096

static struct {
    uint64_t generation;
    char data[MOST_BYTES];
} reply;

static int on_message(weir_conn conn, int kind, weir_str data) {
    (void)kind;
    if (data.len > MOST_BYTES) return 1;
    reply.generation = weir_generation();
    __builtin_memcpy(reply.data, data.ptr, data.len);
    return weir_send(conn, WEIR_KIND_BINARY, (weir_str){(const char *)&reply, sizeof reply.generation + data.len});
}

static int on_init(weir_str config) { // without it the generation is not told
    (void)config;
    return 0;
}

WEIR_HANDLER(.init = on_init, .message = on_message)
