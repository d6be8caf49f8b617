use std::cell::Cell;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::abi::{self, Level};
use crate::error::{done, Result};
use crate::{conn, read, Conn, Message};

/// Sends a message to every member of a topic.
pub fn publish<'a>(topic: &str, message: impl Into<Message<'a>>) -> Result {
    publish_to(topic, message.into(), 0)
}

/// Sends a message to every member of a topic but one; `None` is nobody.
pub fn publish_except<'a>(topic: &str, message: impl Into<Message<'a>>, except: impl Into<Option<Conn>>) -> Result {
    publish_to(topic, message.into(), except.into().map_or(0, Conn::id))
}

fn publish_to(topic: &str, message: Message, except: u64) -> Result {
    done("topic_publish", abi::topic_publish(topic.as_bytes(), message.kind(), message.as_bytes(), except))
}

/// How many members a topic has on this node; 0 if the module may not ask.
pub fn count(topic: &str) -> usize {
    usize::try_from(abi::topic_count(topic.as_bytes())).unwrap_or(0)
}

/// Calls the handler's `timer` without a connection and with the given id once, in at least `delay`. Any instance may be
/// called for it.
pub fn after(id: i64, delay: Duration) -> Result {
    set_timer(id, delay, Duration::ZERO)
}

/// Calls the handler's `timer` without a connection and with the given id again and again.
pub fn every(id: i64, period: Duration) -> Result {
    set_timer(id, period, period)
}

/// Is [`Conn::set_timer`] for a timer of the module.
pub fn set_timer(id: i64, after: Duration, every: Duration) -> Result {
    conn::set_timer(0, id, after, every)
}

/// Takes a timer of the module back. One that is not set is no error.
pub fn cancel_timer(id: i64) -> Result {
    conn::cancel_timer(0, id)
}

/// What this instance is for: its key under the scope `key`, the connection's id in decimal under the scope
/// `connection`, nothing under `pool` and `singleton`.
pub fn key() -> String {
    read::text("instance_key", abi::instance_key).unwrap_or_default()
}

/// The time of day in milliseconds since 1970. It stands still within an event.
pub fn unix_millis() -> i64 {
    abi::time_unix_ms()
}

/// The time of day, to the millisecond. It stands still within an event. ([`SystemTime::now`] panics in a module.)
pub fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(unix_millis().try_into().unwrap_or(0))
}

/// A time that never goes back, for measuring; its zero has no meaning. It stands still within an event.
pub fn uptime() -> Duration {
    Duration::from_nanos(abi::time_mono_ns().try_into().unwrap_or(0))
}

/// Fills `bytes` with random bytes from the instance's own stream, at most 1 MiB at once.
pub fn random(bytes: &mut [u8]) -> Result {
    done("random", abi::random(bytes))
}

/// Writes a line to the server's log, at once: it stays when the handler fails. Lines above the server's rate are
/// dropped.
pub fn log(level: Level, text: &str) {
    abi::log(level as i32, text.as_bytes());
}

/// Writes a line to the server's log, with the words of [`format!`]: `weir::log!(Info, "{} has come", name)`.
#[macro_export]
macro_rules! log {
    ($level:ident, $($words:tt)+) => {
        $crate::log($crate::Level::$level, &::std::format!($($words)+))
    };
}

/// Adds to a metric that the module's configuration declares.
pub fn add_metric(name: &str, delta: i64) -> Result {
    done("metric_add", abi::metric_add(name.as_bytes(), delta))
}

/// Whether the server has a host function of that name, for handlers that can do without it.
pub fn has(function: &str) -> bool {
    abi::abi_has(function.as_bytes()) == 1
}

thread_local! {
    // One instance's, known from its init event on. A module has one thread; natively each test has its own.
    static GENERATION: Cell<u64> = const { Cell::new(0) };
}

/// Which version of the module this is: 1 for the first that was loaded under its name, then one more for each.
pub fn generation() -> u64 {
    GENERATION.with(Cell::get)
}

pub(crate) fn set_generation(generation: u64) {
    GENERATION.with(|g| g.set(generation));
}
