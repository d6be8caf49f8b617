// The module "weir/testing": the server, played in memory and in virtual time, for tests of a handler under Node.

import type { Closed, Handler } from "weir";

/** What the server's operator would have configured. */
export interface Options {
  /** The pattern that paths must match, such as /chat/{room}; empty takes every path. */
  route?: string;
  /** The module's configuration, handed to the handler's init; {} unless given. */
  config?: unknown;
  /** Request headers that Conn.header can read after the upgrade. */
  keepHeaders?: string[];
  /** Capabilities that are not granted. */
  deny?: ("topics" | "timers")[];
  /** The metrics that the configuration declares. */
  metrics?: string[];
  /** What the instance is for, under the scope key. */
  key?: string;
  /** The time at which the test begins, a Date or milliseconds since 1970; the first second of 2026 unless given. */
  start?: Date | number;
  /** Starts the random stream. */
  seed?: number;
}

/** A client's request to connect. */
export interface Request {
  /** Path and query; / unless given. */
  target?: string;
  headers?: Record<string, string | string[]>;
  /** The subprotocols that the client offers, those it prefers first. */
  protocols?: string[];
  /** 192.0.2.1:1234 unless given. */
  remoteAddr?: string;
}

/** The server's answer to a Request. */
export interface Response {
  /** 101 when the connection was accepted. */
  status: number;
  /** The subprotocol that the handler picked; empty if none. */
  protocol: string;
  /** What the handler added: names and values. */
  headers: [string, string][];
  /** The client, if it was accepted. */
  client?: Client;
}

/**
 * A server with the handler under test, in one instance. It follows ABI.md with the default limits, all or nothing
 * included. Its methods deliver events and resolve when those have been handled: await each before the next.
 */
export class Server {
  /** Starts a server and delivers init. It rejects if the handler refuses its configuration. */
  static start(handler: Handler<any>, options?: Options): Promise<Server>;

  /** Connects a client to a target such as /chat/lobby?name=ann. It rejects if the client is turned away. */
  open(target?: string): Promise<Client>;

  /** Sends a request, and resolves to the answer. */
  dial(request?: Request): Promise<Response>;

  /** Lets milliseconds pass. Timers that come due fire in their order, each at its own time. */
  advance(millis: number): Promise<void>;

  /** Announces that the server goes down in so many milliseconds. */
  drain(millis: number): Promise<void>;

  /**
   * Plays what happens to an instance of the scope connection, key or singleton when a new version of its module comes:
   * the save event, then init and restore in another handler, the same one if none is given. It resolves to whether the
   * new version was taken.
   */
  replace(handler?: Handler<any>): Promise<boolean>;

  /** The virtual time, in milliseconds since 1970. */
  readonly now: number;

  /** How many connections are in a topic. */
  members(topic: string): number;

  /** What the handler has added to a metric. */
  metric(name: string): bigint;

  /** The lines logged so far, "level text" each, which are then forgotten. */
  logs(): string[];
}

/** One connection, seen from its far end. */
export class Client {
  /** What the handler knows the connection by, as new Conn takes it. */
  readonly id: bigint;

  /** Sends a message to the handler: text if it is a string. */
  send(data: string | Uint8Array): Promise<void>;

  /** Takes the oldest message that was not taken yet; undefined if there is none. */
  receive(): string | Uint8Array | undefined;

  /** Closes the connection from the client's side, with close frames both ways. */
  close(code?: number, reason?: string): Promise<void>;

  /** Breaks the connection. */
  drop(): Promise<void>;

  /** Makes the client stop reading: what is sent to it waits in its queue, until that is full. */
  pause(): void;

  /** Makes the client read again what has waited. */
  resume(): void;

  /** How the connection ended; undefined while it is open. */
  readonly closed: Closed | undefined;
}
