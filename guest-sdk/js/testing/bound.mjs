// The host functions of native tests: those of the server whose event is being handled.

import { AsyncLocalStorage } from "node:async_hooks";

import { functions } from "../abi.mjs";

const current = new AsyncLocalStorage();

export const host = Object.fromEntries(
  Object.keys(functions).map((method) => [
    method,
    (...args) => {
      const server = current.getStore();
      if (!server) throw new Error(`${functions[method].name} was called while no event is being handled`);
      return server[method](...args);
    },
  ]),
);

/** Calls f with the functions of a server. */
export const within = (server, f) => current.run(server, f);

/** The frames of an error, without its message. */
export const stackOf = (error) => String(error.stack).split("\n").filter((line) => /^\s+at /.test(line)).join("\n");
