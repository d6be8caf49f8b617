// The Mandelbrot set.

#ifndef MANDELBROT_H
#define MANDELBROT_H

#include "weir.h"

// Counts the steps until the point is known to leave.
static uint32_t mandelbrot_escape(double cr, double ci, uint32_t limit) {
    double zr = 0, zi = 0;
    for (uint32_t n = 0; n < limit; n++) {
        double rr = zr * zr, ii = zi * zi;
        if (rr + ii > 4) return n;
        zi = 2 * zr * zi + ci;
        zr = rr - ii + cr;
    }
    return limit;
}

// A hash (FNV-1a over whole counts) of the steps of every point, each round of a grid a little to the right of the
// last one's.
static bool mandelbrot_kernel(uint32_t width, uint32_t height, uint32_t limit, uint32_t rounds, weir_buf *answer) {
    uint64_t sum = 0xcbf29ce484222325;
    for (uint32_t round = 0; round < rounds; round++) {
        double left = -2.25 + round / 1024.0;
        for (uint32_t y = 0; y < height; y++)
            for (uint32_t x = 0; x < width; x++) {
                double cr = left + 3.0 * x / width, ci = -1.5 + 3.0 * y / height;
                sum = (sum ^ mandelbrot_escape(cr, ci, limit)) * 0x100000001b3;
            }
    }
    weir_put(answer, (weir_str){(const char *)&sum, sizeof sum});
    return true;
}

#endif
