// Parses a small JSON message, changes it, and sends it back.

import { Conn, JsonType, JsonWriter, Message, OnMessage, serve, Status } from "weir-assemblyscript";

const moved = new JsonWriter();

class Move implements OnMessage {
  message(c: Conn, m: Message): Status {
    const move = m.json();
    const id = move.get("id"), player = move.get("player"), x = move.get("x"), y = move.get("y"), tags = move.get("tags");
    if (!m.isText || !move.get("type").is("move") || !id.isInteger || player.type != JsonType.String ||
      x.type != JsonType.Number || y.type != JsonType.Number || tags.type != JsonType.Array) {
      return c.close(4400, "not a move");
    }
    return c.send(moved.object()
      .put("type", "moved").put("id", id.integer() + 1).put("player", player.text())
      .put("x", x).put("y", y).put("tags", tags)
      .end());
  }
}

serve(new Move());
