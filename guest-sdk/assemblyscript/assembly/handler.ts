import * as abi from "./abi";
import { Event, Kind, Level, Status, statusText } from "./abi";
import { words } from "./globals";
import { Conn, connOf } from "./conn";
import { Closed, Message, Payload } from "./payload";
import { Upgrade } from "./upgrade";

// What a handler can do on an event. A class that is given to `serve` implements those of these that it wants; the
// server does not even enter the module for the others. `Status.Ok` commits what the call asked for. Any other result
// throws it away, closes the connection with 1011 and discards the instance: that is for what must not have happened.
// For a peer that misbehaves, close the connection with a code that tells it so, and return `Status.Ok`.

/** A handler that is told the module's configuration. */
export interface OnInit {
  /**
   * Comes once per instance and before anything else. config is JSON, {} when there is none. Anything but `Status.Ok`
   * refuses the module: the one before it stays in service.
   */
  init(config: Payload): Status;
}

/** A handler that decides whether a client may connect. */
export interface OnUpgrade {
  /** 0 accepts, a HTTP status from 400 to 599 rejects with it, and any other result with 500. */
  upgrade(request: Upgrade): i32;
}

/** A handler that is told when a connection opens. */
export interface OnOpen {
  /** The first event of a connection. */
  open(c: Conn): Status;
}

/** A handler of messages. */
export interface OnMessage {
  /** A whole message, which is lent until the method returns. */
  message(c: Conn, m: Message): Status;
}

/** A handler that is told when a connection is gone. */
export interface OnClose {
  /**
   * The last event of a connection, exactly once. c cannot be sent to any more and has left its topics; its attributes
   * and its state can still be read, and publishing works.
   */
  close(c: Conn, why: Closed): Status;
}

/** A handler that sets timers. */
export interface OnTimer {
  /** A timer is due. c is `Conn.none` for a timer of the module. */
  timer(c: Conn, id: i64): Status;
}

/** A handler that is told when the server goes down. */
export interface OnDrain {
  /** The server goes down in about so many milliseconds. It comes for each connection, and once with `Conn.none`. */
  drain(c: Conn, leftMs: i64): Status;
}

/** A handler whose state goes on to the next version of the module, under the scopes connection, key and singleton. */
export interface OnSave {
  /**
   * Hands the state on with `saveState`. It is the last event of an instance whose module is replaced. Anything but
   * `Status.Ok` keeps the old version.
   */
  save(): Status;
}

/** A handler that takes over such a state. */
export interface OnRestore {
  /** Comes after `init` and before anything else. Anything but `Status.Ok` keeps the old version. */
  restore(state: Payload, savedBy: i64): Status;
}

/** Makes an object the module's handler. Call it once, outside all functions. */
export function serve<T>(handler: T): void {
  assert(served === null, "serve was called twice");
  served = new Served<T>(handler);
}

/**
 * Which version of the module this is: 1 for the first that was loaded under its name, then one more for each. It is
 * known from `init` on.
 */
export function generation(): i64 { return generation_; }

let generation_: i64 = 0;

/** The handler behind its type. */
abstract class Dispatcher {
  abstract handles(): u64;
  abstract handle(event: Event, conn: u64, arg: i64, start: usize, length: i32): i32;
  abstract name(event: Event): string;
}

let served: Dispatcher | null = null;

/** The set of events that the handler wants, one bit each. */
export function handles(): u64 {
  assert(served !== null, "there is no handler: call serve");
  return served!.handles();
}

/** Hands an event to the handler. The result is what the host gets: 0 commits. */
export function handle(event: Event, conn: u64, arg: i64, start: usize, length: i32): i32 {
  const result = served!.handle(event, conn, arg, start, length);
  if (result == 0 || event == Event.Upgrade && result >= 400 && result < 600) return result;
  words.set(served!.name(event)).text(": ");
  if (result < 0) words.text(statusText(result));
  else words.integer(result);
  abi.log(Level.Error, words.start, words.length);
  return event == Event.Upgrade ? 500 : 1;
}

// One of each is enough: events never overlap.
const message = new Message();
const closed = new Closed();
const payload = new Payload();

// The close event's argument has this bit when close frames went both ways.
// @ts-ignore: decorator
@inline const CLEAN: i64 = 1 << 16;

// The methods are looked for when T is compiled, so what a handler lacks leaves nothing in the module.
class Served<T> extends Dispatcher {
  constructor(private handler: T) {
    super();
    if (!isReference<T>()) ERROR("serve takes an object");
  }

  handles(): u64 {
    const h = this.handler;
    let set: u64 = 1 << Event.Init; // for generation
    if (h instanceof OnUpgrade) set |= 1 << Event.Upgrade;
    else if (isDefined(h.upgrade)) ERROR("a handler with the method upgrade implements OnUpgrade");
    if (h instanceof OnOpen) set |= 1 << Event.Open;
    else if (isDefined(h.open)) ERROR("a handler with the method open implements OnOpen");
    if (h instanceof OnMessage) set |= 1 << Event.Text | 1 << Event.Binary;
    else if (isDefined(h.message)) ERROR("a handler with the method message implements OnMessage");
    if (h instanceof OnClose) set |= 1 << Event.Close;
    else if (isDefined(h.close)) ERROR("a handler with the method close implements OnClose");
    if (h instanceof OnTimer) set |= 1 << Event.Timer;
    else if (isDefined(h.timer)) ERROR("a handler with the method timer implements OnTimer");
    if (h instanceof OnDrain) set |= 1 << Event.Drain;
    else if (isDefined(h.drain)) ERROR("a handler with the method drain implements OnDrain");
    if (h instanceof OnSave) set |= 1 << Event.Save;
    else if (isDefined(h.save)) ERROR("a handler with the method save implements OnSave");
    if (h instanceof OnRestore) set |= 1 << Event.Restore;
    else if (isDefined(h.restore)) ERROR("a handler with the method restore implements OnRestore");
    if (!(h instanceof OnInit) && isDefined(h.init)) ERROR("a handler with the method init implements OnInit");
    return set;
  }

  handle(event: Event, conn: u64, arg: i64, start: usize, length: i32): i32 {
    const h = this.handler;
    switch (event) {
      case Event.Text:
      case Event.Binary:
        if (h instanceof OnMessage) {
          message.kind = event == Event.Text ? Kind.Text : Kind.Binary;
          message.start = start;
          message.length = length;
          return h.message(connOf(conn), message);
        }
        break;
      case Event.Open:
        if (h instanceof OnOpen) return h.open(connOf(conn));
        break;
      case Event.Close:
        if (h instanceof OnClose) {
          closed.code = <i32>(arg & (CLEAN - 1));
          closed.clean = (arg & CLEAN) != 0;
          closed.start = start;
          closed.length = length;
          return h.close(connOf(conn), closed);
        }
        break;
      case Event.Timer:
        if (h instanceof OnTimer) return h.timer(connOf(conn), arg);
        break;
      case Event.Drain:
        if (h instanceof OnDrain) return h.drain(connOf(conn), arg);
        break;
      case Event.Upgrade:
        if (h instanceof OnUpgrade) return h.upgrade(new Upgrade(connOf(conn)));
        break;
      case Event.Save:
        if (h instanceof OnSave) return h.save();
        break;
      case Event.Restore:
        if (h instanceof OnRestore) {
          payload.start = start;
          payload.length = length;
          return h.restore(payload, arg);
        }
        break;
      case Event.Init:
        generation_ = arg;
        if (h instanceof OnInit) {
          payload.start = start;
          payload.length = length;
          return h.init(payload);
        }
        break;
    }
    return 0;
  }

  /** The event's name, for the log. */
  name(event: Event): string {
    const h = this.handler;
    if (h instanceof OnMessage && event == Event.Text) return "text";
    if (h instanceof OnMessage && event == Event.Binary) return "binary";
    if (h instanceof OnOpen && event == Event.Open) return "open";
    if (h instanceof OnClose && event == Event.Close) return "close";
    if (h instanceof OnTimer && event == Event.Timer) return "timer";
    if (h instanceof OnDrain && event == Event.Drain) return "drain";
    if (h instanceof OnUpgrade && event == Event.Upgrade) return "upgrade";
    if (h instanceof OnSave && event == Event.Save) return "save";
    if (h instanceof OnRestore && event == Event.Restore) return "restore";
    return "init";
  }
}
