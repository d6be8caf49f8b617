// Reads and writes JSON of all kinds, and sends what came of it, in ASCII and one result a line.

import { type Conn } from "weir";

const texts = ['{}','[]','[1,2,3]','{"a":{"b":[1,-2,3.5,1e3,1E-2,0,-0,-0.0,123456789,1234567890,99999999999999999999,0.1,5e-324,1.7976931348623157e308]}}','"\\u00e9\\ud83d\\ude00\\n"','"\\ud83d"','"é😀"','true','false','null',' [ 1 , 2 ] ','{"__proto__":{"x":1},"a":1,"a":2}','01','-','+1','[1,]','{"a":1,}','{a:1}','"\t"','nul','tru','[1 2]','"abc','{"a"','{"a":','','  ','1 2','"\\x"','"\\u12"','{"":1}','{"1":1,"0":2}', '[[[[[[[[[[[[]]]]]]]]]]]]', '['.repeat(20)+']'.repeat(20), '-1', '-12.5e+3','1e', '1e+','.5','"a\\/b"', '{"k":"\\b\\f\\r\\t\\"\\\\"}', '\ufeff1', '1\u00a0'];

const cycle: Record<string, unknown> = {};
cycle.self = cycle;

class Mixed {
  x = 1;
  #hidden = 2;
  get sum() {
    return this.x + this.#hidden;
  }
}

const values: unknown[] = [
  undefined, null, () => 1, Symbol("x"), true, new Date(0), { d: new Date(5) }, new Map([[1, 2]]), new Set([1]), /x/, new Error("e"),
  { a: undefined, b: () => 1, c: Symbol("q"), d: 1 }, [undefined, () => 1, NaN, Infinity, -0],
  Object("s"), Object(3), Object(true), new Uint8Array(2), new Mixed(), Object.create({ inherited: 1 }),
  { toJSON: (key: string) => `key ${key}` }, { x: { toJSON: (key: string) => ({ key }) } }, [{ toJSON: (key: string) => key }],
  cycle, 10n, { a: 1n }, new Proxy({ a: 1 }, {}), new Proxy([1, 2], {}),
  "\ud800", "a\ud800b\udc00", "\u0000\u001f\u007f\u2028", { "\ud800": 1 }, "x".repeat(100_000).length,
  { get a() { return JSON.stringify({ b: JSON.parse('"x\\n"') }); }, z: 1 }, { get a() { throw new TypeError("no"); } },
  [1, , 3], new Array(3), Object.assign([1], { extra: 1 }), { a: { b: { c: [] } } }, { 2: "b", 1: "a", z: 0 },
  1e21, 1e-7, 123456789012, 0.1 + 0.2, -0, 2 ** 31, -(2 ** 31),
];

function attempt(what: () => unknown): unknown {
  try {
    return what();
  } catch (error) {
    return (error as Error).name;
  }
}

function results(): unknown[] {
  return [
    ...texts.map((text) => {
      const value = attempt(() => JSON.parse(text));
      return [typeof value === "object" ? "object" : value, Object.is(value, -0), attempt(() => JSON.stringify(JSON.parse(text)))].map(String).join("|");
    }),
    ...values.map((value) => attempt(() => JSON.stringify(value))),
    JSON.stringify({ a: [1, { b: 2 }] }, null, 2),
    JSON.stringify({ a: 1, b: 2 }, ["a"]),
    JSON.stringify([1, "2"], (_, value) => (typeof value === "number" ? value + 1 : value)),
    JSON.parse("[1,2]", (_, value) => (typeof value === "number" ? value * 2 : value)),
  ];
}

const ascii = (text: string): string =>
  Array.from(text, (c) => {
    const n = c.codePointAt(0)!;
    return n > 126 || n < 32 ? `\\u{${n.toString(16)}}` : c;
  }).join("");

export default {
  message(conn: Conn) {
    conn.send(results().map((result) => ascii(String(result))).join("\n"));
  },
};
