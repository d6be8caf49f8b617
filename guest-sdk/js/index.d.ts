// The module "weir": what a handler uses.

/** What a handler does on each event. Events without a function here never reach the module, at no cost. */
export interface Handler<Config = unknown> {
  /** Is told the module's configuration, once per instance and before anything else. Throwing refuses the module. */
  init?(config: Config, generation: number): void | Promise<void>;

  /** Decides whether a client may connect: nothing accepts, a number from 400 to 599 rejects with that HTTP status. */
  upgrade?(request: Upgrade): number | void | Promise<number | void>;

  /** The first event of a connection. */
  open?(conn: Conn): void | Promise<void>;

  /** A whole message: a string if it is text, bytes if it is binary. The bytes are the handler's own. */
  message?(conn: Conn, data: string | Uint8Array): void | Promise<void>;

  /**
   * The last event of a connection, exactly once. It cannot be sent to any more and has left its topics; its attributes
   * and its state can still be read, and publishing works.
   */
  close?(conn: Conn, why: Closed): void | Promise<void>;

  /** A timer is due. conn is null for a timer of the module. */
  timer?(conn: Conn | null, id: number): void | Promise<void>;

  /** The server goes down in about so many milliseconds. It comes for each connection, and once with null. */
  drain?(conn: Conn | null, millis: number): void | Promise<void>;

  /**
   * Returns the instance's state for the one that takes over from it; nothing if there is none. It is the last event of an
   * instance of the scope connection, key or singleton whose module is replaced. At most 1 MiB. Throwing keeps the old
   * version.
   */
  save?(): string | Uint8Array | void;

  /**
   * Is given what save has returned in an instance of the generation before, as bytes. It comes after init and before
   * anything else. Throwing keeps the old version.
   */
  restore?(state: Uint8Array, savedBy: number): void | Promise<void>;
}

/** How a connection ended. */
export interface Closed {
  /** The close code: 1005 when the peer gave none, 1006 when the connection broke. */
  code: number;
  /** What the peer said about it; often empty. */
  reason: string;
  /** Whether close frames went both ways. */
  clean: boolean;
}

/**
 * A connection. Each event has an object of its own: compare and keep the id. It stays harmless when the connection is
 * gone; calls then throw a HostError.
 */
export class Conn {
  /** The connection of that id, which may be gone. */
  constructor(id: string | bigint);

  /** Names the connection: a number in decimal, for maps and states. */
  readonly id: string;

  /**
   * Queues a message, text if it is a string. It leaves when the handler has returned. A HostError with the status
   * queueFull says that the peer reads too slowly.
   */
  send(data: string | Uint8Array | ArrayBuffer): void;

  /**
   * Closes the connection behind the messages queued so far; the code is 1000 unless another is given. The reason is at
   * most 123 bytes long. The handler's close comes later, when the connection is gone.
   */
  close(code?: number, reason?: string): void;

  /** How many bytes wait for the connection's socket; 0 when it is gone. */
  readonly queued: number;

  /** Makes the connection a member of a topic, a name of 1 to 255 bytes. It leaves its topics when it closes. */
  join(topic: string): void;

  /** Ends the membership of a topic. Leaving one that it is not in is no error. */
  leave(topic: string): void;

  /** Reads an attribute, see ABI.md; undefined if there is none of that name. What follows is easier. */
  attr(name: string): string | undefined;

  /** The peer's address and port, such as 192.0.2.7:50123; empty on a Unix socket. */
  readonly remoteAddr: string;

  /** The path of the request, as sent. */
  readonly path: string;

  /** The query of the request without its question mark, as sent. */
  readonly rawQuery: string;

  /** The first value of a parameter of the query, decoded; empty if there is none. */
  query(name: string): string;

  /** The part of the path that the route calls name, as {room} in /chat/{room}, decoded; empty if there is none. */
  param(name: string): string;

  /** A header of the request, if the module's configuration asks to keep it; otherwise it is empty. */
  header(name: string): string;

  /** The subprotocol that was agreed on; empty if there is none. */
  readonly protocol: string;

  /** A copy of what setState stored; empty if nothing was. */
  readonly state: Uint8Array;

  /** The state as text. */
  readonly stateText: string;

  /**
   * Stores up to 16 KiB with the connection, for whatever instance serves its next event. The state survives when the
   * module is replaced, so the next version must understand it.
   */
  setState(state: string | Uint8Array | ArrayBuffer): void;

  /** Calls the handler's timer with the id once, in at least so many milliseconds. Timers end with their connection. */
  after(id: number, ms: number): void;

  /** Calls the handler's timer with the id again and again, for the first time in so many milliseconds. */
  every(id: number, ms: number): void;

  /**
   * Calls the handler's timer in afterMs, and then every so often; once only if everyMs is 0. It resets the timer that has
   * the same id. The server raises what is shorter than its minimum, 10 ms.
   */
  setTimer(id: number, afterMs: number, everyMs?: number): void;

  /** Takes a timer back. One that is not set is no error. */
  cancelTimer(id: number): void;
}

/** A client's request to connect. It is good only inside the handler's upgrade. */
export class Upgrade {
  /** What the connection will be called if it is accepted. */
  readonly conn: Conn;

  /** Path and query of the request, as sent. */
  readonly uri: string;

  /** The path of the request, as sent. */
  readonly path: string;

  /** The client's address and port. */
  readonly remoteAddr: string;

  /** The first value of a parameter of the query, decoded; empty if there is none. */
  query(name: string): string;

  /** The part of the path that the route calls name, decoded; empty if there is none. */
  param(name: string): string;

  /** Any header of the request; several of one name are joined by ", ". It is empty if there is none. */
  header(name: string): string;

  /** The subprotocols that the client offers, those it prefers first. */
  readonly protocols: string[];

  /** Picks one of the subprotocols that the client offers. */
  setProtocol(name: string): void;

  /** Adds a header to the response, whether it accepts or rejects. */
  addHeader(name: string, value: string): void;

  /** Stores what the connection's state is from open on: who was let in, for example. */
  setState(state: string | Uint8Array | ArrayBuffer): void;
}

/** Sends a message to every member of a topic, but for except. */
export function publish(topic: string, data: string | Uint8Array | ArrayBuffer, except?: Conn | null): void;

/** How many members a topic has on this node; 0 if the module may not ask. */
export function count(topic: string): number;

/** Calls the handler's timer with null and the id once, in at least so many milliseconds, in any instance. */
export function after(id: number, ms: number): void;

/** Calls the handler's timer with null and the id again and again. */
export function every(id: number, ms: number): void;

/** Sets a timer of the module, see Conn.setTimer. */
export function setTimer(id: number, afterMs: number, everyMs?: number): void;

/** Takes a timer of the module back. */
export function cancelTimer(id: number): void;

/**
 * What this instance is for: its key under the scope key, the connection's id under the scope connection, nothing under
 * pool and singleton.
 */
export function key(): string;

/** Which version of the module this is: 1 for the first that was loaded under its name. It is known from init on. */
export function generation(): number;

/** The time of day in milliseconds since 1970, as Date.now. It stands still within an event. */
export function now(): number;

/** Milliseconds that never go back, for measuring; their zero has no meaning. They stand still within an event. */
export function uptime(): number;

/** Random bytes from the instance's own stream, at most 1 MiB. Math.random draws from it too. */
export function random(size: number): Uint8Array;

/** Writes a line to the server's log, at once: it stays when the handler fails. console does the same. */
export function log(level: number, text: string): void;

/** Adds to a metric that the module's configuration declares; 1 unless another number is given. */
export function addMetric(name: string, delta?: number): void;

/** Whether the server has the named host function, for modules that can do without it. */
export function has(name: string): boolean;

/** Levels for log. */
export const Level: { readonly debug: 0; readonly info: 1; readonly warn: 2; readonly error: 3 };

/** Codes for Conn.close. 3000 to 4999 are also allowed; 4000 to 4999 mean what client and handler agree on. */
export const CloseCode: {
  /** The connection has done what it was for. */
  readonly normal: 1000;
  /** The server goes down. */
  readonly goingAway: 1001;
  /** The peer does what it must not. */
  readonly policy: 1008;
  /** The handler cannot go on. */
  readonly failed: 1011;
  /** Come back at once. */
  readonly restart: 1012;
  /** Come back when there is less to do. */
  readonly tryLater: 1013;
};

/** Why the server refuses a call. */
export const Status: {
  readonly ok: 0;
  /** No open connection of this module has that id. */
  readonly unknownConnection: -1;
  /** The connection is closing, or this event has asked for it. */
  readonly closed: -2;
  /** The peer reads too slowly. */
  readonly queueFull: -3;
  /** Something is longer than its limit. */
  readonly tooBig: -4;
  /** The operator has not granted the capability, or the event does not allow this call. */
  readonly denied: -5;
  /** An argument is out of range or badly formed. */
  readonly invalid: -6;
  /** There is nothing of that name. */
  readonly notFound: -7;
  /** The call was made outside the events it is for. */
  readonly unavailable: -8;
  /** A limit on the number of things is reached. */
  readonly tooMany: -9;
};

/** A call that the server refused. */
export class HostError extends Error {
  constructor(call: string, status: number);

  /** The host function, as ABI.md calls it. */
  readonly call: string;

  /** One of Status. */
  readonly status: number;
}
