// The server, played in memory and in virtual time: connections, topics, timers, state, and effects that are all or
// nothing. It follows ABI.md with the default limits, and needs nothing but JavaScript.
//
// A guest is an object { handles, event }: handles is the set of events that it wants (a bigint, bit n = event n), and
// event(event, conn, arg, payload) handles one and returns its status, or a promise of it. conn and arg are bigints. The
// payload is a string for text messages, reasons and configurations, and a Uint8Array otherwise. While it runs the guest
// calls server.host, whose methods are the host functions. startWasm makes a guest of a WebAssembly module.

import { Event, Kind, Level, Status, functions, statusText } from "../abi.mjs";

// The limits of a real server, at their defaults.
const maxStateBytes = 16 << 10;
const maxSavedBytes = 1 << 20;
const maxReasonBytes = 123;
const maxTopicBytes = 255;
const maxTopicsPerConn = 128;
const maxTimersPerConn = 64;
const maxTimers = 10_000;
const minTimerMillis = 10;
const maxTimerMillis = 10 * 365 * 24 * 3600 * 1000;
const maxMessageBytes = 1 << 20;
const maxQueueBytes = 1 << 20;
const maxRandomBytes = 1 << 20;
const maxEffects = 1000; // per event

const cleanBit = 1n << 16n;

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** The bytes of a string, or the bytes themselves. */
export const bytesOf = (data) => (typeof data === "string" ? encoder.encode(data) : data);

/** The string that bytes are, or the string itself; null unless it is UTF-8. */
export function textOf(data) {
  if (typeof data === "string") return data.isWellFormed() ? data : null;
  try {
    return decoder.decode(data);
  } catch {
    return null;
  }
}

const sizeOf = (data) => (typeof data === "string" ? Buffer.byteLength(data) : data.length);

/**
 * A server with one instance of a guest.
 *
 * Its methods deliver events, and resolve when they have been handled: await each before the next, since events of an
 * instance never overlap.
 */
export class Server {
  /** The host functions, for the guest. */
  host = new Host(this);

  // What follows belongs to this module.
  conns = new Map(); // by id; a connection stays in it through its close event
  topics = new Map(); // name → set of ids
  timers = new Map(); // "conn/id" → { conn, id, due, every, order }
  metrics = new Map();
  lines = [];
  lastConn = 0n;
  timersSet = 0; // so that timers that are due together fire in the order they were set
  generation = 1n;

  // The event that runs.
  event = -1;
  request = null; // of an upgrade event: { conn, target, headers, protocols, protocol, added }
  undo = []; // takes back what the event did, last first
  effects = 0;
  saved = null;

  /** Use Server.start. */
  constructor(guest, options = {}) {
    this.guest = guest;
    this.options = { route: "", config: {}, keepHeaders: [], deny: [], metrics: [], key: "", seed: 0, ...options };
    this.start = Number(this.options.start ?? Date.UTC(2026, 0, 1));
    this.now = this.start;
    this.random = randomStream(this.options.seed);
    this.forGuest = typeof this.options.config === "string" ? this.options.config : JSON.stringify(this.options.config);
  }

  /**
   * Starts a server and delivers the init event. It rejects if the guest refuses its configuration.
   *
   * Options: route (a pattern such as /chat/{room}; empty takes every path), config (handed to the guest as JSON),
   * keepHeaders (request headers that can be read after the upgrade), deny (capabilities that are not granted: topics,
   * timers), metrics (names that the configuration declares), key (what the instance is for), start (the time at which
   * the test begins, a Date or milliseconds), seed (of the random stream).
   */
  static async start(guest, options) {
    return new this(guest, options).init();
  }

  async init() {
    if ((await this.run(Event.init, 0n, this.generation, this.forGuest)) !== 0) {
      throw new Error(`the handler refuses its configuration: ${this.lines.join("; ")}`);
    }
    return this;
  }

  /** Connects a client to a target such as /chat/lobby?name=ann. It rejects if the client is turned away. */
  async open(target = "/") {
    const { client, status } = await this.dial({ target });
    if (!client) throw new Error(`open ${target}: rejected with ${status}`);
    return client;
  }

  /**
   * Sends a request { target, headers, protocols, remoteAddr } and resolves to the response { status, protocol,
   * headers, client }; there is no client if it is rejected.
   */
  async dial({ target = "/", headers = {}, protocols = [], remoteAddr = "192.0.2.1:1234" } = {}) {
    const params = match(this.options.route, target);
    if (!params) return { status: 404, protocol: "", headers: [] };

    const sent = new Map(Object.entries(headers).map(([name, value]) => [name.toLowerCase(), [value].flat().join(", ")]));
    if (protocols.length > 0) sent.set("sec-websocket-protocol", protocols.join(", "));
    const mark = target.indexOf("?");
    const attributes = new Map([
      ["remote_addr", remoteAddr],
      ["path", mark < 0 ? target : target.slice(0, mark)],
      ["query", mark < 0 ? "" : target.slice(mark + 1)],
    ]);
    for (const [name, value] of params) attributes.set(`param:${name}`, value);
    for (const name of this.options.keepHeaders) {
      const value = sent.get(name.toLowerCase());
      if (value !== undefined) attributes.set(`header:${name.toLowerCase()}`, value);
    }

    const client = new Client(this, ++this.lastConn, attributes);
    const request = { conn: client.id, target, headers: sent, protocols, protocol: "", added: [] };
    this.conns.set(client.id, client);
    if (this.wants(Event.upgrade)) {
      this.request = request;
      let status = await this.run(Event.upgrade, client.id, 0n, "");
      this.request = null;
      if (status !== 0) {
        this.conns.delete(client.id);
        if (status < 400 || status > 599) status = 500;
        return { status, protocol: "", headers: request.added };
      }
    }
    attributes.set("protocol", request.protocol);
    await this.deliver(Event.open, client);
    return { status: 101, protocol: request.protocol, headers: request.added, client };
  }

  /** Lets milliseconds pass. Timers that come due fire in their order, each at its own time. */
  async advance(millis) {
    const until = this.now + millis;
    for (let next; (next = this.nextTimer()) && next.due <= until; ) {
      this.now = Math.max(this.now, next.due);
      if (next.every > 0) next.due += next.every;
      else this.timers.delete(timerKey(next.conn, next.id));
      await this.deliver(Event.timer, this.conns.get(next.conn), next.id);
    }
    this.now = until;
  }

  nextTimer() {
    let next;
    for (const t of this.timers.values()) {
      if (!next || t.due < next.due || (t.due === next.due && t.order < next.order)) next = t;
    }
    return next;
  }

  /** Announces to each connection and to the module that the server goes down in so many milliseconds. */
  async drain(millis) {
    for (const client of [...this.conns.values()]) await this.deliver(Event.drain, client, BigInt(millis));
    await this.deliver(Event.drain, undefined, BigInt(millis));
  }

  /**
   * Plays what happens to an instance of the scope connection, key or singleton when a new version of its module comes:
   * the save event, then init and restore in another guest, the same one if none is given. It resolves to whether the
   * new version was taken.
   */
  async replace(guest = this.guest) {
    const before = this.guest;
    this.saved = null;
    if (this.wants(Event.save) && (await this.run(Event.save, 0n, this.generation, "")) !== 0) return false;
    this.guest = guest;
    const taken =
      (await this.run(Event.init, 0n, this.generation + 1n, this.forGuest)) === 0 &&
      (this.saved === null ||
        (this.wants(Event.restore) && (await this.run(Event.restore, 0n, this.generation, this.saved)) === 0));
    if (taken) this.generation++;
    else this.guest = before;
    return taken;
  }

  /** How many connections are in a topic. */
  members(topic) {
    return this.topics.get(topic)?.size ?? 0;
  }

  /** What has been added to a metric. */
  metric(name) {
    return this.metrics.get(name) ?? 0n;
  }

  /** The lines logged so far, "level text" each, which are then forgotten. */
  logs() {
    return this.lines.splice(0);
  }

  wants(event) {
    return (this.guest.handles & (1n << BigInt(event))) !== 0n;
  }

  // Runs an event of a connection, or of the module without one, and closes what asked for it or failed.
  async deliver(event, client, arg = 0n, payload = "") {
    if (this.wants(event)) {
      const status = await this.run(event, client?.id ?? 0n, arg, payload);
      if (status !== 0 && client && event !== Event.close) client.leave(1011, "handler failed", true);
    }
    for (const client of [...this.conns.values()]) if (client.closing) await this.gone(client);
  }

  // Takes a connection off the books, and tells the guest.
  async gone(client) {
    for (const members of this.topics.values()) members.delete(client.id);
    for (const [key, t] of this.timers) if (t.conn === client.id) this.timers.delete(key);
    client.closing = false; // the close event finds it still there
    client.left = true;
    const { code, reason, clean } = client.end;
    await this.deliver(Event.close, client, BigInt(code) | (clean ? cleanBit : 0n), reason);
    this.conns.delete(client.id);
  }

  // Delivers one event, and takes everything back if the guest does not return 0.
  async run(event, conn, arg, payload) {
    if (this.event >= 0) throw new Error("an event is being handled: await what caused it before you go on");
    this.event = event;
    this.undo = [];
    this.effects = 0;
    let status = 1;
    try {
      status = await this.guest.event(event, conn, arg, payload);
    } finally {
      if (status !== 0) while (this.undo.length > 0) this.undo.pop()();
      this.event = -1;
    }
    return status;
  }
}

/** One connection, seen from its far end. */
export class Client {
  inbox = [];
  queued = 0; // bytes that arrived while it was paused
  paused = false; // reads nothing
  closing = false; // a close was asked for
  left = false; // the close event runs, or has run
  end = undefined; // how: { code, reason, clean }
  state = new Uint8Array(0);

  constructor(server, id, attributes) {
    this.server = server;
    /** What the host calls the connection: a bigint. */
    this.id = id;
    this.attributes = attributes;
  }

  /** Sends a message to the guest: text if it is a string. */
  async send(data) {
    if (this.left) throw new Error(`send on a connection that was closed with ${this.end.code} ${this.end.reason}`);
    if (typeof data === "string") await this.server.deliver(Event.text, this, 0n, data);
    else await this.server.deliver(Event.binary, this, 0n, Uint8Array.from(data));
  }

  /** Takes the oldest message that was not taken yet, a string or a Uint8Array; undefined if there is none. */
  receive() {
    return this.paused ? undefined : this.inbox.shift();
  }

  /** Closes the connection from the client's side, with close frames both ways. */
  async close(code = 1000, reason = "") {
    await this.hangUp(code, reason, true);
  }

  /** Breaks the connection. */
  async drop() {
    await this.hangUp(1006, "", false);
  }

  /** Makes the client stop reading: what is sent to it waits in its queue, until that is full. */
  pause() {
    this.paused = true;
  }

  /** Makes the client read again what has waited. */
  resume() {
    this.paused = false;
    this.queued = 0;
  }

  /** How the connection ended, { code, reason, clean }; undefined while it is open. */
  get closed() {
    return this.left ? this.end : undefined;
  }

  async hangUp(code, reason, clean) {
    if (this.left) return;
    this.leave(code, reason, clean);
    await this.server.gone(this);
  }

  leave(code, reason, clean) {
    this.closing = true;
    this.end = { code, reason, clean };
  }

  full(more) {
    return this.paused && this.queued + more > maxQueueBytes;
  }
}

/**
 * The host functions of a Server, named as abi.mjs names them.
 *
 * Connections and timer ids are bigints, names and messages strings or Uint8Arrays. A result is a status, a count or a
 * bigint; functions that write a result return it instead, a string or a Uint8Array, or a negative status. Each effect is
 * done at once, for the same event to see, and noted in undo.
 */
export class Host {
  constructor(server) {
    this.server = server;
  }

  // Finds a connection that the event may do something about; a status if there is none.
  reach(conn) {
    const { conns, event, request } = this.server;
    const client = conns.get(conn);
    if (!client) return Status.unknownConnection;
    if (event === Event.close || request?.conn === conn) return Status.denied;
    return client;
  }

  // Finds a connection that can be sent to, and counts the effect; a status if there is none.
  open(conn) {
    const client = this.reach(conn);
    if (typeof client === "number") return client;
    if (client.closing) return Status.closed;
    return this.effect() || client;
  }

  // Counts one effect of the event.
  effect() {
    const { server } = this;
    if (server.event === Event.save || server.event === Event.restore) return Status.denied;
    return ++server.effects > maxEffects ? Status.tooMany : Status.ok;
  }

  onRollback(f) {
    this.server.undo.push(f);
  }

  granted(capability) {
    return !this.server.options.deny.includes(capability);
  }

  // The topic's name; a status if it is none, or if topics are not granted.
  topic(name) {
    if (!this.granted("topics")) return Status.denied;
    const text = textOf(name);
    const size = sizeOf(name);
    return text === null || size === 0 || size > maxTopicBytes ? Status.invalid : text;
  }

  // A message as its receiver will get it; a status if there is something wrong with it.
  message(kind, data) {
    if (kind !== Kind.text && kind !== Kind.binary) return Status.invalid;
    const message = kind === Kind.text ? textOf(data) : Uint8Array.from(bytesOf(data));
    if (message === null) return Status.invalid;
    return sizeOf(data) > maxMessageBytes ? Status.tooBig : message;
  }

  give(client, message) {
    const { inbox, queued } = client;
    this.onRollback(() => Object.assign(client, { inbox, queued }));
    client.inbox = [...inbox, message];
    if (client.paused) client.queued += sizeOf(message);
  }

  connSend(conn, kind, data) {
    const message = this.message(kind, data);
    if (typeof message === "number") return message;
    const client = this.open(conn);
    if (typeof client === "number") return client;
    if (client.full(sizeOf(message))) return Status.queueFull;
    this.give(client, message);
    return Status.ok;
  }

  connClose(conn, code, reason) {
    const allowed =
      [1000, 1001, 1008].includes(code) || (code >= 1011 && code <= 1013) || (code >= 3000 && code <= 4999);
    if (!allowed) return Status.invalid;
    if (sizeOf(reason) > maxReasonBytes) return Status.tooBig;
    const text = textOf(reason);
    if (text === null) return Status.invalid;
    const client = this.open(conn);
    if (typeof client === "number") return client;
    this.onRollback(() => (client.closing = false));
    client.leave(code, text, true);
    return Status.ok;
  }

  connAttr(conn, name) {
    const client = this.server.conns.get(conn);
    if (!client) return Status.unknownConnection;
    const text = textOf(name) ?? "";
    return client.attributes.get(text.startsWith("header:") ? text.toLowerCase() : text) ?? Status.notFound;
  }

  connStateGet(conn) {
    return this.server.conns.get(conn)?.state.slice() ?? Status.unknownConnection;
  }

  connStateSet(conn, state) {
    const client = this.server.conns.get(conn);
    if (!client) return Status.unknownConnection;
    if (sizeOf(state) > maxStateBytes) return Status.tooBig;
    const status = this.effect();
    if (status !== Status.ok) return status;
    const before = client.state;
    this.onRollback(() => (client.state = before));
    client.state = Uint8Array.from(bytesOf(state));
    return Status.ok;
  }

  connQueued(conn) {
    return BigInt(this.server.conns.get(conn)?.queued ?? Status.unknownConnection);
  }

  topicJoin(conn, name) {
    const topic = this.topic(name);
    if (typeof topic === "number") return topic;
    const client = this.open(conn);
    if (typeof client === "number") return client;
    const { topics } = this.server;
    const members = topics.get(topic) ?? new Set();
    if (members.has(conn)) return Status.ok;
    if ([...topics.values()].filter((m) => m.has(conn)).length >= maxTopicsPerConn) return Status.tooMany;
    topics.set(topic, members.add(conn));
    this.onRollback(() => members.delete(conn));
    return Status.ok;
  }

  topicLeave(conn, name) {
    const topic = this.topic(name);
    if (typeof topic === "number") return topic;
    const client = this.reach(conn);
    if (typeof client === "number") return client;
    const members = this.server.topics.get(topic);
    if (!members?.has(conn)) return Status.notFound;
    const status = this.effect();
    if (status !== Status.ok) return status;
    members.delete(conn);
    this.onRollback(() => members.add(conn));
    return Status.ok;
  }

  topicPublish(name, kind, data, except) {
    const topic = this.topic(name);
    if (typeof topic === "number") return topic;
    const message = this.message(kind, data);
    if (typeof message === "number") return message;
    const status = this.effect();
    if (status !== Status.ok) return status;
    for (const id of this.server.topics.get(topic) ?? []) {
      const client = this.server.conns.get(id);
      if (!client || id === except || client.closing) continue;
      if (client.full(sizeOf(message))) {
        this.onRollback(() => (client.closing = false));
        client.leave(1013, "reads too slowly", true);
      } else {
        this.give(client, message);
      }
    }
    return Status.ok;
  }

  topicCount(name) {
    const topic = this.topic(name);
    return typeof topic === "number" ? topic : this.server.members(topic);
  }

  // Checks whose timer it is.
  timerOwner(conn) {
    if (!this.granted("timers")) return Status.denied;
    if (conn !== 0n) {
      const client = this.reach(conn);
      return typeof client === "number" ? client : Status.ok;
    }
    return this.server.event === Event.close ? Status.denied : Status.ok;
  }

  timerSet(conn, id, afterMs, everyMs) {
    const after = Number(afterMs);
    const every = Number(everyMs);
    if (after < 0 || every < 0 || after > maxTimerMillis || every > maxTimerMillis) return Status.invalid;
    const { conns, now, timers } = this.server;
    let status = this.timerOwner(conn);
    if (status === Status.ok && conns.get(conn)?.closing) status = Status.closed;
    if (status === Status.ok) status = this.effect();
    if (status !== Status.ok) return status;
    const key = timerKey(conn, id);
    const before = timers.get(key);
    if (!before) {
      const own = [...timers.values()].filter((t) => t.conn === conn).length;
      if (timers.size >= maxTimers || (conn !== 0n && own >= maxTimersPerConn)) return Status.tooMany;
    }
    this.onRollback(() => (before ? timers.set(key, before) : timers.delete(key)));
    timers.set(key, {
      conn,
      id,
      due: now + Math.max(minTimerMillis, after),
      every: every > 0 ? Math.max(minTimerMillis, every) : 0,
      order: ++this.server.timersSet,
    });
    return Status.ok;
  }

  timerCancel(conn, id) {
    let status = this.timerOwner(conn);
    if (status !== Status.ok) return status;
    const { timers } = this.server;
    const key = timerKey(conn, id);
    const before = timers.get(key);
    if (!before) return Status.notFound;
    status = this.effect();
    if (status !== Status.ok) return status;
    timers.delete(key);
    this.onRollback(() => timers.set(key, before));
    return Status.ok;
  }

  timeUnixMs() {
    return BigInt(Math.floor(this.server.now));
  }

  timeMonoNs() {
    return BigInt(Math.floor((this.server.now - this.server.start) * 1e6));
  }

  // Returns so many random bytes, or a status.
  random(size) {
    if (size > maxRandomBytes) return Status.tooBig;
    return Uint8Array.from({ length: size }, this.server.random);
  }

  log(level, text) {
    const name = Object.keys(Level).find((name) => Level[name] === level);
    if (name === undefined) return Status.invalid;
    this.server.lines.push(`${name} ${typeof text === "string" ? text : new TextDecoder().decode(text)}`);
    return Status.ok;
  }

  metricAdd(name, delta) {
    const { metrics, options } = this.server;
    const text = textOf(name) ?? "";
    if (options.metrics.length === 0) return Status.denied;
    if (!options.metrics.includes(text)) return Status.notFound;
    const status = this.effect();
    if (status !== Status.ok) return status;
    const before = this.server.metric(text);
    metrics.set(text, before + BigInt(delta));
    this.onRollback(() => metrics.set(text, before));
    return Status.ok;
  }

  abiHas(name) {
    const text = textOf(name);
    return Object.values(functions).some((f) => f.name === text) ? 1 : 0;
  }

  upgradeURI() {
    return this.server.request?.target ?? Status.unavailable;
  }

  upgradeHeader(name) {
    const { request } = this.server;
    if (!request) return Status.unavailable;
    return request.headers.get((textOf(name) ?? "").toLowerCase()) ?? Status.notFound;
  }

  upgradeProtocol(name) {
    const { request } = this.server;
    const text = textOf(name);
    if (!request) return Status.unavailable;
    if (!isToken(text)) return Status.invalid;
    if (!request.protocols.includes(text)) return Status.notFound;
    request.protocol = text;
    return Status.ok;
  }

  upgradeRespondHeader(name, value) {
    const { request } = this.server;
    if (!request) return Status.unavailable;
    const text = textOf(name);
    const content = textOf(value);
    if (!isToken(text) || content === null || /[\x00-\x08\x0a-\x1f\x7f]/.test(content)) return Status.invalid;
    if (/^(sec-websocket-.*|connection|upgrade|content-length|transfer-encoding)$/i.test(text)) return Status.denied;
    request.added.push([text, content]);
    return Status.ok;
  }

  stateSave(data) {
    if (this.server.event !== Event.save) return Status.unavailable;
    if (sizeOf(data) > maxSavedBytes) return Status.tooBig;
    this.server.saved = Uint8Array.from(bytesOf(data));
    return Status.ok;
  }

  instanceKey() {
    return this.server.options.key;
  }
}

/** Server.start for a WebAssembly module that exports ABI 1, given its bytes and what else it imports. */
export async function startWasm(bytes, options, imports = {}) {
  const server = new WasmServer(bytes, options, imports);
  server.guest = await wasmGuest(server.host, bytes, imports);
  return server.init();
}

class WasmServer extends Server {
  constructor(bytes, options, imports) {
    super(null, options);
    this.bytes = bytes;
    this.imports = imports;
  }

  /** Server.replace with the bytes of a module, of which it makes an instance; the same module if none are given. */
  async replace(bytes = this.bytes) {
    return super.replace(await wasmGuest(this.host, bytes, this.imports));
  }
}

/** Makes a guest of a WebAssembly module, which calls the functions of host. */
export async function wasmGuest(host, bytes, imports = {}) {
  let exports;
  const memory = () => exports.memory.buffer;
  const { instance } = await WebAssembly.instantiate(bytes, { ...imports, weir_1: wasmImports(host, memory) });
  exports = instance.exports;
  exports._initialize?.();
  let inbound = 0;
  let capacity = -1;
  return {
    handles: BigInt.asUintN(64, exports.weir_abi_1()),
    event(event, conn, arg, payload) {
      const bytes = bytesOf(payload);
      if (bytes.length === 0) return exports.weir_event(event, conn, arg, 0, 0);
      if (bytes.length > capacity) {
        inbound = exports.weir_inbound(bytes.length) >>> 0;
        capacity = bytes.length;
      }
      new Uint8Array(memory(), inbound, bytes.length).set(bytes);
      return exports.weir_event(event, conn, arg, inbound, bytes.length);
    },
  };
}

// The host functions as a WebAssembly module imports them, with pointers into its memory.
function wasmImports(host, memory) {
  const part = (ptr, size) => {
    ptr >>>= 0;
    size >>>= 0;
    return ptr + size > memory().byteLength ? null : new Uint8Array(memory(), ptr, size);
  };
  const imports = {};
  for (const [method, { name, params }] of Object.entries(functions)) {
    imports[name] = (...core) => {
      const args = [];
      let out = null; // where the result goes
      let at = 0;
      for (const type of params) {
        if (type === "i32" || type === "i64" || type === "conn") {
          args.push(core[at++]);
          continue;
        }
        const bytes = part(core[at++], core[at++]);
        if (bytes === null) return Status.badPointer;
        if (type === "bytes") args.push(bytes);
        else out = bytes;
        if (type === "fill") args.push(bytes.length);
      }
      const result = host[method](...args);
      if (out === null || typeof result === "number") return result;
      const bytes = bytesOf(result);
      if (bytes.length <= out.length) out.set(bytes);
      return params.includes("fill") ? Status.ok : bytes.length;
    };
  }
  return imports;
}

/** What a status means, for messages. */
export const statusMeans = (status) => statusText[status] ?? `status ${status}`;

const timerKey = (conn, id) => `${conn}/${id}`;

// Compares a target with a route, part by part, and returns what stands for the route's names; null if it is another.
function match(route, target) {
  const params = new Map();
  if (route === "") return params;
  const want = route.split("/");
  const have = target.split("?")[0].split("/");
  if (want.length !== have.length) return null;
  for (const [i, part] of want.entries()) {
    if (part.startsWith("{") && have[i] !== "") params.set(part.slice(1, -1), have[i]);
    else if (part !== have[i]) return null;
  }
  return params;
}

// Whether a name can be that of a header (RFC 9110 §5.6.2).
const isToken = (name) => name !== null && /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/.test(name);

// A stream of bytes that a seed determines (mulberry32).
function randomStream(seed) {
  let state = Number(BigInt.asUintN(32, BigInt(seed)));
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return (t ^ (t >>> 14)) & 0xff;
  };
}
