//! Parses a small JSON message, changes it, and sends it back.

use weir::json::{Array, Object, Value};
use weir::{Conn, Events, Handler, Message, Result};

#[derive(Default)]
struct Game {
    reply: String, // used again for each
}

impl Handler for Game {
    const EVENTS: Events = Events::MESSAGE;

    fn message(&mut self, conn: Conn, message: Message) -> Result {
        self.reply.clear();
        match message.text().and_then(Value::parse).and_then(|request| moved(request, &mut self.reply)) {
            Some(()) => conn.send(&self.reply),
            None => conn.close(4400, "not a move"),
        }
    }
}

weir::handler!(Game);

/// Writes the reply to a move; nothing if it is none.
fn moved(request: Value, reply: &mut String) -> Option<()> {
    let [kind, id, player, x, y, tags] = request.fields(["type", "id", "player", "x", "y", "tags"]);
    if kind?.as_str()? != "move" {
        return None;
    }
    let tags = tags.filter(|tags| tags.is_array())?;
    Object::new(reply)
        .text("type", "moved")
        .number("id", id?.as_i64()?.checked_add(1)?)
        .text("player", &player?.as_str()?)
        .value("x", x.filter(|x| x.is_number())?)
        .value("y", y.filter(|y| y.is_number())?)
        .array("tags", |list| tags.elements().fold(list, copy))
        .end();
    Some(())
}

fn copy<'a>(list: Array<'a>, tag: Value) -> Array<'a> {
    match tag.as_str() {
        Some(text) => list.text(&text),
        None => list.value(tag),
    }
}

#[cfg(test)]
mod tests {
    use super::Game;
    use weir::testing::Server;

    #[test]
    fn a_move_comes_back_moved() {
        let mut server = Server::<Game>::new();
        let ann = server.open("/");
        for request in [
            r#"{"type":"move","id":17,"player":"ann","x":3.5,"y":-2,"tags":["a","b"]}"#,
            r#" { "tags" : [ "a" , "\u0062" ], "y":-2, "x":3.5, "player":"\u0061nn", "id":17, "type":"move" } "#,
        ] {
            server.send(ann, request);
            assert_eq!(
                server.texts(ann),
                [r#"{"type":"moved","id":18,"player":"ann","x":3.5,"y":-2,"tags":["a","b"]}"#]
            );
        }
    }

    #[test]
    fn anything_else_closes() {
        for request in [
            "",
            "move",
            r#"{"type":"stay","id":17,"player":"ann","x":3.5,"y":-2,"tags":[]}"#,
            r#"{"type":"move","id":"17","player":"ann","x":3.5,"y":-2,"tags":[]}"#,
            r#"{"type":"move","id":17,"player":"ann","x":3.5,"tags":[]}"#,
        ] {
            let mut server = Server::<Game>::new();
            let ann = server.open("/");
            server.send(ann, request);
            assert_eq!(server.code(ann), Some(4400), "after {request}");
        }
    }
}
