import assert from "node:assert/strict";
import { test } from "node:test";

import { Server } from "weir/testing";

import chat from "./chat.ts";

test("a message reaches everyone in the room but its sender", async () => {
  const server = await Server.start(chat, { route: "/chat/{room}" });
  const ann = await server.open("/chat/lobby?name=ann");
  const bob = await server.open("/chat/lobby?name=b%C3%B6b");
  const eve = await server.open("/chat/attic");
  assert.equal(ann.receive(), '{"type":"joined","from":"ann","members":1}');
  assert.equal(ann.receive(), '{"type":"joined","from":"böb","members":2}');
  assert.equal(bob.receive(), '{"type":"joined","from":"böb","members":2}');
  assert.equal(eve.receive(), '{"type":"joined","from":"guest","members":1}');

  await ann.send('{"type":"say","text":"hi"}');
  assert.equal(bob.receive(), '{"type":"say","from":"ann","text":"hi"}');
  assert.equal(ann.receive(), undefined);
  assert.equal(eve.receive(), undefined);

  await bob.drop();
  assert.equal(ann.receive(), '{"type":"left","from":"böb","members":1}');
});

test("who breaks the protocol is closed", async () => {
  const server = await Server.start(chat);
  for (const message of ["hello", "null", '{"type":"say"}', '{"type":"say","text":7}', Uint8Array.of(123, 125)]) {
    const ann = await server.open("/lobby");
    await ann.send(message);
    assert.deepEqual(ann.closed, { code: 4400, reason: "not a chat message", clean: true });
  }
  const long = await server.open(`/lobby?name=${"z".repeat(65)}`);
  assert.equal(long.closed?.code, 4400);
});
