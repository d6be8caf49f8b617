// A move of a player: the JSON of a message is read, changed and sent back.

import type { Conn } from "weir";

interface Move {
  type: "move" | "moved";
  id: number;
  player: string;
  x: number;
  y: number;
  tags: string[];
}

function read(data: string | Uint8Array): Move | undefined {
  try {
    const move = JSON.parse(data as string);
    return move?.type === "move" ? move : undefined;
  } catch {
    return undefined;
  }
}

export default {
  message(conn: Conn, data: string | Uint8Array) {
    const move = read(data);
    if (!move) return conn.close(4400, "not a move");
    const { id, player, x, y, tags } = move;
    conn.send(JSON.stringify({ type: "moved", id: id + 1, player, x, y, tags }));
  },
};
