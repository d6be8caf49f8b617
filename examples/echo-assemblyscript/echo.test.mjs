import assert from "node:assert/strict";
import { test } from "node:test";
import { compile, start } from "weir-assemblyscript/testing";

const wasm = await compile(import.meta.dirname);

test("messages come back", async () => {
  const server = await start(wasm);
  const ann = await server.open("/");
  await ann.send("hello");
  await ann.send(new Uint8Array([1, 2, 3]));
  assert.equal(ann.receive(), "hello");
  assert.deepEqual(ann.receive(), new Uint8Array([1, 2, 3]));
  assert.equal(ann.receive(), undefined);
});
