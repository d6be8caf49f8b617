//! Reads a JSON document and writes it again, so that a test can compare the two.

use weir::json::{self, Array, Object, Value};
use weir::{Conn, Events, Handler, Message, Result};

#[derive(Default)]
struct Copy;

impl Handler for Copy {
    const EVENTS: Events = Events::MESSAGE;

    fn message(&mut self, conn: Conn, message: Message) -> Result {
        let mut copy = String::new();
        match message.text().and_then(Value::parse) {
            Some(value) if value.is_object() => object(Object::new(&mut copy), value).end(),
            Some(value) if value.is_array() => array(Array::new(&mut copy), value).end(),
            Some(value) => match value.as_str() {
                Some(text) => json::quote(&mut copy, &text),
                None => copy.push_str(value.raw()),
            },
            None => return conn.close(4400, "not JSON"),
        }
        conn.send(&copy)
    }
}

weir::handler!(Copy);

fn object<'a>(out: Object<'a>, value: Value) -> Object<'a> {
    value.members().fold(out, |out, (key, value)| match value.as_str() {
        Some(text) => out.text(&key, &text),
        None if value.is_object() => out.object(&key, |inner| object(inner, value)),
        None if value.is_array() => out.array(&key, |inner| array(inner, value)),
        None => out.value(&key, value),
    })
}

fn array<'a>(out: Array<'a>, value: Value) -> Array<'a> {
    value.elements().fold(out, |out, value| match value.as_str() {
        Some(text) => out.text(&text),
        None if value.is_object() => out.object(|inner| object(inner, value)),
        None if value.is_array() => out.array(|inner| array(inner, value)),
        None => out.value(value),
    })
}
