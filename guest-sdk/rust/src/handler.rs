use std::time::Duration;

use crate::abi::{self, event, Level};
use crate::error::{done, Error, Result};
use crate::{module, Conn, Message, Upgrade};

/// What a module does on each event: methods that are not written do nothing.
///
/// The value belongs to one instance of the module, which the server makes with [`Default`] and calls for one event at a
/// time. An error takes back what the call asked for; the description of the crate says more.
pub trait Handler: Default {
    /// The events for which the server enters the module: all, unless a handler narrows it. An event that is missing
    /// here is cheaper than a method that does nothing, and a method that is missing here is never called.
    ///
    /// ```
    /// # use weir::*;
    /// # #[derive(Default)] struct Echo;
    /// impl Handler for Echo {
    ///     const EVENTS: Events = Events::MESSAGE;
    ///
    ///     fn message(&mut self, conn: Conn, message: Message) -> Result {
    ///         conn.send(message)
    ///     }
    /// }
    /// ```
    const EVENTS: Events = Events::ALL;

    /// The instance is told the module's configuration, once and before anything else: JSON, `{}` when there is none.
    /// An error refuses the module; the one before it stays in service.
    fn init(&mut self, config: &str) -> Result {
        let _ = config;
        Ok(())
    }

    /// Decides whether a client may connect. [`Error::reject`] turns it away with a status, any other error with 500.
    fn upgrade(&mut self, request: &Upgrade) -> Result {
        let _ = request;
        Ok(())
    }

    /// The first event of a connection.
    fn open(&mut self, conn: Conn) -> Result {
        let _ = conn;
        Ok(())
    }

    /// A whole message.
    fn message(&mut self, conn: Conn, message: Message) -> Result {
        let _ = (conn, message);
        Ok(())
    }

    /// The last event of a connection, exactly once. It cannot be sent to any more and has left its topics; its
    /// attributes and its state can still be read, and publishing works.
    fn close(&mut self, conn: Conn, why: Closed) -> Result {
        let _ = (conn, why);
        Ok(())
    }

    /// A timer is due: of a connection, or of the module if there is none.
    fn timer(&mut self, conn: Option<Conn>, id: i64) -> Result {
        let _ = (conn, id);
        Ok(())
    }

    /// The server goes down in about the given time. It comes for each connection, and once without one.
    fn drain(&mut self, conn: Option<Conn>, left: Duration) -> Result {
        let _ = (conn, left);
        Ok(())
    }

    /// The instance's state for the one that takes over from it, at most 1 MiB. It is the last event of an instance of
    /// the scope `connection`, `key` or `singleton` whose module is replaced. An error keeps the old version.
    fn save(&mut self) -> Result<Option<Vec<u8>>> {
        Ok(None)
    }

    /// What [`Handler::save`] has returned in the instance of an earlier generation. It comes after `init` and before
    /// anything else. An error keeps the old version.
    fn restore(&mut self, state: &[u8], saved_by: u64) -> Result {
        let _ = (state, saved_by);
        Ok(())
    }
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Closed<'a> {
    /// The close code: 1005 when the peer gave none, 1006 when the connection broke.
    pub code: u16,
    /// What the peer said about it; often empty.
    pub reason: &'a str,
    /// Whether close frames went both ways.
    pub clean: bool,
}

/// A set of events, see [`Handler::EVENTS`]. The init event is always in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Events(u64);

impl Events {
    /// No event but init.
    pub const NONE: Events = Events(1 << event::INIT);
    /// [`Handler::upgrade`].
    pub const UPGRADE: Events = Events::NONE.with(1 << event::UPGRADE);
    /// [`Handler::open`].
    pub const OPEN: Events = Events::NONE.with(1 << event::OPEN);
    /// [`Handler::message`].
    pub const MESSAGE: Events = Events::NONE.with(1 << event::TEXT | 1 << event::BINARY);
    /// [`Handler::close`].
    pub const CLOSE: Events = Events::NONE.with(1 << event::CLOSE);
    /// [`Handler::timer`].
    pub const TIMER: Events = Events::NONE.with(1 << event::TIMER);
    /// [`Handler::drain`].
    pub const DRAIN: Events = Events::NONE.with(1 << event::DRAIN);
    /// [`Handler::save`] and [`Handler::restore`].
    pub const STATE: Events = Events::NONE.with(1 << event::SAVE | 1 << event::RESTORE);
    /// All of them.
    pub const ALL: Events = Events::UPGRADE
        .and(Events::OPEN)
        .and(Events::MESSAGE)
        .and(Events::CLOSE)
        .and(Events::TIMER)
        .and(Events::DRAIN)
        .and(Events::STATE);

    const fn with(self, bits: u64) -> Events {
        Events(self.0 | bits)
    }

    /// The events of both sets: `Events::OPEN.and(Events::MESSAGE)`.
    #[must_use]
    pub const fn and(self, other: Events) -> Events {
        self.with(other.0)
    }

    /// The set as the server has it: bit n for event n.
    pub(crate) const fn bits(self) -> u64 {
        self.0
    }
}

/// Marks the code of a close event whose close frames went both ways.
const CLEAN_BIT: i64 = 1 << 16;

/// Hands one event to a handler. The result is what the server gets: 0 commits.
pub(crate) fn dispatch<H: Handler>(handler: &mut H, event: i32, conn: u64, arg: i64, payload: &[u8]) -> i32 {
    match deliver(handler, event, Conn::from_id(conn), arg, payload) {
        Ok(()) => 0,
        Err(e) => match e.rejection() {
            Some(status) if event == event::UPGRADE => status.into(),
            _ => failed(event, &e),
        },
    }
}

fn deliver<H: Handler>(handler: &mut H, event: i32, conn: Option<Conn>, arg: i64, payload: &[u8]) -> Result {
    match (event, conn) {
        (event::TEXT, Some(conn)) => handler.message(conn, Message::Text(text(payload))),
        (event::BINARY, Some(conn)) => handler.message(conn, Message::Binary(payload)),
        (event::OPEN, Some(conn)) => handler.open(conn),
        (event::CLOSE, Some(conn)) => {
            let clean = arg & CLEAN_BIT != 0;
            handler.close(conn, Closed { code: arg as u16, reason: text(payload), clean })
        }
        (event::TIMER, conn) => handler.timer(conn, arg),
        (event::DRAIN, conn) => handler.drain(conn, Duration::from_millis(arg.try_into().unwrap_or(0))),
        (event::UPGRADE, Some(conn)) => handler.upgrade(&Upgrade::new(conn)),
        (event::SAVE, _) => match handler.save()? {
            Some(state) => done("state_save", abi::state_save(&state)),
            None => Ok(()),
        },
        (event::RESTORE, _) => handler.restore(payload, arg as u64),
        (event::INIT, _) => {
            module::set_generation(arg as u64);
            handler.init(text(payload))
        }
        _ => Ok(()),
    }
}

/// Borrows a payload that the server promises to be UTF-8.
fn text(payload: &[u8]) -> &str {
    debug_assert!(std::str::from_utf8(payload).is_ok());
    // SAFETY: text messages, reasons and configurations are UTF-8 before they become an event (ABI.md, "Events"). The
    // server owns all of this memory anyhow.
    unsafe { std::str::from_utf8_unchecked(payload) }
}

/// Logs an error, and makes the result of it. It is apart from what runs for every message.
#[cold]
#[inline(never)]
fn failed(event: i32, e: &Error) -> i32 {
    let name = abi::EVENT_NAMES.get(event as usize).unwrap_or(&"event");
    module::log(Level::Error, &format!("{name}: {e}"));
    if event == event::UPGRADE {
        return 500;
    }
    1
}
