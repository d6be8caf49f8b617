//! Handlers for the weir WebSocket server in Rust.
//!
//! ```no_run
//! use weir::{Conn, Handler, Message, Result};
//!
//! #[derive(Default)]
//! struct Echo;
//!
//! impl Handler for Echo {
//!     fn message(&mut self, conn: Conn, message: Message) -> Result {
//!         conn.send(message)
//!     }
//! }
//!
//! weir::handler!(Echo);
//! ```
//!
//! Built as a `cdylib` for `wasm32-unknown-unknown`, which `weir build` does, it is a module for `weir serve`. The same
//! crate builds natively, where [`testing`] plays the server and its clients: `cargo test`, a debugger and a coverage
//! report work as in any Rust program.
//!
//! # All or nothing
//!
//! The server calls a handler for one event at a time. What the handler asks for (messages, closes, joins, publishes,
//! state, timers) is held back until it returns. `Ok(())` commits all of it in the order of the calls. An error, or a
//! panic, throws all of it away; the server then closes the connection with code 1011 and starts afresh with a new
//! instance. So an error is for what must not have happened. For a peer that misbehaves, [`Conn::close`] the connection
//! with a code that tells it so, and return `Ok(())`.
//!
//! # Where to keep things
//!
//! A module runs in several instances, and any of them may serve the next event of a connection (unless the route's scope
//! says otherwise). What belongs to a connection goes into its state, see [`Conn::set_state`], which also survives when
//! the module is replaced. The fields of the [`Handler`] are good for what every instance can have for itself:
//! configuration, caches, buffers that are used again. Under the scopes `connection`, `key` and `singleton` they are the
//! state, and [`Handler::save`] hands them on.
//!
//! Calls of one instance never overlap, so nothing needs a lock.
//!
//! # Without allocating
//!
//! A message is lent to the handler where the server has put it, and [`Conn::send`] lends bytes to the server. Methods
//! that return a `String` or a `Vec` allocate; those called `read_…` append to a buffer that a handler can keep.

#![warn(missing_docs)]

#[rustfmt::skip]
pub mod abi;
mod conn;
mod error;
mod handler;
mod message;
mod module;
mod read;
mod upgrade;

pub mod json;
pub mod query;

#[doc(hidden)]
#[cfg(target_arch = "wasm32")]
pub mod guest;

#[cfg(not(target_arch = "wasm32"))]
mod native;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;

pub use abi::{Level, Status};
pub use conn::{code, Conn};
pub use error::{Error, Result};
pub use handler::{Closed, Events, Handler};
pub use message::Message;
pub use module::{
    add_metric, after, cancel_timer, count, every, generation, has, key, log, now, publish, publish_except, random,
    set_timer, unix_millis, uptime,
};
pub use upgrade::Upgrade;

/// The README, whose code `cargo test` runs too.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

/// Makes a type the module's handler, once in a crate:
///
/// ```
/// # use weir::Handler;
/// #[derive(Default)]
/// struct Chat;
///
/// impl Handler for Chat {}
///
/// weir::handler!(Chat);
/// ```
#[macro_export]
macro_rules! handler {
    ($handler:ty) => {
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            static INSTANCE: $crate::guest::Instance<$handler> = $crate::guest::Instance::new();

            #[no_mangle]
            extern "C" fn weir_abi_1() -> u64 {
                INSTANCE.start()
            }

            #[no_mangle]
            extern "C" fn weir_inbound(size: usize) -> *mut u8 {
                INSTANCE.inbound(size)
            }

            #[no_mangle]
            extern "C" fn weir_event(event: i32, conn: u64, arg: i64, payload: *const u8, size: usize) -> i32 {
                INSTANCE.event(event, conn, arg, payload, size)
            }
        };

        // Natively, where tests make handlers, this only holds the type to the trait.
        #[cfg(not(target_arch = "wasm32"))]
        const _: fn() = || {
            fn handles<H: $crate::Handler>() {}
            handles::<$handler>();
        };
    };
}
