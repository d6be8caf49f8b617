import { Kind } from "./abi";
import { Buffer } from "./buffer";
import { JsonWriter } from "./json";
import { Message } from "./payload";

/** What a call lends to the host: `length` bytes at `start`. */
@unmanaged @final
export class Lent {
  start: usize = 0;
  length: i32 = 0;
}

const lent = new Lent();

/** Makes a value ready for the host; a string becomes UTF-8 in the buffer. It is good until the next call. */
export function lend<T>(data: T, buffer: Buffer): Lent {
  if (isString<T>()) {
    buffer.set(<string>data);
    lent.start = buffer.start;
    lent.length = buffer.length;
  } else if (data instanceof Message) {
    lent.start = (<Message>data).start;
    lent.length = (<Message>data).length;
  } else if (data instanceof JsonWriter) {
    lent.start = (<JsonWriter>data).start;
    lent.length = (<JsonWriter>data).length;
  } else if (data instanceof Uint8Array) {
    lent.start = (<Uint8Array>data).dataStart;
    lent.length = (<Uint8Array>data).length;
  } else if (data instanceof ArrayBuffer) {
    lent.start = changetype<usize>(data);
    lent.length = (<ArrayBuffer>data).byteLength;
  } else {
    ERROR("this takes a string, a JsonWriter, a Uint8Array, an ArrayBuffer, or a Message");
  }
  return lent;
}

/** The kind of message that a value makes. */
// @ts-ignore: decorator
@inline
export function kindOf<T>(data: T): Kind {
  if (isString<T>() || data instanceof JsonWriter) return Kind.Text;
  if (data instanceof Message) return (<Message>data).kind;
  return Kind.Binary;
}
