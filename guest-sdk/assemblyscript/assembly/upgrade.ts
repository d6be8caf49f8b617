import * as abi from "./abi";
import { Status } from "./abi";
import { again, decode, first, result, second } from "./buffer";
import { Conn } from "./conn";

/** A client's request to connect. It is good only inside the handler's `upgrade`. */
@final
export class Upgrade {
  /** @param conn what the connection will be called if it is accepted; its attributes and state can be used already */
  constructor(readonly conn: Conn) {}

  /** The path and the query of the request, as sent. */
  get uri(): string {
    while (again(abi.upgradeURI(result.start, result.capacity))) {}
    return decode(result.start, result.length);
  }

  /** Any header of the request; several of one name are joined by ", ". It is empty if there is none. */
  header(name: string): string {
    first.set(name);
    while (again(abi.upgradeHeader(first.start, first.length, result.start, result.capacity))) {}
    return decode(result.start, result.length);
  }

  /** The subprotocols that the client offers, those it prefers first. */
  get protocols(): string[] {
    const offered: string[] = [];
    const names = this.header("Sec-WebSocket-Protocol").split(",");
    for (let i = 0; i < names.length; i++) {
      const name = names[i].trim();
      if (name.length > 0) offered.push(name);
    }
    return offered;
  }

  /** Picks one of the subprotocols that the client offers; `Status.NotFound` if it does not offer it. */
  setProtocol(name: string): Status {
    first.set(name);
    return abi.upgradeProtocol(first.start, first.length);
  }

  /** Adds a header to the response, whether it accepts or rejects. */
  addHeader(name: string, value: string): Status {
    first.set(name);
    second.set(value);
    return abi.upgradeRespondHeader(first.start, first.length, second.start, second.length);
  }
}
