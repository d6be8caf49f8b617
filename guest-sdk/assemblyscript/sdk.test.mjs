// What the SDK refuses when a handler is compiled, and what it says when one fails.
import assert from "node:assert/strict";
import { mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { after, test } from "node:test";
import { compile, start } from "weir-assemblyscript/testing";

const folder = await mkdtemp(path.join(os.tmpdir(), "weir-assemblyscript-"));
after(() => rm(folder, { recursive: true }));
await symlink(path.join(import.meta.dirname, "../../node_modules"), path.join(folder, "node_modules"));
await writeFile(
  path.join(folder, "asconfig.json"),
  JSON.stringify({ extends: "weir-assemblyscript/asconfig.json", entries: ["handler.ts"] }),
);

/** Compiles a handler. */
async function handler(text) {
  await writeFile(path.join(folder, "handler.ts"), `import * as weir from "weir-assemblyscript";\n${text}\n`);
  return compile(folder, "--optimizeLevel", "0"); // quick
}

const imports = async (wasm) => WebAssembly.Module.imports(await WebAssembly.compile(wasm)).map((i) => `${i.module}.${i.name}`);

for (const [name, text, want] of [
  ["a method without its interface", "class H { open(c: weir.Conn): weir.Status { return 0; } } weir.serve(new H());", /open implements OnOpen/],
  ["an interface without its method", "class H implements weir.OnOpen { opened(c: weir.Conn): weir.Status { return 0; } } weir.serve(new H());", /OnOpen/],
  ["a message of something else", "class H implements weir.OnOpen { open(c: weir.Conn): weir.Status { return c.send(5); } } weir.serve(new H());", /takes a string/],
]) {
  test(`${name} does not compile`, () => assert.rejects(handler(text), (error) => want.test(error.message)));
}

test("a module imports what it uses, from the server only", async () => {
  const wasm = await handler("class H implements weir.OnMessage { message(c: weir.Conn, m: weir.Message): weir.Status { return c.send(m); } } weir.serve(new H());");
  assert.deepEqual((await imports(wasm)).sort(), ["weir_1.conn_send", "weir_1.log"]);
});

test("connections are the same by their ids", async () => {
  const wasm = await handler(`
    class H implements weir.OnOpen {
      open(c: weir.Conn): weir.Status {
        const same = new weir.Conn(c.id), other = new weir.Conn(c.id + 1);
        return c.send(same == c && !(same != c) && other != c && !(other == c) && c != weir.Conn.none && weir.Conn.none.isNone ? "yes" : "no");
      }
    }
    weir.serve(new H());`);
  assert.equal((await (await start(wasm)).open("/")).receive(), "yes");
});

test("what the language expects of JavaScript comes from the server", async () => {
  const wasm = await handler(`
    class H implements weir.OnOpen {
      open(c: weir.Conn): weir.Status {
        console.warn("careful");
        trace("numbers", 2, 1, 2.5);
        return c.send(Math.random() != Math.random() ? "chance" : "none");
      }
    }
    weir.serve(new H());`);
  for (const name of await imports(wasm)) assert.match(name, /^weir_1\./);
  const server = await start(wasm);
  const ann = await server.open("/");
  assert.equal(ann.receive(), "chance");
  assert.deepEqual(server.logs(), ["warn careful", "debug numbers 1.0 2.5"]);
});

test("a result that is not ok is logged and undoes the event", async () => {
  const wasm = await handler(`
    class H implements weir.OnMessage, weir.OnUpgrade {
      upgrade(u: weir.Upgrade): i32 { return u.conn.query("status") == "" ? 0 : i32.parse(u.conn.query("status")); }
      message(c: weir.Conn, m: weir.Message): weir.Status {
        c.send("lost");
        return m.text() == "bad" ? c.join("") : 7;
      }
    }
    weir.serve(new H());`);
  const server = await start(wasm);
  for (const text of ["bad", "seven"]) {
    const ann = await server.open("/");
    await ann.send(text);
    assert.equal(ann.receive(), undefined);
    assert.equal(ann.closed.code, 1011);
  }
  assert.equal((await server.dial({ target: "/?status=403" })).status, 403);
  assert.equal((await server.dial({ target: "/?status=7" })).status, 500);
  assert.deepEqual(server.logs(), ["error text: invalid argument", "error text: 7", "error upgrade: 7"]);
});

test("what a handler does wrong is logged with its place, and stops it", async () => {
  const wasm = await handler(`
    class H implements weir.OnMessage {
      message(c: weir.Conn, m: weir.Message): weir.Status {
        if (m.text() == "throw") throw new Error("as the client asks");
        return c.send([1, 2, 3][m.length].toString());
      }
    }
    weir.serve(new H());`);
  for (const [text, said] of [
    ["throw", /^error as the client asks at handler\.ts:5:\d+$/],
    ["far beyond", /^error Index out of range at ~lib\/array\.ts:\d+:\d+$/],
  ]) {
    const server = await start(wasm);
    const ann = await server.open("/");
    await assert.rejects(ann.send(text), WebAssembly.RuntimeError);
    assert.match(server.logs()[0], said);
  }
});

test("a state goes on to the next version", async () => {
  const wasm = await handler(`
    let visits: i64 = 0;
    class H implements weir.OnOpen, weir.OnSave, weir.OnRestore {
      open(c: weir.Conn): weir.Status { return c.send((++visits).toString() + " in " + weir.key() + " of " + weir.generation().toString()); }
      save(): weir.Status { return weir.saveState(visits.toString()); }
      restore(state: weir.Payload, savedBy: i64): weir.Status {
        visits = i64.parse(state.text()) + 100 * savedBy;
        return weir.Status.Ok;
      }
    }
    weir.serve(new H());`);
  const server = await start(wasm, { key: "lobby" });
  assert.equal((await server.open("/")).receive(), "1 in lobby of 1");
  assert.equal(await server.replace(), true);
  assert.equal((await server.open("/")).receive(), "102 in lobby of 2");
});
