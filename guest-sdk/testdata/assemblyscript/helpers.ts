// What of the SDK is tested one by one: each export takes what lies at input(), and what it makes lies at output().

import { Conn, JsonType, JsonWriter, Message, OnMessage, serve, Status } from "weir-assemblyscript";
import { Buffer, decode } from "weir-assemblyscript/assembly/buffer";
import { parse } from "weir-assemblyscript/assembly/json";
import { queryValue, unescape } from "weir-assemblyscript/assembly/query";

const source = new Buffer(1 << 20);
const made = new Buffer(1 << 20);
const writer = new JsonWriter();

export function input(): usize { return source.start; }

export function output(): usize { return made.start; }

function give(s: string): i32 { return made.set(s).length; }

/** Decodes, and encodes again. */
export function utf8(length: i32): i32 { return give(decode(source.start, length)); }

/** The whole number; fallback if the document is none. */
export function integer(length: i32, fallback: i64): i64 {
  const n = parse(source.start, length);
  return n.isInteger ? n.integer() : fallback;
}

export function number(length: i32): f64 { return parse(source.start, length).number(); }

/** Writes a document anew; -1 if it is none. */
export function rewrite(length: i32): i32 {
  const document = parse(source.start, length);
  if (!document.exists) return -1;
  made.length = 0;
  document.write(made);
  return made.length;
}

/** The string under the key "text"; -1 if there is none. */
export function text(length: i32): i32 {
  const value = parse(source.start, length).get("text");
  return value.type == JsonType.String ? give(value.text()) : -1;
}

/** Walks through a document, and returns how many values are in it. */
export function values(length: i32): i32 {
  let n = 0;
  for (let v = parse(source.start, length).first(); v.exists; v = v.next()) n++;
  return n;
}

/** Writes a string as JSON. */
export function quote(length: i32): i32 { return give(writer.array().value(decode(source.start, length)).end().text()); }

/** Writes numbers as JSON. */
export function numbers(n: i64, f: f64): i32 {
  return give(writer.array().value(n).value(f).value(true).value(false).array().end().object().put("k", 1).put("l", 2).end().end().text());
}

export function query(length: i32): i32 { return give(queryValue(source.start, length, "name")); }

export function path(length: i32): i32 { return give(unescape(source.start, length)); }

/** Leaves much behind for the collector, and sends what it has made of a message; or fails. */
class Litter implements OnMessage {
  private recent: string[] = [];

  message(c: Conn, m: Message): Status {
    if (m.text() == "trap") throw new Error("as the client asks");
    const words = m.text().split(" ").map<string>((word) => word.toUpperCase());
    this.recent.push(words.join("+"));
    if (this.recent.length > 10) this.recent.shift();
    return c.send(this.recent.join("|"));
  }
}

serve(new Litter());
