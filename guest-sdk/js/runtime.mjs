// What scripts have in the sandbox: the host functions, which the engine defines, and what of the web's globals makes sense
// there.

import { Level } from "./abi.mjs";
import { describe, eventsOf, failed, statusOf, text } from "./serve.mjs";

export const host = globalThis.__weir;

host.onFailure(failed);

/** Makes a handler the script's. */
export function serve(handler) {
  host.serve(eventsOf(handler), statusOf);
}

// Frames of a stack that are logged: of endless recursion the first ones say it all.
const maxFrames = 20;

/** The stack of an error, in terms of the files that were bundled. */
export function stackOf(error) {
  const { files, marks } = JSON.parse(host.marks() || '{"files":[],"marks":[]}');
  const frames = String(error.stack).trimEnd().split("\n");
  const shown = frames.slice(0, maxFrames).flatMap((frame) => {
    const place = /\(script:(\d+):(\d+)\)/.exec(frame);
    if (!place) return [frame];
    const at = lastBefore(marks, place[1] - 1, place[2] - 1);
    if (at < 0 || marks[at + 2] < 0) return []; // of the SDK
    return [frame.replace(place[0], `(${files[marks[at + 2]]}:${marks[at + 3] + 1}:${marks[at + 4] + 1})`)];
  });
  if (frames.length > maxFrames) shown.push(`    and ${frames.length - maxFrames} more`);
  return shown.join("\n");
}

// The index of the last mark that is not behind a place of the script, -1 if there is none. A mark is five numbers.
function lastBefore(marks, line, column) {
  let [low, high] = [0, marks.length / 5];
  while (low < high) {
    const middle = (low + high) >> 1;
    const at = middle * 5;
    if (marks[at] < line || (marks[at] === line && marks[at + 1] <= column)) low = middle + 1;
    else high = middle;
  }
  return low * 5 - 5;
}

const shown = (value) => (value instanceof Error ? describe(value) : text(value));

const line = (level) => (...values) => void host.log(level, values.map(shown).join(" "));

globalThis.console = {
  debug: line(Level.debug),
  log: line(Level.info),
  info: line(Level.info),
  warn: line(Level.warn),
  error: line(Level.error),
};

globalThis.queueMicrotask = (callback) => void Promise.resolve().then(callback);

globalThis.TextEncoder = class TextEncoder {
  encoding = "utf-8";

  encode(text = "") {
    return host.utf8Encode(String(text));
  }
};

globalThis.TextDecoder = class TextDecoder {
  encoding = "utf-8";

  constructor(label = "utf-8", { fatal = false, ignoreBOM = false } = {}) {
    if (!/^(utf-?8|unicode-1-1-utf-8)$/i.test(label)) throw new RangeError(`TextDecoder: no ${label}, only utf-8`);
    this.fatal = fatal;
    this.ignoreBOM = ignoreBOM;
  }

  decode(data = new Uint8Array(0)) {
    const bytes = ArrayBuffer.isView(data) ? data : new Uint8Array(data);
    const text = host.utf8Decode(bytes);
    if (this.fatal && text.includes("\ufffd") && !same(host.utf8Encode(text), bytes)) {
      throw new TypeError("TextDecoder: not UTF-8");
    }
    return !this.ignoreBOM && text.startsWith("\ufeff") ? text.slice(1) : text;
  }
};

const same = (a, b) => a.length === b.byteLength && a.every((byte, i) => byte === b[i]);
