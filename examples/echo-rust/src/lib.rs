//! Sends every message back to where it came from.

use weir::{Conn, Events, Handler, Message, Result};

#[derive(Default)]
struct Echo;

impl Handler for Echo {
    const EVENTS: Events = Events::MESSAGE;

    fn message(&mut self, conn: Conn, message: Message) -> Result {
        conn.send(message)
    }
}

weir::handler!(Echo);

#[cfg(test)]
mod tests {
    use super::Echo;
    use weir::testing::{Received, Server};

    #[test]
    fn every_message_comes_back_as_the_kind_that_it_was() {
        let mut server = Server::<Echo>::new();
        let ann = server.open("/");
        server.send(ann, "hello");
        server.send(ann, &[0, 0xff]);
        assert_eq!(server.received(ann), [Received::Text("hello".into()), Received::Binary(vec![0, 0xff])]);
    }
}
