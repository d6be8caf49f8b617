import * as abi from "./abi";
import { Kind, Status } from "./abi";
import { again, copy, decode, first, lastStatus, result } from "./buffer";
import { kindOf, lend } from "./lend";
import { queryValue, unescape } from "./query";

/**
 * A connection. It can be kept, compared with `==`, and be found in a Map by its `id`. It stays harmless when the
 * connection is gone: calls then return `Status.UnknownConnection`.
 */
@final
export class Conn {
  /** @param id the server's name for it */
  constructor(readonly id: u64) {}

  /** No connection at all: the module itself where timers are concerned. */
  static readonly none: Conn = new Conn(0);

  /** True for `Conn.none`. */
  get isNone(): bool { return this.id == 0; }

  @operator("==")
  private equals(other: Conn): bool { return this.id == other.id; }

  @operator("!=")
  private differs(other: Conn): bool { return this.id != other.id; }

  /**
   * Queues a message, which leaves when the handler returns `Status.Ok`: a text message of a string or a `JsonWriter`,
   * a binary one of a `Uint8Array` or an `ArrayBuffer`, or a `Message` that has arrived. `kind` says it otherwise: bytes
   * that are UTF-8 can be sent as text. `Status.QueueFull` says that the peer reads too slowly; `Status.Ok` says that
   * the message was queued, not that it arrived.
   */
  send<T>(data: T, kind: Kind = kindOf<T>(data)): Status {
    const d = lend(data, first);
    return abi.connSend(this.id, kind, d.start, d.length);
  }

  /**
   * Closes the connection behind the messages queued so far. The code is 1000, 1001, 1008, 1011 to 1013, or 3000 to
   * 4999, of which 4000 and above mean what client and handler agree on. The reason has at most 123 bytes. The
   * handler's `close` comes later, when the connection is gone.
   */
  close(code: i32, reason: string = ""): Status {
    first.set(reason);
    return abi.connClose(this.id, code, first.start, first.length);
  }

  /** How many bytes wait for the connection's socket; 0 when it is gone. */
  get queued(): i64 { return max<i64>(0, abi.connQueued(this.id)); }

  /** Makes the connection a member of a topic, a name of 1 to 255 bytes. It leaves its topics when it closes. */
  join(topic: string): Status {
    first.set(topic);
    return abi.topicJoin(this.id, first.start, first.length);
  }

  /** Ends the connection's membership of a topic. Leaving a topic that it is not in is `Status.Ok`. */
  leave(topic: string): Status {
    first.set(topic);
    return found(abi.topicLeave(this.id, first.start, first.length));
  }

  /** An attribute by its name, see ABI.md; null if there is none. What follows is easier. */
  attr(name: string): string | null {
    return this.read(name) ? decode(result.start, result.length) : null;
  }

  /** The peer's address and port, such as 192.0.2.7:50123; empty on a Unix socket. */
  get remoteAddr(): string { return this.known("remote_addr"); }

  /** The path of the request, as sent. */
  get path(): string { return this.known("path"); }

  /** The query of the request without its question mark, as sent. */
  get rawQuery(): string { return this.known("query"); }

  /** The subprotocol that was agreed on; empty if there is none. */
  get protocol(): string { return this.known("protocol"); }

  /** The first value of a parameter of the query, decoded; empty if there is none. */
  query(name: string): string {
    return this.read("query") ? queryValue(result.start, result.length, name) : "";
  }

  /** The part of the path that the route calls so, as {room} in /chat/{room}, decoded; empty if there is none. */
  param(name: string): string {
    return this.read("param:", name) ? unescape(result.start, result.length) : "";
  }

  /** A header of the request, if the module's configuration asks to keep it; otherwise it is empty. */
  header(name: string): string { return this.known("header:", name); }

  /** What `setState` has stored, as text; empty if nothing was. */
  state(): string {
    this.readState();
    return decode(result.start, result.length);
  }

  /** What `setState` has stored. */
  stateBytes(): Uint8Array {
    this.readState();
    return copy(result.start, result.length);
  }

  /**
   * Stores up to 16 KiB with the connection, for whatever instance serves its next event: a string, a `JsonWriter`, a
   * `Uint8Array`, an `ArrayBuffer`, or a `Message`. The state survives when the module is replaced, so the next version
   * must understand it.
   */
  setState<T>(state: T): Status {
    const d = lend(state, first);
    return abi.connStateSet(this.id, d.start, d.length);
  }

  /**
   * Calls the handler's `timer` with the id in so many milliseconds, and then every so often unless `everyMs` is 0. It
   * resets the timer that has the same id. The server raises what is shorter than its minimum, 10 ms. Timers end with
   * their connection; those of `Conn.none` belong to the module.
   */
  setTimer(id: i64, afterMs: i64, everyMs: i64 = 0): Status { return abi.timerSet(this.id, id, afterMs, everyMs); }

  /** Takes a timer back. One that is not set is `Status.Ok`. */
  cancelTimer(id: i64): Status { return found(abi.timerCancel(this.id, id)); }

  private known(name: string, more: string = ""): string { return this.read(name, more) ? decode(result.start, result.length) : ""; }

  /** Reads an attribute into result; false if there is none. */
  private read(name: string, more: string = ""): bool {
    first.set(name).text(more);
    while (again(abi.connAttr(this.id, first.start, first.length, result.start, result.capacity))) {}
    return lastStatus() == Status.Ok;
  }

  /** Reads the state into result. */
  private readState(): void {
    while (again(abi.connStateGet(this.id, result.start, result.capacity))) {}
  }
}

let recent = Conn.none;

/** The connection of an event. Busy ones come again and again, so the last is kept. */
export function connOf(id: u64): Conn {
  if (id == 0) return Conn.none;
  if (recent.id != id) recent = new Conn(id);
  return recent;
}

/** Makes ok of not found, for calls that have nothing to do when there is nothing. */
export function found(status: i32): Status { return status == Status.NotFound ? Status.Ok : status; }
