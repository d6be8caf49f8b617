// Plays vectors.txt on fake servers that look like that of guest-sdk/js/testing/host.mjs. README.md has the words.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

/** What a word stands for; README.md has the words. */
function data(word) {
  if (word === "-") return Buffer.alloc(0);
  if (word.startsWith("x:")) return Buffer.from(word.slice(2), "hex");
  if (word.startsWith("r:")) {
    const [digits, times] = word.slice(2).split("*");
    return Buffer.concat(Array(Number(times)).fill(Buffer.from(digits, "hex")));
  }
  return Buffer.from(word);
}

/** A message as the fake has it: a string if it is text. */
const message = (kind, word) => (kind === "text" ? data(word).toString() : new Uint8Array(data(word)));

class Play {
  constructor(start, next) {
    this.start = start;
    this.next = next;
  }

  options = { deny: [], metrics: ["declared"], keepHeaders: [], route: "", key: "" };
  request = { headers: {}, protocols: [] };
  clients = {};

  async step(verb, ...args) {
    if (verb in this.settings) return this.settings[verb](...args);
    this.server ??= await this.start(this.options);
    await this.steps[verb](...args);
  }

  settings = {
    config: (word) => (this.options.config = data(word).toString()),
    deny: (capability) => {
      this.options.deny.push(capability);
      if (capability === "metrics") this.options.metrics = [];
    },
    keep: (header) => this.options.keepHeaders.push(header),
    route: (route) => (this.options.route = route),
    key: (key) => (this.options.key = key),
  };

  steps = {
    header: (name, word) => (this.request.headers[name] = data(word).toString()),
    offer: (protocol) => this.request.protocols.push(protocol),
    open: (name, target) => this.dial(name, target, 101),
    refused: (name, target, status) => this.dial(name, target, Number(status)),
    send: (name, kind, word) => this.clients[name].send(message(kind, word)),
    expect: (name, kind, ...rest) => {
      const client = this.clients[name];
      const got = client.receive();
      if (kind !== "close") return assert.deepEqual(got, message(kind, rest[0]));
      assert.equal(got, undefined);
      assert.equal(client.closed?.code, Number(rest[0]));
      if (rest.length > 1) assert.equal(client.closed.reason, data(rest[1]).toString());
    },
    silence: (only) => {
      for (const [name, client] of Object.entries(this.clients)) {
        if (only === undefined || only === name) assert.equal(client.receive(), undefined);
      }
    },
    close: (name, code, word) => this.clients[name].close(Number(code), data(word).toString()),
    abort: (name) => this.clients[name].drop(),
    advance: (millis) => this.server.advance(Number(millis)),
    drain: (millis) => this.server.drain(Number(millis)),
    replace: async () => assert.ok(await this.server.replace(this.next?.()), "the new version is not taken"),
  };

  async dial(name, target, status) {
    const response = await this.server.dial({ ...this.request, target });
    assert.equal(response.status, status);
    if (response.client) this.clients[name] = response.client;
    this.request = { headers: {}, protocols: [] };
  }
}

const scenarios = new Map();
for (const [i, line] of readFileSync(new URL("vectors.txt", import.meta.url), "utf8").split("\n").entries()) {
  if (line.startsWith("scenario ")) scenarios.set(line.slice("scenario ".length), []);
  else if (line !== "" && !line.startsWith("#")) [...scenarios.values()].at(-1).push({ at: i + 1, line });
}
assert.ok(scenarios.size > 10, "vectors.txt holds hardly anything");

/**
 * Tests the fake server that start starts, given its options, with the conformance guest of a language; next makes the
 * guest that takes over from it, if the fake cannot do that by itself.
 */
export function playVectors(start, next) {
  for (const [name, steps] of scenarios) {
    test(name, async () => {
      const play = new Play(start, next);
      for (const { at, line } of steps) {
        try {
          await play.step(...line.split(" "));
        } catch (error) {
          error.message = `vectors.txt:${at}: ${line.slice(0, 200)}: ${error.message}`;
          throw error;
        }
      }
    });
  }
}
