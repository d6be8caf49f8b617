use std::fmt;
use std::num::NonZeroU64;
use std::time::Duration;

use crate::abi::{self, attr};
use crate::error::{done, done_if_found, Result};
use crate::{query, read, Message};

/// A connection. It is a plain value that can be kept, compared, and used as the key of a map. It stays harmless when
/// the connection is gone: calls then fail with [`Status::UnknownConnection`](crate::Status::UnknownConnection).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Conn(NonZeroU64);

/// Codes for [`Conn::close`]. 3000 to 4999 are also allowed; 4000 to 4999 mean what client and handler agree on.
pub mod code {
    /// The connection has done what it was for.
    pub const NORMAL: u16 = 1000;
    /// The server goes down.
    pub const GOING_AWAY: u16 = 1001;
    /// The peer does what it must not.
    pub const POLICY: u16 = 1008;
    /// The handler cannot go on.
    pub const FAILED: u16 = 1011;
    /// Come back at once.
    pub const RESTART: u16 = 1012;
    /// Come back when there is less to do.
    pub const TRY_LATER: u16 = 1013;
}

impl Conn {
    /// Finds the connection that the server calls by this number; 0 is none.
    pub fn from_id(id: u64) -> Option<Conn> {
        NonZeroU64::new(id).map(Conn)
    }

    /// What the server calls the connection: never 0.
    pub fn id(self) -> u64 {
        self.0.get()
    }

    /// Queues a message for the connection. It leaves when the handler returns `Ok`.
    /// [`QueueFull`](crate::Status::QueueFull) says that the peer reads too slowly; `Ok` says that the message was
    /// queued, not that it arrived.
    pub fn send<'a>(self, message: impl Into<Message<'a>>) -> Result {
        let message = message.into();
        done("conn_send", abi::conn_send(self.id(), message.kind(), message.as_bytes()))
    }

    /// Closes the connection behind the messages queued so far, with one of the codes of [`code`]. The reason is at
    /// most 123 bytes long. The handler's `close` comes later, when the connection is gone.
    pub fn close(self, code: u16, reason: &str) -> Result {
        done("conn_close", abi::conn_close(self.id(), code.into(), reason.as_bytes()))
    }

    /// How many bytes wait for the connection's socket; 0 when it is gone.
    pub fn queued(self) -> usize {
        usize::try_from(abi::conn_queued(self.id())).unwrap_or(0)
    }

    /// Makes the connection a member of a topic, a name of 1 to 255 bytes. Joining again is no error. A connection
    /// leaves its topics by itself when it closes.
    pub fn join(self, topic: &str) -> Result {
        done("topic_join", abi::topic_join(self.id(), topic.as_bytes()))
    }

    /// Ends the connection's membership of a topic. Leaving a topic that it is not in is no error.
    pub fn leave(self, topic: &str) -> Result {
        done_if_found("topic_leave", abi::topic_leave(self.id(), topic.as_bytes()))
    }

    /// Reads an attribute by its name in ABI.md, such as `header:user-agent`;
    /// [`NotFound`](crate::Status::NotFound) if there is none. The methods that follow are easier.
    pub fn attr(self, name: &str) -> Result<String> {
        read::text("conn_attr", |buf| abi::conn_attr(self.id(), name.as_bytes(), buf))
    }

    /// Appends an attribute to a string, without allocating if it fits, and returns how long it is.
    pub fn read_attr(self, name: &str, out: &mut String) -> Result<usize> {
        read::append_text("conn_attr", out, |buf| abi::conn_attr(self.id(), name.as_bytes(), buf))
    }

    /// The peer's address and port, such as `192.0.2.7:50123`; empty on a Unix socket.
    pub fn remote_addr(self) -> String {
        self.attr(attr::REMOTE_ADDR).unwrap_or_default()
    }

    /// The path of the request, as sent.
    pub fn path(self) -> String {
        self.attr(attr::PATH).unwrap_or_default()
    }

    /// The query of the request without its question mark, as sent.
    pub fn raw_query(self) -> String {
        self.attr(attr::QUERY).unwrap_or_default()
    }

    /// The first value of a parameter of the query, decoded.
    pub fn query(self, name: &str) -> Option<String> {
        query::value(&self.raw_query(), name).map(Into::into)
    }

    /// The part of the path that the route calls by a name, as `{room}` in `/chat/{room}`, decoded.
    pub fn param(self, name: &str) -> Option<String> {
        self.family(attr::PARAM, name).map(|sent| match query::unescape(&sent, false) {
            Some(value) => value.into(),
            None => sent,
        })
    }

    /// A header of the request, if the module's configuration asks to keep it.
    pub fn header(self, name: &str) -> Option<String> {
        self.family(attr::HEADER, name)
    }

    /// The subprotocol that was agreed on.
    pub fn protocol(self) -> Option<String> {
        self.attr(attr::PROTOCOL).ok().filter(|name| !name.is_empty())
    }

    /// Reads an attribute whose name has two parts.
    fn family(self, head: &str, name: &str) -> Option<String> {
        let mut full = String::with_capacity(head.len() + name.len());
        full.push_str(head);
        full.push_str(name);
        self.attr(&full).ok()
    }

    /// A copy of what [`Conn::set_state`] stored; empty if nothing was.
    pub fn state(self) -> Vec<u8> {
        let mut state = Vec::new();
        self.read_state(&mut state).unwrap_or_default();
        state
    }

    /// Appends what [`Conn::set_state`] stored, without allocating if it fits, and returns how long it is.
    pub fn read_state(self, out: &mut Vec<u8>) -> Result<usize> {
        read::append("conn_state_get", out, |buf| abi::conn_state_get(self.id(), buf))
    }

    /// Stores up to 16 KiB with the connection, for whatever instance serves its next event. The state survives when
    /// the module is replaced, so the next version must understand it.
    pub fn set_state(self, state: impl AsRef<[u8]>) -> Result {
        done("conn_state_set", abi::conn_state_set(self.id(), state.as_ref()))
    }

    /// Calls the handler's `timer` with the given id once, in at least `delay`. Timers end with their connection.
    pub fn after(self, id: i64, delay: Duration) -> Result {
        self.set_timer(id, delay, Duration::ZERO)
    }

    /// Calls the handler's `timer` with the given id again and again, for the first time in `period`.
    pub fn every(self, id: i64, period: Duration) -> Result {
        self.set_timer(id, period, period)
    }

    /// Calls the handler's `timer` in `after`, and then every so often; once only if `every` is zero. It resets the
    /// timer that has the same id. The server counts in milliseconds and raises what is shorter than its minimum, 10 ms.
    pub fn set_timer(self, id: i64, after: Duration, every: Duration) -> Result {
        set_timer(self.id(), id, after, every)
    }

    /// Takes a timer back. One that is not set is no error.
    pub fn cancel_timer(self, id: i64) -> Result {
        cancel_timer(self.id(), id)
    }
}

/// As the server's log writes it: the number.
impl fmt::Debug for Conn {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}", self.id())
    }
}

/// As the server's log writes it: the number.
impl fmt::Display for Conn {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// Sets a timer of a connection, or of the module if `conn` is 0.
pub(crate) fn set_timer(conn: u64, id: i64, after: Duration, every: Duration) -> Result {
    done("timer_set", abi::timer_set(conn, id, millis(after), millis(every)))
}

pub(crate) fn cancel_timer(conn: u64, id: i64) -> Result {
    done_if_found("timer_cancel", abi::timer_cancel(conn, id))
}

/// Rounds up, so that a timer is never early. What is too long for the server stays too long.
fn millis(d: Duration) -> i64 {
    let whole = i64::try_from(d.as_secs()).unwrap_or(i64::MAX).saturating_mul(1000);
    whole.saturating_add((d.subsec_nanos() as i64 + 999_999) / 1_000_000)
}
