//! Lets a handler run outside a sandbox: in a native build the raw functions end here, and a fake server answers them.
//! Each thread has its own, so that tests run in parallel.

use std::cell::RefCell;
use std::panic::{catch_unwind, resume_unwind, AssertUnwindSafe};

use crate::abi::Status;
use crate::testing::World;

thread_local! {
    /// What answers the calls of the event that runs.
    static CURRENT: RefCell<Option<World>> = const { RefCell::new(None) };
}

/// Lets the world of the event that runs answer a call. Outside an event every call is refused.
pub(crate) fn with_host<R: From<i32>>(call: impl FnOnce(&mut World) -> R) -> R {
    CURRENT.with(|current| match current.borrow_mut().as_mut() {
        Some(world) => call(world),
        None => Status::Unavailable.code().into(),
    })
}

/// Runs an event in a world, which is there again when the event panics.
pub(crate) fn run(world: &mut Option<World>, event: impl FnOnce() -> i32) -> i32 {
    CURRENT.with(|current| *current.borrow_mut() = world.take());
    let status = catch_unwind(AssertUnwindSafe(event));
    *world = CURRENT.with(|current| current.borrow_mut().take());
    status.unwrap_or_else(|panic| resume_unwind(panic))
}
