import { Conn, Message, OnMessage, serve, Status } from "weir-assemblyscript";

class Echo implements OnMessage {
  message(c: Conn, m: Message): Status {
    return c.send(m);
  }
}

serve(new Echo());
