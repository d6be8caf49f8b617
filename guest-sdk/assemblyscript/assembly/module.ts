// The module's side of the exports.

export { handle, handles } from "./handler";

// The least that inbound holds, so that small messages ask once.
const LEAST: i32 = 4096;

let start: usize = 0;
let capacity: i32 = 0;

/** Returns the buffer that the host writes payloads to, made larger if need be. */
export function inbound(size: i32): usize {
  if (start == 0 || <u32>size > <u32>capacity) {
    // The next power of two, so that messages that get longer bit by bit do not each cost a buffer.
    capacity = size <= LEAST ? LEAST : 1 << (32 - clz(size - 1));
    if (start != 0) heap.free(start); // nothing of it is needed any more
    start = heap.alloc(capacity);
  }
  return start;
}
