// Tests of handlers without a server: `node --test` compiles the handler, and plays clients against it in virtual time.
//
//     const wasm = await compile(import.meta.dirname);
//
//     test("messages come back", async () => {
//       const server = await start(wasm);
//       const ann = await server.open("/");
//       await ann.send("hello");
//       assert.equal(ann.receive(), "hello");
//     });
//
// host.mjs, which plays the server, follows the rules of ABI.md with the default limits. It has one instance only: what a
// handler wrongly keeps in variables of its own goes unnoticed here, and a real server shows it.

import fs from "node:fs/promises";
import path from "node:path";
import asc from "assemblyscript/asc";

import { startWasm } from "./host.mjs";

export { Client, Server } from "./host.mjs";

/**
 * Compiles the handler in a folder, which its asconfig.json describes, and resolves to the bytes of the module. Further
 * options of the compiler may follow, such as "--debug". It rejects with what the compiler says.
 */
export async function compile(folder, ...options) {
  const baseDir = path.resolve(folder);
  let wasm;
  const { error, stderr } = await asc.main(["--baseDir", baseDir, "--config", "asconfig.json", "-o", "module.wasm", ...options], {
    readFile: (name, base) => fs.readFile(path.resolve(base, name), "utf8").catch(() => null),
    writeFile: (name, contents) => {
      if (name === "module.wasm") wasm = contents;
    },
    listFiles: () => [],
  });
  if (error) throw new Error(`${folder} does not compile\n${stderr.toString()}`, { cause: error });
  return wasm;
}

/**
 * Starts a server with a module, given its bytes, and resolves to it when the handler has taken its configuration. For the
 * options see Server.start.
 */
export const start = (wasm, options) => startWasm(wasm, options);
