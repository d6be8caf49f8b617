//! Chat has rooms: whoever connects to the same path talks to each other. README.md documents the protocol.

use weir::json::{Object, Value};
use weir::{Closed, Conn, Handler, Message, Result};

#[derive(Default)]
struct Chat;

impl Handler for Chat {
    fn open(&mut self, conn: Conn) -> Result {
        let name = conn.query("name").filter(|name| !name.is_empty()).unwrap_or_else(|| "guest".into());
        if name.len() > 64 || conn.join(&room(conn)).is_err() {
            return conn.close(4400, "bad name or room");
        }
        conn.set_state(&name)?;
        tell_members(conn, "joined", &name)
    }

    fn message(&mut self, conn: Conn, message: Message) -> Result {
        let said = message.text().and_then(Value::parse);
        let field = |key| said?.get(key)?.as_str();
        match (field("type").as_deref(), field("text").as_deref()) {
            (Some("say"), Some(text)) if !text.is_empty() && text.len() <= 8000 => {
                let mut line = String::new();
                Object::new(&mut line).text("type", "say").text("from", &name(conn)).text("text", text).end();
                weir::publish_except(&room(conn), &line, conn)
            }
            _ => conn.close(4400, "not a chat message"),
        }
    }

    fn close(&mut self, conn: Conn, _: Closed) -> Result {
        match name(conn) {
            name if name.is_empty() => Ok(()), // it never joined
            name => tell_members(conn, "left", &name),
        }
    }
}

weir::handler!(Chat);

/// The route's `{room}`, or the whole path where the route has none.
fn room(conn: Conn) -> String {
    conn.param("room").unwrap_or_else(|| conn.path())
}

fn name(conn: Conn) -> String {
    String::from_utf8_lossy(&conn.state()).into_owned()
}

/// Tells a room who has come or gone, and how many are there now.
fn tell_members(conn: Conn, what: &str, name: &str) -> Result {
    let (room, mut line) = (room(conn), String::new());
    Object::new(&mut line).text("type", what).text("from", name).number("members", weir::count(&room)).end();
    weir::publish(&room, &line)
}

#[cfg(test)]
mod tests;
