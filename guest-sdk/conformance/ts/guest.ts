// The conformance guest in TypeScript; ../README.md says what it does.

import {
  addMetric, Conn, count, generation, type Handler, has, HostError, key, Level, log, now, publish, random, Status, uptime,
} from "weir";

const events = "events";

type Data = Uint8Array;

/** The status of a call that may be refused. */
function status(call: () => void): string {
  try {
    call();
    return "0";
  } catch (error) {
    if (error instanceof HostError) return String(error.status);
    throw error;
  }
}

/** What a call has read, or the status of its refusal. */
function read(call: () => string | Data): string {
  let value: Data | undefined;
  const refused = status(() => (value = bytes(call())));
  return value ? `${value.length} ${word(value)}` : refused;
}

const bytes = (value: string | Data): Data => (typeof value === "string" ? new TextEncoder().encode(value) : value);

/** What a word stands for. */
function data(word: string): Data {
  if (word === "-") return new Uint8Array(0);
  if (word.startsWith("x:")) return unhex(word.slice(2));
  if (word.startsWith("r:")) {
    const [digits, times] = word.slice(2).split("*");
    return new Uint8Array(Number(times)).fill(unhex(digits)[0]);
  }
  return bytes(word);
}

/** The text that a word stands for. A string is always text: one that has no UTF-8 stands for bytes that are none. */
function text(word: string): string {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(data(word));
  } catch {
    return "\ud800";
  }
}

const message = (kind: string, word: string): string | Data => (kind === "text" ? text(word) : data(word));

/** The word that stands for bytes. */
function word(value: string | Data): string {
  const p = bytes(value);
  if (p.length === 0) return "-";
  if (p.length > 64) return `#${p.length}:${sum(p)}`;
  if (p.some((byte) => byte < 0x21 || byte > 0x7e)) return `x:${hex(p)}`;
  return String.fromCharCode(...p);
}

const sum = (p: Data): number => p.reduce((all, byte) => all + byte, 0) % 2 ** 32;

function joined(a: Data, b: Data): Data {
  const whole = new Uint8Array(a.length + b.length);
  whole.set(a);
  whole.set(b, a.length);
  return whole;
}

const hex = (p: Data): string => Array.from(p, (byte) => byte.toString(16).padStart(2, "0")).join("");

const same = (a: Data, b: Data): boolean => a.every((byte, i) => byte === b[i]);

const unhex = (digits: string): Data => Uint8Array.from(digits.match(/../g) ?? [], (pair) => parseInt(pair, 16));

/** Tells the connection, or those who listen to the module. That those may not be reached is not an error. */
function tell(conn: Conn | null, line: string): void {
  if (conn) conn.send(line);
  else status(() => publish(events, line));
}

/** A guest, with what it keeps. */
export function guest(): Handler<object> {
  let config = "";
  let kept: Data | undefined;

  /** Does a command, and returns what came of it; undefined if there is no such command. */
  function run(self: Conn, name: string, args: string[]): string | undefined {
    const conn = (word: string) => (word === "self" ? self : new Conn(word));
    const [a, b, c, d] = args;
    switch (name) {
      case "send": return status(() => conn(a).send(message(b, c)));
      case "close": return status(() => conn(a).close(Number(b), text(c)));
      case "attr": return attribute(conn(a), text(b));
      case "query": return word(self.query(a));
      case "param": return word(self.param(a));
      case "state": return read(() => conn(a).state);
      case "set": return status(() => conn(a).setState(data(b)));
      case "queued": return conn(a).queued >= 0 ? "ok" : "negative";
      case "join": return status(() => conn(a).join(text(b)));
      case "leave": return status(() => conn(a).leave(text(b)));
      case "publish": return status(() => publish(text(a), message(b, c), conn(d)));
      case "count": return String(count(text(a)));
      case "timer": return status(() => conn(a).setTimer(Number(b), Number(c), Number(d)));
      case "cancel": return status(() => conn(a).cancelTimer(Number(b)));
      case "clock": return now() === now() && uptime() === uptime() && now() > Date.UTC(2020) ? "stands" : "runs";
      case "random": return same(random(Number(a)), random(Number(a))) ? "0 old" : "0 new";
      case "log": return status(() => log(Level[a as keyof typeof Level], text(b)));
      case "metric": return status(() => addMetric(text(a), Number(b)));
      case "has": return has(text(a)) ? "1" : "0";
      case "key": return read(key);
      case "generation": return String(generation());
      case "config": return word(config);
      case "keep": kept = data(a); return "0";
      case "kept": return word(kept ?? "");
      case "trap": throw new Error("as the client asks");
    }
  }

  return {
    init(given) {
      config = JSON.stringify(given);
      if (config.includes("refuse")) throw new Error("as the configuration asks");
    },

    upgrade(request) {
      const reject = request.query("reject");
      if (reject === "fail") throw new Error("as the request asks");
      if (reject !== "") return Number(reject);
      const pick = request.query("pick");
      if (pick !== "") return status(() => request.setProtocol(pick)) === "0" ? undefined : 418;
      let state = request.query("state");
      if (request.query("uri") !== "") state = request.uri;
      const echo = request.query("echo");
      if (echo !== "") state = request.header(echo) || "none";
      const answer = request.query("answer");
      if (answer !== "") state = status(() => request.addHeader(answer, "yes"));
      if (state !== "") request.setState(state);
    },

    open(conn) {
      const how = conn.query("open");
      if (how === "fail") throw new Error("as the request asks");
      if (how === "close") conn.close(4001, "no");
      else conn.send("open");
    },

    message(conn, data) {
      if (typeof data !== "string") return conn.send(data);
      for (const line of data.split("\n")) {
        const [name, ...args] = line.split(" ");
        if (name === "fail") throw new Error("as the client asks");
        const came = run(conn, name, args);
        const answer = came === undefined ? "unknown" : `${name} ${came}`;
        if (status(() => conn.send(answer)) !== "0") tell(null, answer); // it has been closed
      }
    },

    close(conn, { code, reason, clean }) {
      tell(null, `close ${code} ${clean ? "clean" : "broken"} ${word(reason)}`);
      tell(null, `after ${status(() => conn.send("late"))}`);
    },

    timer: (conn, id) => tell(conn, `timer ${id}`),

    drain: (conn, millis) => tell(conn, `drain ${millis}`),

    save() {
      if (kept && same(bytes("refuse"), kept)) throw new Error("as the client asks");
      return kept;
    },

    restore(state, savedBy) {
      if (word(state) === "poison") throw new Error("as the client asks");
      kept = joined(state, bytes(` by ${savedBy}`));
    },
  };
}

/** An attribute, which is not found as other calls are refused. */
function attribute(conn: Conn, name: string): string {
  let value: string | undefined;
  const refused = status(() => (value = conn.attr(name)));
  if (refused !== "0") return refused;
  return value === undefined ? String(Status.notFound) : read(() => value as string);
}

export default guest();
