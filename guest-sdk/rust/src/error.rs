use std::fmt;

use crate::abi::Status;

/// What a handler returns: `Ok(())` commits what the call asked for, an error takes all of it back.
pub type Result<T = (), E = Error> = std::result::Result<T, E>;

/// Why something failed: a call that the server refused, or a text of the handler's own.
///
/// Any error of another library becomes one with `?`, and [`Error::new`] makes one of whatever can be displayed. (As with
/// every error type that takes others that way, it is none itself: it does not implement [`std::error::Error`].)
pub struct Error(Repr);

enum Repr {
    Refused(&'static str, Status),
    Rejected(u16),
    Text(Box<str>),
}

impl Error {
    /// Makes an error with a text, for the server's log.
    pub fn new(text: impl fmt::Display) -> Error {
        Error(Repr::Text(text.to_string().into()))
    }

    /// Turns a client away with an HTTP status from 400 to 599, in [`Handler::upgrade`](crate::Handler::upgrade):
    ///
    /// ```
    /// # fn upgrade() -> weir::Result {
    /// return Err(weir::Error::reject(401));
    /// # }
    /// ```
    pub fn reject(status: u16) -> Error {
        Error(Repr::Rejected(status))
    }

    /// The server's reason, if this is a call that it refused.
    pub fn status(&self) -> Option<Status> {
        match self.0 {
            Repr::Refused(_, status) => Some(status),
            _ => None,
        }
    }

    /// The HTTP status of [`Error::reject`].
    pub(crate) fn rejection(&self) -> Option<u16> {
        match self.0 {
            Repr::Rejected(status) => Some(status),
            _ => None,
        }
    }
}

/// Compares the server's reason.
///
/// ```
/// # use weir::{Conn, Message, Status};
/// # fn message(conn: Conn, message: Message) -> weir::Result {
/// match conn.send(message) {
///     Err(e) if e == Status::QueueFull => conn.close(weir::code::TRY_LATER, "you read too slowly"),
///     sent => sent,
/// }
/// # }
/// ```
impl PartialEq<Status> for Error {
    fn eq(&self, status: &Status) -> bool {
        self.status() == Some(*status)
    }
}

impl<E: std::error::Error> From<E> for Error {
    fn from(error: E) -> Error {
        Error::new(error)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match &self.0 {
            Repr::Refused(function, status) => write!(f, "{}: {}", function, status.text()),
            Repr::Rejected(status) => write!(f, "rejected with {}", status),
            Repr::Text(text) => f.write_str(text),
        }
    }
}

/// Reads as the text does, so that a test that unwraps says what happened.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Status::Other(code) => write!(f, "{} ({})", self.text(), code),
            _ => f.write_str(self.text()),
        }
    }
}

/// Makes an error of a negative status; anything else is a result.
pub(crate) fn check(function: &'static str, result: i32) -> Result<u32> {
    u32::try_from(result).map_err(|_| Error(Repr::Refused(function, Status::from_code(result))))
}

/// Is [`check`] for a call without a result.
pub(crate) fn done(function: &'static str, result: i32) -> Result {
    check(function, result).map(|_| ())
}

/// Is [`done`] for a call that has nothing to do when there is nothing.
pub(crate) fn done_if_found(function: &'static str, result: i32) -> Result {
    match done(function, result) {
        Err(e) if e == Status::NotFound => Ok(()),
        other => other,
    }
}
