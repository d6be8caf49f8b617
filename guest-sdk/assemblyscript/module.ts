// The exports of a module, which asconfig.json compiles along with the handler.

import "weir-assemblyscript/assembly/globals";
import { handle, handles, inbound } from "weir-assemblyscript/assembly/module";

/** The mark of ABI 1: the set of events that the handler wants. */
export function weir_abi_1(): u64 { return handles(); }

/** A buffer of that many bytes, for the host to write an event's payload to. */
export function weir_inbound(size: i32): usize { return inbound(size); }

/** One event; 0 commits what it asked for. */
export function weir_event(event: i32, conn: u64, arg: i64, start: usize, length: i32): i32 {
  return handle(event, conn, arg, start, length);
}
