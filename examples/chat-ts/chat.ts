// Chat rooms: whoever connects to the same path talks to each other. README.md documents the protocol.

import { type Conn, count, type Handler, publish } from "weir";

/** The room is the route's {room}, or the whole path where the route has none. */
const room = (conn: Conn) => conn.param("room") || conn.path;

const bytes = (text: string) => new TextEncoder().encode(text).length;

const tell = (conn: Conn, line: object, except?: Conn) => publish(room(conn), JSON.stringify(line), except);

/** What a client says; undefined if its message is none of a chat. */
function said(data: string | Uint8Array): string | undefined {
  try {
    const { type, text } = JSON.parse(data as string);
    return type === "say" && typeof text === "string" && text !== "" && bytes(text) <= 8000 ? text : undefined;
  } catch {
    return undefined;
  }
}

export default {
  open(conn) {
    const name = conn.query("name") || "guest";
    if (bytes(name) > 64 || bytes(room(conn)) > 255) return conn.close(4400, "bad name or room");
    conn.join(room(conn));
    conn.setState(name);
    tell(conn, { type: "joined", from: name, members: count(room(conn)) });
  },

  message(conn, data) {
    const text = typeof data === "string" ? said(data) : undefined;
    if (text === undefined) return conn.close(4400, "not a chat message");
    tell(conn, { type: "say", from: conn.stateText, text }, conn);
  },

  close(conn) {
    const name = conn.stateText;
    if (name !== "") tell(conn, { type: "left", from: name, members: count(room(conn)) }); // without one it never joined
  },
} satisfies Handler;
