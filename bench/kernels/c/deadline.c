// Never returns from a message, in the way that the message names.

#include "weir.h"

// With its tail calls as they are written, this is recursion without a loop.
__attribute__((noinline, disable_tail_calls)) static uint64_t fib(uint32_t n) {
    return n < 2 ? n : fib(n - 1) + fib(n - 2);
}

// Goes down so many calls and comes back.
__attribute__((noinline, disable_tail_calls)) static uint32_t descend(uint32_t depth) {
    volatile uint32_t here = depth;
    return depth == 0 ? 0 : descend(depth - 1) + here;
}

#define DEPTH 2000
#define FILL_PAGES 256 // 16 MiB

// Memory of its own, so that the instances of the other ways stay small.
static int fill_forever(void) {
    size_t pages = __builtin_wasm_memory_grow(0, FILL_PAGES);
    if (pages == SIZE_MAX) return -1;
    char *filled = (char *)(pages * WEIR_PAGE_BYTES);
    for (uint8_t with = 0;; with++) {
        memset(filled, with, FILL_PAGES * WEIR_PAGE_BYTES);
        __asm__ volatile("" ::"r"(filled) : "memory"); // somebody may look at it
    }
}

static volatile uint64_t sink;

static int on_message(weir_conn conn, int kind, weir_str how) {
    (void)kind;
    if (weir_equal(how, WEIR_S("loop")))
        for (;;) __asm__ volatile("");
    if (weir_equal(how, WEIR_S("fib"))) sink = fib(60);
    if (weir_equal(how, WEIR_S("fill"))) return fill_forever();
    if (weir_equal(how, WEIR_S("deep")))
        for (;;) sink = descend(DEPTH);
    if (weir_equal(how, WEIR_S("calls")))
        for (;;) sink = (uint64_t)weir_time_mono_ns();
    return weir_close(conn, 4400, "there is no such way");
}

WEIR_HANDLER(.message = on_message)
