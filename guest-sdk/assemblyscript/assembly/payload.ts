import { Kind } from "./abi";
import { copy, decode } from "./buffer";
import { Json, parse } from "./json";

/** Bytes that are lent to a handler until it returns: what it keeps, it copies with `text` or `bytes`. */
@unmanaged
export class Payload {
  /** Where the bytes are, for `load<u8>` and its like: `length` of them, until the handler returns. */
  start: usize = 0;
  /** How many bytes there are. */
  length: i32 = 0;

  /** Makes a string of the bytes, which are UTF-8; what is not becomes U+FFFD. */
  text(): string { return decode(this.start, this.length); }

  /** Copies the bytes. */
  bytes(): Uint8Array { return copy(this.start, this.length); }

  /** Reads the bytes as JSON, in place. What is not JSON (RFC 8259) reads as a value that does not exist. */
  json(): Json { return parse(this.start, this.length); }
}

/** A WebSocket message that has arrived, lent to the handler until it returns. Sending it sends it as what it is. */
@unmanaged @final
export class Message extends Payload {
  /** Text or binary. */
  kind: Kind = Kind.Text;

  /** True for a text message, whose bytes are UTF-8. */
  get isText(): bool { return this.kind == Kind.Text; }
}

/** How a connection ended. */
@unmanaged @final
export class Closed extends Payload {
  /** The close code: 1005 when the peer gave none, 1006 when the connection broke. */
  code: i32 = 0;
  /** True when close frames went both ways. */
  clean: bool = false;

  /** What the peer said about it; often empty. */
  reason(): string { return this.text(); }
}
