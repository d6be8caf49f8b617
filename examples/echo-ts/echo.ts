// Every message goes back to where it came from.

import type { Conn } from "weir";

export default {
  message(conn: Conn, data: string | Uint8Array) {
    conn.send(data);
  },
};
