import assert from "node:assert/strict";
import { test } from "node:test";
import { compile, start } from "weir-assemblyscript/testing";

const wasm = await compile(import.meta.dirname);

/** A server with the demo's route. */
const lobby = () => start(wasm, { route: "/chat/{room}" });

test("a message reaches everyone but its sender", async () => {
  const server = await lobby();
  const ann = await server.open("/chat/lobby?name=ann");
  assert.equal(ann.receive(), '{"type":"joined","from":"ann","members":1}');
  const bob = await server.open("/chat/lobby?name=bob");
  assert.equal(ann.receive(), '{"type":"joined","from":"bob","members":2}');
  assert.equal(bob.receive(), '{"type":"joined","from":"bob","members":2}');

  await ann.send('{"type":"say","text":"hi \\"bob\\""}');
  assert.equal(bob.receive(), '{"type":"say","from":"ann","text":"hi \\"bob\\""}');
  assert.equal(ann.receive(), undefined);

  await ann.close();
  assert.equal(bob.receive(), '{"type":"left","from":"ann","members":1}');
  assert.equal(bob.receive(), undefined);
});

test("rooms are apart", async () => {
  const server = await lobby();
  const ann = await server.open("/chat/lobby?name=ann");
  const eve = await server.open("/chat/attic");
  assert.equal(ann.receive(), '{"type":"joined","from":"ann","members":1}');
  assert.equal(eve.receive(), '{"type":"joined","from":"guest","members":1}');
  await ann.send('{"type":"say","text":"hi"}');
  assert.equal(eve.receive(), undefined);
});

for (const [name, message, code] of [
  ["not JSON", "hello", 4400],
  ["another type", '{"type":"shout","text":"hi"}', 4400],
  ["no text", '{"type":"say"}', 4400],
  ["too much text", JSON.stringify({ type: "say", text: "x".repeat(8001) }), 4400],
  ["a text of 8000", JSON.stringify({ type: "say", text: "x".repeat(8000) }), undefined],
]) {
  test(`who breaks the protocol is closed: ${name}`, async () => {
    const server = await lobby();
    const ann = await server.open("/chat/lobby");
    await ann.send(message);
    assert.equal(ann.closed?.code, code);
  });
}

test("nobody hears of who never joined", async () => {
  const server = await lobby();
  const bob = await server.open("/chat/lobby?name=bob");
  assert.equal(bob.receive(), '{"type":"joined","from":"bob","members":1}');
  assert.equal((await server.open("/chat/lobby?name=" + "x".repeat(65))).closed.code, 4400);
  assert.equal((await server.open("/chat/" + "x".repeat(256))).closed.code, 4400);
  assert.equal(bob.receive(), undefined);
});
