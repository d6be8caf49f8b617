// JSON, read in place and written into a buffer that is used again: neither makes work for the collector.

import { Buffer, decode, sequence } from "./buffer";

/** What a JSON value is. */
export enum JsonType {
  /** There is no such value. */
  Missing,
  Null,
  Bool,
  Number,
  String,
  Array,
  Object,
}

// Bits of Json.flags.
// @ts-ignore: decorator
@inline const ESCAPED: u16 = 1; // a string with backslashes
// @ts-ignore: decorator
@inline const WHOLE: u16 = 2; // a number without a fraction and without an exponent
// @ts-ignore: decorator
@inline const LAST: u16 = 4; // nothing follows it in its array or object
// @ts-ignore: decorator
@inline const MEMBER: u16 = 8; // the value of an object's key

/**
 * A value of a JSON document. Documents are read where they lie, so a value is good until the handler returns, or
 * until the next document is read.
 *
 * No method fails: what is not there is a value that does not exist, which has no text, is 0, and has nothing inside.
 *
 *     const type = message.json().get("type").text();
 */
@unmanaged @final
export class Json {
  // A document becomes a row of these, each in front of what is inside it; a key stands before its value.
  private kind: u16; // a JsonType
  private flags: u16;
  private from: usize; // of the source: a string without its quotes
  private to: usize;
  private records: i32; // this one and those inside; while an object or array is open, where the one around it is

  /** What the value is. */
  get type(): JsonType { return <JsonType>this.kind; }

  /** False for what is not there. */
  get exists(): bool { return this.type != JsonType.Missing; }

  /** True if the value is the string. */
  is(text: string): bool { return this.type == JsonType.String && this.spells(text); }

  /** The string; empty if the value is none. */
  text(): string {
    if (this.type != JsonType.String) return "";
    if (!(this.flags & ESCAPED)) return decode(this.from, <i32>(this.to - this.from));
    unescaped.length = 0;
    unescape(this.from, this.to, unescaped);
    return decode(unescaped.start, unescaped.length);
  }

  /** True if the value is a number without a fraction and without an exponent that `integer` can return. */
  get isInteger(): bool { return this.readInteger(); }

  /** The whole number, see `isInteger`; 0 if the value is none. */
  integer(): i64 { return this.readInteger() ? integer : 0; }

  /** The number; NaN if the value is none. */
  number(): f64 {
    if (this.type != JsonType.Number) return NaN;
    if (this.to - this.from < 16 && this.readInteger() && integer != 0) return <f64>integer;
    return parseFloat(decode(this.from, <i32>(this.to - this.from)));
  }

  /** True if the value is `true`. */
  bool(): bool { return this.type == JsonType.Bool && load<u8>(this.from) == 0x74; }

  /** The value of an object's key; if the key is there more than once, the last counts. */
  get(key: string): Json {
    let found = missing;
    if (this.type != JsonType.Object) return found;
    for (let v = this.first(); v.exists; v = v.next()) {
      if (v.before().spells(key)) found = v;
    }
    return found;
  }

  /** The key of a value inside an object; empty for others. */
  key(): string { return this.flags & MEMBER ? this.before().text() : ""; }

  /**
   * The first value inside an array or an object, for a walk through all:
   *
   *     for (let tag = tags.first(); tag.exists; tag = tag.next()) { … }
   */
  first(): Json {
    if (this.type < JsonType.Array || this.records == 1) return missing;
    return this.skip(this.type == JsonType.Object ? 2 : 1);
  }

  /** The value that follows in the same array or object. */
  next(): Json {
    if (this.flags & LAST) return missing;
    return this.skip(this.flags & MEMBER ? this.records + 1 : this.records);
  }

  /** @internal Appends the value to a document, without the white space. */
  write(to: Buffer): void {
    if (this.type == JsonType.Missing) {
      to.bytes(NULL, 4);
    } else if (this.type == JsonType.String) {
      if (this.flags & ESCAPED) {
        unescaped.length = 0;
        unescape(this.from, this.to, unescaped);
        quote(unescaped.start, unescaped.start + unescaped.length, to);
      } else {
        quote(this.from, this.to, to);
      }
    } else if (this.type < JsonType.Array) {
      to.bytes(this.from, <i32>(this.to - this.from));
    } else {
      const object = this.type == JsonType.Object;
      to.byte(object ? 0x7b : 0x5b);
      for (let v = this.first(); v.exists; v = v.next()) {
        if (object) {
          v.before().write(to);
          to.byte(0x3a);
        }
        v.write(to);
        if (!(v.flags & LAST)) to.byte(0x2c);
      }
      to.byte(object ? 0x7d : 0x5d);
    }
  }

  // What follows is for the reader.

  /** @internal */
  begin(type: JsonType, flags: u16, from: usize, around: i32): void {
    this.kind = <u16>type;
    this.flags = flags;
    this.from = from;
    this.records = around;
  }

  /** @internal */
  end(to: usize, records: i32): void {
    this.to = to;
    this.records = records;
  }

  /** @internal */
  isLast(): void { this.flags |= LAST; }

  /** @internal */
  around(): i32 { return this.records; }

  private skip(records: i32): Json { return changetype<Json>(changetype<usize>(this) + records * offsetof<Json>()); }

  private before(): Json { return changetype<Json>(changetype<usize>(this) - offsetof<Json>()); }

  /** Reads a whole number into integer; false if the value is none, or does not fit. */
  private readInteger(): bool {
    if (this.type != JsonType.Number || !(this.flags & WHOLE)) return false;
    let at = this.from;
    const negative = load<u8>(at) == 0x2d;
    if (negative) at++;
    let n: i64 = 0; // below zero, where there is room for one more
    for (; at < this.to; at++) {
      const digit = <i64>load<u8>(at) - 0x30;
      if (n < (i64.MIN_VALUE + digit) / 10) return false;
      n = n * 10 - digit;
    }
    if (!negative) {
      if (n == i64.MIN_VALUE) return false;
      n = -n;
    }
    integer = n;
    return true;
  }

  /** True if the string of the source is the text. */
  private spells(text: string): bool {
    let from = this.from;
    const length = <i32>(this.to - from);
    if (this.flags & ESCAPED) return this.text() == text;
    const units = text.length;
    if (length < units || length > 3 * units) return false;
    let s = changetype<usize>(text);
    for (let i = 0; i < units; i++, s += 2) {
      const c = load<u16>(s);
      if (c >= 0x80) return decode(this.from, length) == text;
      if (load<u8>(from++) != c) return false;
    }
    return length == units;
  }
}

const missing = changetype<Json>(memory.data(offsetof<Json>()));
const unescaped = new Buffer(256);
let integer: i64 = 0; // what readInteger has read

// @ts-ignore: decorator
@inline const NULL: usize = memory.data<u8>([0x6e, 0x75, 0x6c, 0x6c]);

// ------------------------------------------------------------------------------------------------------------ reading

// The records of the document that was read last.
const records = new Buffer(64 * <i32>offsetof<Json>());

function record(index: i32): Json { return changetype<Json>(records.start + index * offsetof<Json>()); }

/** Reads a document; a value that does not exist if it is not JSON as a whole (RFC 8259). */
export function parse(from: usize, length: i32): Json {
  const end = from + length;
  let at = space(from, end);
  let n = 0; // records
  let open = -1; // the array or object that we are in; -1: none
  let member: u16 = 0; // MEMBER when that is an object
  records.length = 0;
  while (true) {
    // A value, and a key in front of it.
    if (member) {
      at = readString(at, end, 0);
      if (!at) return missing;
      n++;
      at = space(at, end);
      if (at == end || load<u8>(at) != 0x3a) return missing;
      at = space(at + 1, end);
    }
    if (at == end) return missing;
    let value = n++;
    const c = <u32>load<u8>(at);
    if (c == 0x22) {
      at = readString(at, end, member);
    } else if (c == 0x7b || c == 0x5b) {
      const object = c == 0x7b;
      add(object ? JsonType.Object : JsonType.Array, member, at, open);
      at = space(at + 1, end);
      if (at == end) return missing;
      if (load<u8>(at) != (object ? 0x7d : 0x5d)) {
        open = value;
        member = object ? MEMBER : 0;
        continue;
      }
      at++;
      record(value).end(at, 1);
    } else if (c == 0x74) {
      at = readWord(at, end, 4, 0x65757274, JsonType.Bool, member);
    } else if (c == 0x66) {
      at = readWord(at, end, 5, 0x736c6166, JsonType.Bool, member);
    } else if (c == 0x6e) {
      at = readWord(at, end, 4, 0x6c6c756e, JsonType.Null, member);
    } else {
      at = readNumber(at, end, member);
    }
    if (!at) return missing;
    // What follows a value: a comma, or the ends of what is around it.
    while (true) {
      at = space(at, end);
      if (open < 0) return at == end ? record(0) : missing;
      if (at == end) return missing;
      const c = <u32>load<u8>(at++);
      if (c == 0x2c) {
        at = space(at, end);
        break;
      }
      if (c != <u32>(member ? 0x7d : 0x5d)) return missing;
      record(value).isLast();
      value = open;
      open = record(value).around();
      member = open >= 0 && record(open).type == JsonType.Object ? MEMBER : 0;
      record(value).end(at, n - value);
    }
  }
}

/** Adds a record, which is good until the next one. */
function add(type: JsonType, flags: u16, from: usize, around: i32 = -1): Json {
  const size = <i32>offsetof<Json>();
  const added = changetype<Json>(records.reserve(size));
  records.length += size;
  added.begin(type, flags, from, around);
  return added;
}

function space(at: usize, end: usize): usize {
  while (at < end) {
    const c = <u32>load<u8>(at);
    if (c != 0x20 && c != 0x0a && c != 0x0d && c != 0x09) break;
    at++;
  }
  return at;
}

// Those that follow add a record and return where it ends; 0 if it is not there.

function readString(at: usize, end: usize, member: u16): usize {
  if (at == end || load<u8>(at++) != 0x22) return 0;
  const from = at;
  let flags = member;
  while (at < end) {
    const c = <u32>load<u8>(at++);
    if (c == 0x22) {
      add(JsonType.String, flags, from).end(at - 1, 1);
      return at;
    }
    if (c < 0x20) return 0;
    if (c == 0x5c) {
      flags |= ESCAPED;
      if (at == end) return 0;
      const escape = <u32>load<u8>(at++);
      if (escape == 0x75) {
        if (at + 4 > end || hex4(at) < 0) return 0;
        at += 4;
      } else if (short(escape) == 0) {
        return 0;
      }
    }
  }
  return 0;
}

function readNumber(at: usize, end: usize, member: u16): usize {
  const from = at;
  let flags = member | WHOLE;
  if (load<u8>(at) == 0x2d) at++;
  if (at < end && load<u8>(at) == 0x30) {
    at++;
  } else {
    at = readDigits(at, end);
    if (!at) return 0;
  }
  if (at < end && load<u8>(at) == 0x2e) {
    flags = member;
    at = readDigits(at + 1, end);
    if (!at) return 0;
  }
  if (at < end && (load<u8>(at) | 0x20) == 0x65) {
    flags = member;
    at++;
    if (at < end && (load<u8>(at) == 0x2b || load<u8>(at) == 0x2d)) at++;
    at = readDigits(at, end);
    if (!at) return 0;
  }
  add(JsonType.Number, flags, from).end(at, 1);
  return at;
}

function readDigits(at: usize, end: usize): usize {
  const from = at;
  while (at < end && <u32>load<u8>(at) - 0x30 < 10) at++;
  return at > from ? at : 0;
}

function readWord(at: usize, end: usize, length: i32, head: u32, type: JsonType, member: u16): usize {
  if (at + length > end || load<u32>(at) != head || load<u8>(at + length - 1) != 0x65 && type == JsonType.Bool) return 0;
  add(type, member, at).end(at + length, 1);
  return at + length;
}

/** What a backslash and a letter stand for; 0 if nothing. */
function short(c: u32): u32 {
  switch (c) {
    case 0x22: case 0x5c: case 0x2f: return c;
    case 0x62: return 0x08;
    case 0x66: return 0x0c;
    case 0x6e: return 0x0a;
    case 0x72: return 0x0d;
    case 0x74: return 0x09;
  }
  return 0;
}

/** The number of four hexadecimal digits; -1 if they are none. */
function hex4(at: usize): i32 {
  let code = 0;
  for (let i = 0; i < 4; i++) {
    const digit = hexDigit(load<u8>(at + i));
    if (digit < 0) return -1;
    code = (code << 4) | digit;
  }
  return code;
}

/** The value of a hexadecimal digit; -1 if it is none. */
export function hexDigit(c: u32): i32 {
  if (c - 0x30 < 10) return c - 0x30;
  c |= 0x20;
  return c - 0x61 < 6 ? c - 0x61 + 10 : -1;
}

/** Appends what a string of the source stands for. Half of a surrogate pair becomes U+FFFD. */
function unescape(from: usize, to: usize, out: Buffer): void {
  while (from < to) {
    const start = from;
    while (from < to && load<u8>(from) != 0x5c) from++;
    out.bytes(start, <i32>(from - start));
    if (from == to) return;
    const escape = <u32>load<u8>(from, 1);
    from += 2;
    if (escape != 0x75) {
      out.byte(short(escape));
      continue;
    }
    let code = hex4(from);
    from += 4;
    if ((code & 0xfc00) == 0xd800 && from + 6 <= to && load<u16>(from) == 0x755c) {
      const low = hex4(from + 2);
      if ((low & 0xfc00) == 0xdc00) {
        code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
        from += 6;
      }
    }
    out.rune((code & 0xfffff800) == 0xd800 ? 0xfffd : code);
  }
}

// ------------------------------------------------------------------------------------------------------------ writing

/**
 * Writes JSON into a buffer of its own:
 *
 *     const line = new JsonWriter(); // once: it is used again and again
 *     …
 *     c.send(line.object().put("type", "say").put("text", text).end());
 *
 * Strings are escaped as JSON.stringify does it. A value is a string, a number, a bool, or a `Json` that was read.
 */
@unmanaged @final
export class JsonWriter {
  private out: Buffer = new Buffer(512);
  private open: u64 = 0; // a bit for each object or array that is open, the innermost lowest: 1 is an object
  private depth: i32 = 0;
  private comma: bool = false;

  /** Where the document is, for `load<u8>` and its like, until it grows. */
  get start(): usize { return this.out.start; }

  /** The length of the document in bytes. */
  get length(): i32 { return this.out.length; }

  /** Begins an object: a new document, or a value inside one. */
  object(): JsonWriter { return this.begin(0x7b, 1); }

  /** Begins an array: a new document, or a value inside one. They nest 64 deep. */
  array(): JsonWriter { return this.begin(0x5b, 0); }

  /** Ends the object or the array that was begun last. */
  end(): JsonWriter {
    assert(this.depth > 0, "a JSON document has more ends than beginnings");
    this.out.byte(this.open & 1 ? 0x7d : 0x5d);
    this.open >>= 1;
    this.depth--;
    this.comma = true;
    return this;
  }

  /** Writes a key; its value must follow. */
  key(name: string): JsonWriter {
    this.separate();
    quoteText(name, this.out);
    this.out.byte(0x3a);
    this.comma = false;
    return this;
  }

  /** Writes a value into an array, or behind a key. */
  value<T>(value: T): JsonWriter {
    this.separate();
    if (isString<T>()) {
      quoteText(<string>value, this.out);
    } else if (isBoolean<T>()) {
      this.out.text(value ? "true" : "false");
    } else if (isInteger<T>()) {
      this.out.integer(<i64>value);
    } else if (isFloat<T>()) {
      this.float(<f64>value);
    } else if (value instanceof Json) {
      (<Json>value).write(this.out);
    } else {
      ERROR("JSON is made of strings, numbers, bools, and Json that was read");
    }
    this.comma = true;
    return this;
  }

  /** Writes a key and its value. */
  put<T>(name: string, value: T): JsonWriter { return this.key(name).value<T>(value); }

  /** The document as a string. */
  text(): string { return decode(this.out.start, this.out.length); }

  private begin(bracket: u32, object: u64): JsonWriter {
    if (this.depth == 0) {
      this.out.length = 0;
      this.comma = false;
    }
    assert(this.depth < 64, "a JSON document is nested too deeply");
    this.separate();
    this.out.byte(bracket);
    this.open = (this.open << 1) | object;
    this.depth++;
    this.comma = false;
    return this;
  }

  private separate(): void {
    if (this.comma) this.out.byte(0x2c);
  }

  private float(n: f64): void {
    if (!isFinite(n)) {
      this.out.text("null"); // as JSON.stringify does
    } else if (n == trunc(n) && abs(n) < 1e15) {
      this.out.integer(<i64>n);
    } else {
      this.out.text(n.toString());
    }
  }
}

// @ts-ignore: decorator
@inline const HEX: usize = memory.data<u8>([0x30, 0x31, 0x32, 0x33, 0x34, 0x35, 0x36, 0x37, 0x38, 0x39, 0x61, 0x62, 0x63, 0x64, 0x65, 0x66]);

/** Appends a string of UTF-8 with its quotes. */
function quote(from: usize, to: usize, out: Buffer): void {
  out.byte(0x22);
  while (from < to) {
    const start = from;
    let n = 1;
    while (from < to) {
      const c = <u32>load<u8>(from);
      if (c < 0x20 || c == 0x22 || c == 0x5c) break;
      if (c >= 0x80) {
        n = sequence(from, to);
        if (n == 0) break;
        from += n;
      } else {
        from++;
      }
    }
    out.bytes(start, <i32>(from - start));
    if (from == to) break;
    if (n == 0) {
      out.rune(0xfffd);
    } else {
      const at = out.reserve(6);
      out.length += <i32>(escape(load<u8>(from), at) - at);
    }
    from++;
  }
  out.byte(0x22);
}

/** Appends a string with its quotes. */
function quoteText(s: string, out: Buffer): void {
  const units = s.length;
  const start = out.reserve(6 * units + 2); // an escape takes six bytes
  let to = start;
  let from = changetype<usize>(s);
  const end = from + (<usize>units << 1);
  store<u8>(to++, 0x22);
  while (from < end) {
    const c = <u32>load<u16>(from);
    if (c >= 0x80) {
      // As many as are not ASCII, for the pairs among them.
      let more = from + 2;
      while (more < end && load<u16>(more) >= 0x80) more += 2;
      to += String.UTF8.encodeUnsafe(from, <i32>((more - from) >> 1), to, false, String.UTF8.ErrorMode.REPLACE);
      from = more;
      continue;
    }
    if (c < 0x20 || c == 0x22 || c == 0x5c) {
      to = escape(c, to);
    } else {
      store<u8>(to++, <u8>c);
    }
    from += 2;
  }
  store<u8>(to++, 0x22);
  out.length += <i32>(to - start);
}

/** Writes the escape of a character, and returns where it ends. */
function escape(c: u32, to: usize): usize {
  store<u8>(to, 0x5c);
  let letter: u32 = 0;
  switch (c) {
    case 0x22: case 0x5c: letter = c; break;
    case 0x08: letter = 0x62; break;
    case 0x0c: letter = 0x66; break;
    case 0x0a: letter = 0x6e; break;
    case 0x0d: letter = 0x72; break;
    case 0x09: letter = 0x74; break;
  }
  if (letter) {
    store<u8>(to, <u8>letter, 1);
    return to + 2;
  }
  store<u32>(to, 0x30307500 | 0x5c); // \u00
  store<u8>(to, load<u8>(HEX + (c >> 4)), 4);
  store<u8>(to, load<u8>(HEX + (c & 15)), 5);
  return to + 6;
}
