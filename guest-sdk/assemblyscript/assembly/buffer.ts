import { Status } from "./abi";

// Memory outside the collector's care, and the way of strings over the border.

/** Room for bytes that is used again and again. It grows, and never shrinks. */
@unmanaged @final
export class Buffer {
  /** Where the bytes are, until the buffer grows. */
  start: usize;
  /** How many bytes there are. */
  length: i32 = 0;
  /** How many bytes fit. */
  capacity: i32;

  constructor(capacity: i32) {
    this.start = heap.alloc(capacity);
    this.capacity = capacity;
  }

  /** Makes room for so many bytes behind those that are there, and returns where. */
  reserve(more: i32): usize {
    const needed = this.length + more;
    if (needed > this.capacity) {
      this.capacity = max(needed, 2 * this.capacity);
      this.start = heap.realloc(this.start, this.capacity);
    }
    return this.start + this.length;
  }

  /** Appends a byte. */
  byte(c: u32): void {
    store<u8>(this.reserve(1), <u8>c);
    this.length++;
  }

  /** Appends bytes. */
  bytes(from: usize, length: i32): void {
    memory.copy(this.reserve(length), from, length);
    this.length += length;
  }

  /** Appends a string as UTF-8. Half of a surrogate pair becomes U+FFFD. */
  text(s: string): Buffer {
    const to = this.reserve(3 * s.length);
    this.length += <i32>String.UTF8.encodeUnsafe(changetype<usize>(s), s.length, to, false, String.UTF8.ErrorMode.REPLACE);
    return this;
  }

  /** Appends a character as UTF-8. */
  rune(code: u32): void {
    if (code < 0x80) {
      this.byte(code);
    } else if (code < 0x800) {
      this.byte(0xc0 | (code >> 6));
      this.byte(0x80 | (code & 0x3f));
    } else {
      if (code < 0x10000) {
        this.byte(0xe0 | (code >> 12));
      } else {
        this.byte(0xf0 | (code >> 18));
        this.byte(0x80 | ((code >> 12) & 0x3f));
      }
      this.byte(0x80 | ((code >> 6) & 0x3f));
      this.byte(0x80 | (code & 0x3f));
    }
  }

  /** Appends a whole number in decimal. */
  integer(n: i64): void {
    let rest: u64 = n;
    if (n < 0) {
      this.byte(0x2d);
      rest = 0 - rest;
    }
    let digits = 1;
    for (let bound: u64 = 10; digits < 20 && rest >= bound; bound *= 10) {
      digits++;
      if (digits == 20) break; // the next bound does not fit
    }
    let at = this.reserve(digits) + digits;
    this.length += digits;
    do {
      store<u8>(--at, <u8>(0x30 + rest % 10));
      rest /= 10;
    } while (rest != 0);
  }

  /** Makes it hold a string only, as UTF-8, and returns itself. */
  set(s: string): Buffer {
    this.length = 0;
    return this.text(s);
  }
}

// The strings that a call lends to the host; no call has more than two.
export const first = new Buffer(256);
export const second = new Buffer(256);

/** What the host has written: valid until the next host function that writes. */
export const result = new Buffer(1024);

let status: i32 = 0;

/** Takes the result of a host function that reads; true if it is to be called again, for there is more room now. */
export function again(length: i32): bool {
  status = min(length, 0);
  result.length = 0;
  if (length > result.capacity) {
    result.reserve(length);
    return true;
  }
  result.length = max(length, 0);
  return false;
}

/**
 * Why the last of `attr`, `param`, `query`, `state`, `header` and their like has found nothing: `Status.Ok` if it has,
 * or if what it has found is empty.
 */
export function lastStatus(): Status { return status; }

/**
 * Returns the length of the UTF-8 sequence at the head of the bytes, 0 if it is not one (RFC 3629). There is a byte at
 * least.
 */
export function sequence(at: usize, end: usize): i32 {
  const lead = <u32>load<u8>(at);
  if (lead < 0x80) return 1;
  const n = lead < 0xc2 ? 0 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : lead < 0xf5 ? 4 : 0;
  if (n == 0 || at + n > end) return 0;
  const low: u32 = lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
  const high: u32 = lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
  const next = <u32>load<u8>(at, 1);
  if (next < low || next > high) return 0;
  for (let i = 2; i < n; i++) {
    if ((load<u8>(at + i) & 0xc0) != 0x80) return 0;
  }
  return n;
}

/** Makes a string of UTF-8; each byte that is none becomes U+FFFD. */
export function decode(from: usize, length: i32): string {
  const end = from + length;
  const s = changetype<string>(__new(<usize>length << 1, idof<string>())); // at most one unit a byte
  let to = changetype<usize>(s);
  while (from < end) {
    const lead = <u32>load<u8>(from);
    if (lead < 0x80) {
      store<u16>(to, <u16>lead);
      from++;
      to += 2;
      continue;
    }
    let code: u32 = 0xfffd;
    let n = sequence(from, end);
    if (n == 2) {
      code = ((lead & 0x1f) << 6) | (load<u8>(from, 1) & 0x3f);
    } else if (n == 3) {
      code = ((lead & 0x0f) << 12) | ((<u32>load<u8>(from, 1) & 0x3f) << 6) | (load<u8>(from, 2) & 0x3f);
    } else if (n == 4) {
      code = ((lead & 0x07) << 18) | ((<u32>load<u8>(from, 1) & 0x3f) << 12) | ((<u32>load<u8>(from, 2) & 0x3f) << 6) | (load<u8>(from, 3) & 0x3f);
    } else {
      n = 1;
    }
    from += n;
    if (code >= 0x10000) {
      code -= 0x10000;
      store<u16>(to, <u16>(0xd800 | (code >> 10)));
      store<u16>(to, <u16>(0xdc00 | (code & 0x3ff)), 2);
      to += 4;
    } else {
      store<u16>(to, <u16>code);
      to += 2;
    }
  }
  return changetype<string>(__renew(changetype<usize>(s), to - changetype<usize>(s)));
}

/** Copies bytes into an array of the collector's. */
export function copy(from: usize, length: i32): Uint8Array {
  const bytes = new Uint8Array(length);
  memory.copy(bytes.dataStart, from, length);
  return bytes;
}
