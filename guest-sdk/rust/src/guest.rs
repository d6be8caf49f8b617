//! The module's side of the ABI, for the macro `handler!`.

use std::cell::UnsafeCell;

use crate::abi::Level;
use crate::handler::{dispatch, Handler};
use crate::module;

/// The least that the inbound buffer holds, so that small messages ask for it once.
const MIN_INBOUND: usize = 4 << 10;

/// The most that is kept for it, half of the address space; the host refuses long before.
const MAX_INBOUND: usize = 1 << 31;

/// The one instance that a module's memory holds.
pub struct Instance<H>(UnsafeCell<State<H>>);

struct State<H> {
    handler: Option<H>,
    inbound: Vec<u8>,
}

// SAFETY: a module has one thread, and the host does not enter it while it is inside.
unsafe impl<H> Sync for Instance<H> {}

impl<H: Handler> Instance<H> {
    /// An instance that has yet to start.
    #[allow(clippy::new_without_default)]
    pub const fn new() -> Instance<H> {
        Instance(UnsafeCell::new(State { handler: None, inbound: Vec::new() }))
    }

    #[allow(clippy::mut_from_ref)]
    fn state(&self) -> &mut State<H> {
        // SAFETY: see Sync; none of the methods below calls another or keeps the reference.
        unsafe { &mut *self.0.get() }
    }

    /// Makes the handler, and returns the events that it handles.
    pub fn start(&self) -> u64 {
        std::panic::set_hook(Box::new(|panic| module::log(Level::Error, &panic.to_string())));
        self.state().handler = Some(H::default());
        H::EVENTS.bits()
    }

    /// A place for `size` bytes, which the host fills; null if there is none.
    pub fn inbound(&self, size: usize) -> *mut u8 {
        let inbound = &mut self.state().inbound;
        if size > MAX_INBOUND {
            return std::ptr::null_mut();
        }
        if size > inbound.len() || inbound.is_empty() {
            // The next power of two, so that messages that get longer bit by bit do not each cost a buffer. What is in
            // the old one is done with, so it goes first.
            *inbound = Vec::new();
            if inbound.try_reserve_exact(size.next_power_of_two().max(MIN_INBOUND)).is_err() {
                return std::ptr::null_mut();
            }
            inbound.resize(inbound.capacity(), 0);
        }
        inbound.as_mut_ptr()
    }

    /// Delivers one event.
    pub fn event(&self, event: i32, conn: u64, arg: i64, payload: *const u8, size: usize) -> i32 {
        let State { handler, .. } = self.state();
        // SAFETY: the host has written the payload there, and writes nothing until the event is done.
        let payload = match size {
            0 => &[],
            _ => unsafe { std::slice::from_raw_parts(payload, size) },
        };
        match handler {
            Some(handler) => dispatch(handler, event, conn, arg, payload),
            None => 1,
        }
    }
}
