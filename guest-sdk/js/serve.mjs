// From events to a handler's functions. The sandbox and the native tests share it.

import { host, stackOf } from "#host";
import { Event, Level } from "./abi.mjs";
import { Conn, HostError, instance, Upgrade } from "./index.mjs";

const cleanBit = 1 << 16;

// The names of events, and those of their functions.
const kinds = Object.keys(Event);
const names = ["init", "upgrade", "open", "message", "message", "close", "timer", "drain", "save", "restore"];

/**
 * The functions that handle a handler's events: by event (conn, arg, payload) → what the handler has returned, perhaps a
 * promise. There are none for events that it does not want. Init is always there, for the generation.
 */
export function eventsOf(handler) {
  if (handler === null || typeof handler !== "object") {
    throw new TypeError("the module must export its handler: export default { message(conn, data) { … } }");
  }
  const unknown = Object.keys(handler).filter((name) => !names.includes(name));
  if (unknown.length > 0) {
    throw new TypeError(`the handler has ${unknown.join(", ")}, and the events are ${[...new Set(names)].join(", ")}`);
  }
  const message = (id, _, data) => handler.message(new Conn(id), data);
  const conn = (id) => (id === 0n ? null : new Conn(id));
  const all = {
    init(_, generation, config) {
      instance.generation = generation;
      return handler.init?.(JSON.parse(config), generation);
    },
    upgrade: (id) => handler.upgrade(new Upgrade(new Conn(id))),
    open: (id) => handler.open(new Conn(id)),
    text: message,
    binary: message,
    close: (id, arg, reason) =>
      handler.close(new Conn(id), { code: arg & ~cleanBit, reason, clean: (arg & cleanBit) !== 0 }),
    timer: (id, timer) => handler.timer(conn(id), timer),
    drain: (id, millis) => handler.drain(conn(id), millis),
    save: () => handler.save(),
    restore: (_, savedBy, state) => handler.restore(state, savedBy),
  };
  return names.map((name, event) => (event === Event.init || handler[name] ? all[kinds[event]] : undefined));
}

/** The status that a handler's result means: 0 commits. */
export function statusOf(event, result) {
  if (event === Event.upgrade && result !== undefined) return Number(result) || failed(event, new TypeError(`${result} is no HTTP status`));
  if (event === Event.save && result !== undefined && result !== null) {
    const status = host.stateSave(result instanceof ArrayBuffer ? new Uint8Array(result) : result);
    if (status < 0) return failed(event, new HostError("state_save", status));
  }
  return 0;
}

/** Logs what a handler has thrown, and returns the status of its failure. Without an event it was the script itself. */
export function failed(event, thrown) {
  const where = names[event] ?? "the script";
  host.log(Level.error, `${where}: ${describe(thrown)}`);
  return event === Event.upgrade ? 500 : 1;
}

/** What is logged of something that was thrown: its message, and where it came from. */
export function describe(error) {
  if (!(error instanceof Error)) return `thrown: ${text(error)}`;
  const cause = error.cause === undefined ? "" : `\ncaused by ${describe(error.cause)}`;
  return `${error.name}: ${error.message}\n${stackOf(error)}${cause}`.trimEnd();
}

/** A value as text: strings as they are, others as JSON, or else in their own words. */
export function text(value) {
  if (typeof value === "string") return value;
  try {
    return JSON.stringify(value) ?? String(value);
  } catch {
    return String(value);
  }
}
