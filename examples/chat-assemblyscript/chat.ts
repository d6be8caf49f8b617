// Chat rooms: whoever connects to the same path talks to each other. README.md documents the protocol.

import { Closed, Conn, count, JsonWriter, Message, OnClose, OnMessage, OnOpen, publish, serve, Status } from "weir-assemblyscript";

const line = new JsonWriter();

/** The room is the route's {room}, or the whole path where the route has none. */
function room(c: Conn): string {
  const room = c.param("room");
  return room != "" ? room : c.path;
}

/** Tells a room who has come or gone, and how many are there now. */
function tellMembers(c: Conn, type: string, name: string): Status {
  const members = count(room(c));
  return publish(room(c), line.object().put("type", type).put("from", name).put("members", members).end());
}

class Chat implements OnOpen, OnMessage, OnClose {
  open(c: Conn): Status {
    let name = c.query("name");
    if (name == "") name = "guest";
    if (String.UTF8.byteLength(name) > 64 || c.join(room(c)) != Status.Ok) return c.close(4400, "bad name or room");
    const status = c.setState(name);
    return status != Status.Ok ? status : tellMembers(c, "joined", name);
  }

  message(c: Conn, m: Message): Status {
    const said = m.json();
    const text = said.get("text").text();
    if (!m.isText || !said.get("type").is("say") || text == "" || String.UTF8.byteLength(text) > 8000) {
      return c.close(4400, "not a chat message");
    }
    return publish(room(c), line.object().put("type", "say").put("from", c.state()).put("text", text).end(), c);
  }

  close(c: Conn, why: Closed): Status {
    const name = c.state();
    return name == "" ? Status.Ok : tellMembers(c, "left", name); // without a name it never joined
  }
}

serve(new Chat());
