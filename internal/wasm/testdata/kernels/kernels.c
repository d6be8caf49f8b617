// What BenchmarkMetered measures as a guest that is written in C. `make guests` builds it into kernels.wasm.
typedef unsigned char u8;
typedef unsigned int u32;
typedef unsigned long long u64;
#define export(name) __attribute__((export_name(#name)))

static u32 K[64] = {
	0x428a2f98,0x71374491,0xb5c0fbcf,0xe9b5dba5,0x3956c25b,0x59f111f1,0x923f82a4,0xab1c5ed5,
	0xd807aa98,0x12835b01,0x243185be,0x550c7dc3,0x72be5d74,0x80deb1fe,0x9bdc06a7,0xc19bf174,
	0xe49b69c1,0xefbe4786,0x0fc19dc6,0x240ca1cc,0x2de92c6f,0x4a7484aa,0x5cb0a9dc,0x76f988da,
	0x983e5152,0xa831c66d,0xb00327c8,0xbf597fc7,0xc6e00bf3,0xd5a79147,0x06ca6351,0x14292967,
	0x27b70a85,0x2e1b2138,0x4d2c6dfc,0x53380d13,0x650a7354,0x766a0abb,0x81c2c92e,0x92722c85,
	0xa2bfe8a1,0xa81a664b,0xc24b8b70,0xc76c51a3,0xd192e819,0xd6990624,0xf40e3585,0x106aa070,
	0x19a4c116,0x1e376c08,0x2748774c,0x34b0bcb5,0x391c0cb3,0x4ed8aa4a,0x5b9cca4f,0x682e6ff3,
	0x748f82ee,0x78a5636f,0x84c87814,0x8cc70208,0x90befffa,0xa4506ceb,0xbef9a3f7,0xc67178f2};

static u8 buf[1 << 16];
static u32 words[1 << 12];

#define ROR(x, n) ((x) >> (n) | (x) << (32 - (n)))

static void block(u32 *h, const u8 *p) {
	u32 w[64];
	for (int i = 0; i < 16; i++) w[i] = p[4*i] << 24 | p[4*i+1] << 16 | p[4*i+2] << 8 | p[4*i+3];
	for (int i = 16; i < 64; i++) {
		u32 s0 = ROR(w[i-15], 7) ^ ROR(w[i-15], 18) ^ w[i-15] >> 3;
		u32 s1 = ROR(w[i-2], 17) ^ ROR(w[i-2], 19) ^ w[i-2] >> 10;
		w[i] = w[i-16] + s0 + w[i-7] + s1;
	}
	u32 a = h[0], b = h[1], c = h[2], d = h[3], e = h[4], f = h[5], g = h[6], k = h[7];
#pragma clang loop unroll(disable)
	for (int i = 0; i < 64; i++) {
		u32 t1 = k + (ROR(e, 6) ^ ROR(e, 11) ^ ROR(e, 25)) + ((e & f) ^ (~e & g)) + K[i] + w[i];
		u32 t2 = (ROR(a, 2) ^ ROR(a, 13) ^ ROR(a, 22)) + ((a & b) ^ (a & c) ^ (b & c));
		k = g, g = f, f = e, e = d + t1, d = c, c = b, b = a, a = t1 + t2;
	}
	h[0] += a, h[1] += b, h[2] += c, h[3] += d, h[4] += e, h[5] += f, h[6] += g, h[7] += k;
}

export(sha256) u32 sha256(u32 bytes) {
	u32 h[8] = {0x6a09e667,0xbb67ae85,0x3c6ef372,0xa54ff53a,0x510e527f,0x9b05688c,0x1f83d9ab,0x5be0cd19};
	for (u32 i = 0; i + 64 <= bytes; i += 64) block(h, buf + (i & 0xffff));
	return h[0];
}

export(fib) u32 fib(u32 n) { return n < 2 ? n : fib(n - 1) + fib(n - 2); }

export(mandelbrot) u32 mandelbrot(u32 size) {
	u32 sum = 0;
	for (u32 y = 0; y < size; y++)
		for (u32 x = 0; x < size; x++) {
			double cr = 2.0 * x / size - 1.5, ci = 2.0 * y / size - 1, zr = 0, zi = 0;
			u32 i = 0;
			for (; i < 50; i++) {
				double r2 = zr * zr, i2 = zi * zi;
				if (r2 + i2 > 4) break;
				zi = 2 * zr * zi + ci;
				zr = r2 - i2 + cr;
			}
			sum += i;
		}
	return sum;
}

export(bubble) u32 bubble(u32 n) {
	for (u32 i = 0; i < n; i++) words[i] = i * 2654435761u;
	for (u32 i = 0; i < n; i++)
		for (u32 j = 1; j < n - i; j++)
			if (words[j-1] > words[j]) {
				u32 t = words[j];
				words[j] = words[j-1], words[j-1] = t;
			}
	return words[0];
}

export(copy) u32 copy(u32 n) {
	volatile u8 *p = buf;
	for (u32 i = 0; i < n; i++) p[i & 0x7fff] = p[0x8000 + (i & 0x7fff)];
	return p[1];
}

export(sum) u32 sum(u32 n) {
	u32 s = 0;
	for (u32 r = 0; r < n; r++)
#pragma clang loop unroll(disable) vectorize(disable)
		for (u32 i = 0; i < 1 << 12; i++) s = (s ^ words[i]) + 1;
	return s;
}

// A small JSON reader: counts values and adds up numbers.
static const char *at;
static u32 total;

static void space(void) { while (*at == ' ' || *at == '\n' || *at == '\t') at++; }

static u32 value(void) {
	u32 n = 1;
	space();
	if (*at == '{' || *at == '[') {
		char close = *at == '{' ? '}' : ']';
		at++;
		for (;;) {
			space();
			if (*at == close) break;
			n += value();
			space();
			if (*at == ':' || *at == ',') at++;
		}
		at++;
		return n;
	}
	if (*at == '"') {
		for (at++; *at && *at != '"'; at++) if (*at == '\\') at++;
		at++;
		return n;
	}
	if (*at >= '0' && *at <= '9') {
		u32 v = 0;
		for (; *at >= '0' && *at <= '9'; at++) v = v * 10 + *at - '0';
		total += v;
		return n;
	}
	while (*at >= 'a' && *at <= 'z') at++;
	return n;
}

static const char text[] =
	"{\"type\":\"message\",\"id\":123456,\"from\":{\"name\":\"somebody\",\"roles\":[\"admin\",\"user\",\"guest\"]},"
	"\"text\":\"the quick brown fox jumps over the lazy dog, and \\\"again\\\"\",\"tags\":[1,22,333,4444,55555],"
	"\"nested\":[[[[1,2],[3,4]],[[5,6],[7,8]]],{\"a\":true,\"b\":false,\"c\":null}], \"end\" : 0 }";

export(json) u32 json(u32 times) {
	u32 n = 0;
	for (u32 i = 0; i < times; i++) {
		at = text;
		n += value();
	}
	return n + total;
}

// What an echo handler does: looks at its input, copies it.
export(echo) u32 echo(u32 n) {
	for (u32 i = 0; i < n; i++) buf[i + 4096] = buf[i];
	return n;
}
