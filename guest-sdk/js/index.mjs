// What handlers use: connections, topics, timers, the log. index.d.ts documents it.

import { host } from "#host";
import { Kind, Level, Status, statusText } from "./abi.mjs";

export { Level, Status };

/** Codes for Conn.close. 3000 to 4999 are also allowed; 4000 to 4999 mean what client and handler agree on. */
export const CloseCode = Object.freeze({
  normal: 1000,
  goingAway: 1001,
  policy: 1008,
  failed: 1011,
  restart: 1012,
  tryLater: 1013,
});

export class HostError extends Error {
  constructor(call, status) {
    super(`${call}: ${statusText[status] ?? `status ${status}`}`);
    this.name = "HostError";
    this.call = call;
    this.status = status;
  }
}

// Throws for a negative status.
function check(call, status) {
  if (status < 0) throw new HostError(call, status);
}

// The same for calls that have nothing to do when there is nothing.
function checkFound(call, status) {
  if (status !== Status.notFound) check(call, status);
}

const kindOf = (data) => (typeof data === "string" ? Kind.text : Kind.binary);

// Strings and views of bytes pass, buffers become views.
const bytesOf = (data) => (typeof data === "string" || !(data instanceof ArrayBuffer) ? data : new Uint8Array(data));

const textOr = (value, otherwise) => (typeof value === "string" ? value : otherwise);

// Milliseconds, rounded up, so that a timer is never early; what is in the past is due now.
const millis = (ms) => BigInt(Math.ceil(Math.max(0, ms)));

let idOf;

export class Conn {
  #id;

  static {
    idOf = (conn) => conn.#id;
  }

  constructor(id) {
    this.#id = typeof id === "bigint" ? id : BigInt(id);
  }

  get id() {
    return this.#id.toString();
  }

  send(data) {
    const status = host.connSend(this.#id, typeof data === "string" ? Kind.text : Kind.binary, bytesOf(data));
    if (status < 0) check("conn_send", status);
  }

  close(code = CloseCode.normal, reason = "") {
    check("conn_close", host.connClose(this.#id, code, reason));
  }

  get queued() {
    return Math.max(0, Number(host.connQueued(this.#id)));
  }

  join(topic) {
    check("topic_join", host.topicJoin(this.#id, topic));
  }

  leave(topic) {
    checkFound("topic_leave", host.topicLeave(this.#id, topic));
  }

  attr(name) {
    const value = host.connAttr(this.#id, name);
    if (typeof value !== "string") checkFound("conn_attr", value);
    return textOr(value, undefined);
  }

  get remoteAddr() {
    return textOr(host.connAttr(this.#id, "remote_addr"), "");
  }

  get path() {
    return textOr(host.connAttr(this.#id, "path"), "");
  }

  get rawQuery() {
    return textOr(host.connAttr(this.#id, "query"), "");
  }

  query(name) {
    return queryValue(this.rawQuery, name);
  }

  param(name) {
    const sent = textOr(host.connAttr(this.#id, `param:${name}`), "");
    return unescape(sent) ?? sent;
  }

  header(name) {
    return textOr(host.connAttr(this.#id, `header:${name}`), "");
  }

  get protocol() {
    return textOr(host.connAttr(this.#id, "protocol"), "");
  }

  get state() {
    const state = host.connStateGet(this.#id);
    if (typeof state === "number") check("conn_state_get", state);
    return state;
  }

  get stateText() {
    return new TextDecoder().decode(this.state);
  }

  setState(state) {
    check("conn_state_set", host.connStateSet(this.#id, bytesOf(state)));
  }

  after(id, ms) {
    setTimerOf(this.#id, id, ms, 0);
  }

  every(id, ms) {
    setTimerOf(this.#id, id, ms, ms);
  }

  setTimer(id, afterMs, everyMs = 0) {
    setTimerOf(this.#id, id, afterMs, everyMs);
  }

  cancelTimer(id) {
    checkFound("timer_cancel", host.timerCancel(this.#id, BigInt(id)));
  }
}

export class Upgrade {
  constructor(conn) {
    this.conn = conn;
  }

  get uri() {
    return textOr(host.upgradeURI(), "");
  }

  get path() {
    return this.conn.path;
  }

  query(name) {
    return this.conn.query(name);
  }

  param(name) {
    return this.conn.param(name);
  }

  get remoteAddr() {
    return this.conn.remoteAddr;
  }

  header(name) {
    return textOr(host.upgradeHeader(name), "");
  }

  get protocols() {
    return this.header("Sec-WebSocket-Protocol").split(",").map((name) => name.trim()).filter(Boolean);
  }

  setProtocol(name) {
    check("upgrade_protocol", host.upgradeProtocol(name));
  }

  addHeader(name, value) {
    check("upgrade_respond_header", host.upgradeRespondHeader(name, value));
  }

  setState(state) {
    this.conn.setState(state);
  }
}

export function publish(topic, data, except) {
  const id = except ? idOf(except) : 0n;
  check("topic_publish", host.topicPublish(topic, kindOf(data), bytesOf(data), id));
}

export function count(topic) {
  return Math.max(0, host.topicCount(topic));
}

export function after(id, ms) {
  setTimerOf(0n, id, ms, 0);
}

export function every(id, ms) {
  setTimerOf(0n, id, ms, ms);
}

export function setTimer(id, afterMs, everyMs = 0) {
  setTimerOf(0n, id, afterMs, everyMs);
}

export function cancelTimer(id) {
  checkFound("timer_cancel", host.timerCancel(0n, BigInt(id)));
}

function setTimerOf(conn, id, afterMs, everyMs) {
  check("timer_set", host.timerSet(conn, BigInt(id), millis(afterMs), millis(everyMs)));
}

export function key() {
  return textOr(host.instanceKey(), "");
}

/** What the init event has said. */
export const instance = { generation: 0 };

export function generation() {
  return instance.generation;
}

export function now() {
  return Number(host.timeUnixMs());
}

export function uptime() {
  return Number(host.timeMonoNs()) / 1e6;
}

export function random(size) {
  const bytes = host.random(size);
  if (typeof bytes === "number") check("random", bytes);
  return bytes;
}

export function log(level, text) {
  checkLimit(host.log(level, String(text)));
}

// A line above the server's rate is dropped, and that is no error.
function checkLimit(status) {
  if (status !== Status.tooMany) check("log", status);
}

export function addMetric(name, delta = 1) {
  check("metric_add", host.metricAdd(name, BigInt(delta)));
}

export function has(name) {
  return host.abiHas(name) === 1;
}

// The first value of a parameter of a query, decoded; pairs that are badly encoded are skipped.
function queryValue(query, name) {
  for (const pair of query.split("&")) {
    if (pair.includes(";")) continue;
    const equals = pair.indexOf("=");
    const key = equals < 0 ? pair : pair.slice(0, equals);
    if (unescape(key.replaceAll("+", " ")) !== name) continue;
    const value = unescape(equals < 0 ? "" : pair.slice(equals + 1).replaceAll("+", " "));
    if (value !== undefined) return value;
  }
  return "";
}

// Decodes %20; undefined if a per cent sign is not followed by two hexadecimal digits. Bytes that are not UTF-8 become
// U+FFFD, where decodeURIComponent would throw.
function unescape(text) {
  if (!text.includes("%")) return text;
  if (/%(?![0-9a-fA-F]{2})/.test(text)) return undefined;
  return text.replace(/(?:%[0-9a-fA-F]{2})+/g, (run) =>
    new TextDecoder("utf-8", { ignoreBOM: true }).decode(Uint8Array.from(run.slice(1).split("%"), (hex) => parseInt(hex, 16))),
  );
}
