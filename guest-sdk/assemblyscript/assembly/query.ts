// Queries are read as Go's net/url does it: pairs that are badly encoded are skipped.

import { Buffer, decode, first } from "./buffer";
import { hexDigit } from "./json";

const part = new Buffer(256);

/** The first value of a parameter of a query, decoded; empty if there is none. */
export function queryValue(from: usize, length: i32, name: string): string {
  first.set(name);
  const end = from + length;
  while (from < end) {
    let stop = from, middle: usize = 0, bad = false;
    for (; stop < end && load<u8>(stop) != 0x26; stop++) {
      const c = load<u8>(stop);
      if (c == 0x3d && !middle) middle = stop;
      if (c == 0x3b) bad = true;
    }
    if (!middle) middle = stop;
    if (!bad && decodeInto(from, middle, true) && part.length == first.length && memory.compare(part.start, first.start, part.length) == 0 &&
      decodeInto(min(middle + 1, stop), stop, true)) {
      return decode(part.start, part.length);
    }
    from = stop + 1;
  }
  return "";
}

/** Decodes the per cent signs of a path; as sent if they are badly encoded. */
export function unescape(from: usize, length: i32): string {
  return decodeInto(from, from + length, false) ? decode(part.start, part.length) : decode(from, length);
}

/** Decodes into part; false if a per cent sign is not followed by two hexadecimal digits. */
function decodeInto(from: usize, to: usize, plus: bool): bool {
  part.length = 0;
  while (from < to) {
    let c = <u32>load<u8>(from++);
    if (c == 0x2b && plus) {
      c = 0x20;
    } else if (c == 0x25) {
      if (from + 2 > to) return false;
      const high = hexDigit(load<u8>(from)), low = hexDigit(load<u8>(from, 1));
      if ((high | low) < 0) return false;
      c = (high << 4) | low;
      from += 2;
    }
    part.byte(c);
  }
  return true;
}
