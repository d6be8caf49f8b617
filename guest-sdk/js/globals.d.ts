// What scripts have beyond the language itself: a part of what browsers have. There are no timers, which would never come:
// those of "weir" are events.

/** Writes to the server's log. Values that are not strings are written as JSON. */
declare const console: {
  debug(...values: unknown[]): void;
  log(...values: unknown[]): void;
  info(...values: unknown[]): void;
  warn(...values: unknown[]): void;
  error(...values: unknown[]): void;
};

/** Calls back before the event ends. */
declare function queueMicrotask(callback: () => void): void;

/** Encodes UTF-8. */
declare class TextEncoder {
  readonly encoding: "utf-8";
  encode(text?: string): Uint8Array;
}

/** Decodes UTF-8, and nothing else. */
declare class TextDecoder {
  constructor(label?: string, options?: { fatal?: boolean; ignoreBOM?: boolean });
  readonly encoding: "utf-8";
  decode(data?: ArrayBuffer | ArrayBufferView): string;
}
