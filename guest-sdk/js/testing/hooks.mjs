// What Node asks when it finds and reads modules (https://nodejs.org/api/module.html#hooks).

import { spawnSync } from "node:child_process";
import { readFile } from "node:fs/promises";
import * as nodeModule from "node:module";
import { fileURLToPath } from "node:url";

const own = {
  weir: new URL("../index.mjs", import.meta.url).href,
  "weir/testing": new URL("index.mjs", import.meta.url).href,
};

export async function resolve(specifier, context, next) {
  if (specifier in own) return { url: own[specifier], shortCircuit: true };
  try {
    return await next(specifier, context);
  } catch (error) {
    // As in a bundle, the ending can be left out.
    if (error.code !== "ERR_MODULE_NOT_FOUND" || !/^\.{1,2}\//.test(specifier)) throw error;
    return next(`${specifier}.ts`, context);
  }
}

export async function load(url, context, next) {
  if (!/\.m?ts$/.test(new URL(url).pathname)) return next(url, context);
  return { format: "module", source: await withoutTypes(fileURLToPath(url)), shortCircuit: true };
}

// weir takes types away as it does when it builds. Where there is no weir in the PATH, which WEIR can name, a younger Node
// does it too.
async function withoutTypes(file) {
  const weir = process.env.WEIR ?? "weir";
  const { error, status, stdout, stderr } = spawnSync(weir, ["transpile", file], { encoding: "utf8", maxBuffer: 64 << 20 });
  if (!error && status === 0) return stdout;
  if (!error) throw new SyntaxError(stderr.trim());
  if (nodeModule.stripTypeScriptTypes) return nodeModule.stripTypeScriptTypes(await readFile(file, "utf8"));
  throw new Error(`there is no ${weir} (${error.code}), and this Node cannot read TypeScript: put weir into the PATH, or name it in WEIR`);
}
