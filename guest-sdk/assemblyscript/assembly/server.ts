// What a handler asks of the server, connections aside.

import * as abi from "./abi";
import { Kind, Level, Status } from "./abi";
import { again, decode, first, result, second } from "./buffer";
import { Conn } from "./conn";
import { kindOf, lend } from "./lend";

/**
 * Sends a message to every member of a topic but one: a text message of a string or a `JsonWriter`, a binary one of a
 * `Uint8Array` or an `ArrayBuffer`, or a `Message` that has arrived; `kind` says it otherwise. A topic without members
 * is `Status.Ok`.
 */
export function publish<T>(topic: string, data: T, except: Conn = Conn.none, kind: Kind = kindOf<T>(data)): Status {
  first.set(topic);
  const d = lend(data, second);
  return abi.topicPublish(first.start, first.length, kind, d.start, d.length, except.id);
}

/** How many members a topic has on this node; 0 if the module may not ask. */
export function count(topic: string): i32 {
  first.set(topic);
  return max(0, abi.topicCount(first.start, first.length));
}

/** The time of day in milliseconds since 1970. It stands still within an event. */
export function now(): i64 { return abi.timeUnixMs(); }

/** Nanoseconds that never go back, for measuring; their zero has no meaning. They stand still within an event. */
export function uptime(): i64 { return abi.timeMonoNs(); }

/** Random bytes from the instance's own stream, at most 1 MiB. */
export function random(length: i32): Uint8Array {
  const bytes = new Uint8Array(length);
  abi.random(bytes.dataStart, length);
  return bytes;
}

/** Writes a line to the server's log, at once: it stays when the handler fails. `console` does the same. */
export function log(level: Level, text: string): void {
  first.set(text);
  abi.log(level, first.start, first.length);
}

/** Adds to a metric that the module's configuration declares. */
export function addMetric(name: string, delta: i64): Status {
  first.set(name);
  return abi.metricAdd(first.start, first.length, delta);
}

/** True if the server has the named host function, for modules that can do without it. */
export function has(name: string): bool {
  first.set(name);
  return abi.abiHas(first.start, first.length) == 1;
}

/**
 * What this instance is for: its key under the scope `key`, the connection's id in decimal under `connection`, nothing
 * under `pool` and `singleton`.
 */
export function key(): string {
  while (again(abi.instanceKey(result.start, result.capacity))) {}
  return decode(result.start, result.length);
}

/**
 * Hands the instance's state to the one that takes over, at most 1 MiB; only in `save`. The last call counts. The state
 * is a string, a `JsonWriter`, a `Uint8Array` or an `ArrayBuffer`.
 */
export function saveState<T>(state: T): Status {
  const d = lend(state, first);
  return abi.stateSave(d.start, d.length);
}
