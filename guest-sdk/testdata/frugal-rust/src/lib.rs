//! Counts what is allocated while messages are handled.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use weir::json::{Object, Value};
use weir::{Conn, Events, Handler, Message, Result};

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

#[global_allocator]
static COUNTED: Counted = Counted;

struct Counted;

// SAFETY: all of it is done by the system's allocator.
unsafe impl GlobalAlloc for Counted {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Relaxed);
        System.alloc(layout)
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        System.dealloc(place, layout)
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Relaxed);
        System.realloc(place, layout, size)
    }
}

/// Keeps its buffers.
#[derive(Default)]
struct Frugal {
    state: Vec<u8>,
    path: String,
    line: String,
}

impl Handler for Frugal {
    const EVENTS: Events = Events::MESSAGE;

    fn message(&mut self, conn: Conn, message: Message) -> Result {
        if message == Message::Text("how many?") {
            return conn.send(&ALLOCATIONS.load(Relaxed).to_string());
        }
        self.state.clear();
        conn.read_state(&mut self.state)?;
        self.path.clear();
        conn.read_attr("path", &mut self.path)?;
        let name = weir::query::value("x=1&name=ann", "name").unwrap_or_default();
        let number = message.text().and_then(Value::parse).and_then(|said| said.get("number")?.as_i64());
        self.line.clear();
        Object::new(&mut self.line).text("name", &name).number("number", number.unwrap_or(0)).end();
        conn.set_state(&self.line)?;
        conn.join(&self.path)?;
        weir::publish_except(&self.path, &self.line, conn)?;
        conn.send(message)
    }
}

weir::handler!(Frugal);
