// What programs in AssemblyScript expect of a JavaScript around them, by way of the server. asconfig.json puts these
// in the place of the compiler's own, which would import them from a module that the server does not have.

import * as abi from "./abi";
import { Level } from "./abi";
import { Buffer } from "./buffer";
import { log } from "./server";

/** For a line of the log about a failure, which may be one of memory: it is not to need any. */
export const words = new Buffer(2048);

/** Ends a program that has failed: the reason and the place go to the server's log, and the event is undone. */
export function abort(message: string | null, file: string | null, line: u32, column: u32): void {
  words.set(message ? message : "aborted");
  if (file) {
    words.text(" at ").text(file).byte(0x3a);
    words.integer(line);
    words.byte(0x3a);
    words.integer(column);
  }
  abi.log(Level.Error, words.start, words.length);
  unreachable();
}

/** Writes a line with up to five numbers to the log. */
export function trace(message: string, n: i32 = 0, a0: f64 = 0, a1: f64 = 0, a2: f64 = 0, a3: f64 = 0, a4: f64 = 0): void {
  let line = message;
  if (n > 0) line += " " + a0.toString();
  if (n > 1) line += " " + a1.toString();
  if (n > 2) line += " " + a2.toString();
  if (n > 3) line += " " + a3.toString();
  if (n > 4) line += " " + a4.toString();
  log(Level.Debug, line);
}

/** Starts `Math.random`. */
export function seed(): f64 {
  abi.random(changetype<usize>(seeds), 8);
  return reinterpret<f64>(load<i64>(changetype<usize>(seeds)));
}

const seeds = memory.data(8);

/** Writes to the server's log. */
export namespace console {
  export function log(message: string = ""): void { line(Level.Info, message); }
  export function debug(message: string = ""): void { line(Level.Debug, message); }
  export function info(message: string = ""): void { line(Level.Info, message); }
  export function warn(message: string = ""): void { line(Level.Warn, message); }
  export function error(message: string = ""): void { line(Level.Error, message); }
}

function line(level: Level, text: string): void { log(level, text); }
