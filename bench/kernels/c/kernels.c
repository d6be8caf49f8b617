// Answers the messages of weir/bench/kernels, in C: a byte names the kernel, four say how many rounds, the rest is the
// input. Numbers are little-endian.

#include "weir.h"

#include "sha256.h"
#include "json.h"
#include "mandelbrot.h"

#define HEADER_BYTES 5
#define ANSWER_BYTES 8192

static uint32_t little_endian32(const char *p) {
    const uint8_t *b = (const uint8_t *)p;
    return b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
}

static int on_message(weir_conn conn, int kind, weir_str data) {
    (void)kind;
    static char bytes[ANSWER_BYTES];
    weir_buf answer = {bytes, 0, sizeof bytes, false};
    if (data.len < HEADER_BYTES) return weir_close(conn, 4400, "the message is shorter than its header");
    uint32_t rounds = little_endian32(data.ptr + 1);
    weir_str input = {data.ptr + HEADER_BYTES, data.len - HEADER_BYTES};

    bool good = false;
    switch (data.ptr[0]) {
    case 's': good = sha256_kernel(input, rounds, &answer); break;
    case 'j': good = json_kernel(input, rounds, &answer); break;
    case 'm':
        good = input.len == 12 && mandelbrot_kernel(little_endian32(input.ptr), little_endian32(input.ptr + 4),
                                                    little_endian32(input.ptr + 8), rounds, &answer);
        break;
    }
    if (!good || answer.full) return weir_close(conn, 4400, "the message asks for what cannot be done");
    return weir_send(conn, WEIR_KIND_BINARY, weir_view(&answer));
}

WEIR_HANDLER(.message = on_message)
