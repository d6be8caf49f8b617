use crate::abi;
use crate::error::{done, Result};
use crate::{read, Conn};

/// A client's request to connect, in [`Handler::upgrade`](crate::Handler::upgrade).
pub struct Upgrade {
    conn: Conn,
}

impl Upgrade {
    pub(crate) fn new(conn: Conn) -> Upgrade {
        Upgrade { conn }
    }

    /// What the connection will be called if it is accepted. Its attributes can be read already, and a state that is
    /// stored is there when it opens: who was let in, for example.
    pub fn conn(&self) -> Conn {
        self.conn
    }

    /// The path and the query of the request, as sent.
    pub fn uri(&self) -> String {
        read::text("upgrade_uri", abi::upgrade_uri).unwrap_or_default()
    }

    /// The path of the request, as sent.
    pub fn path(&self) -> String {
        self.conn.path()
    }

    /// The first value of a parameter of the query, decoded.
    pub fn query(&self, name: &str) -> Option<String> {
        self.conn.query(name)
    }

    /// The part of the path that the route calls by a name, decoded.
    pub fn param(&self, name: &str) -> Option<String> {
        self.conn.param(name)
    }

    /// The client's address and port.
    pub fn remote_addr(&self) -> String {
        self.conn.remote_addr()
    }

    /// Any header of the request; several of one name are joined by `, `.
    pub fn header(&self, name: &str) -> Option<String> {
        read::text("upgrade_header", |buf| abi::upgrade_header(name.as_bytes(), buf)).ok()
    }

    /// The subprotocols that the client offers, those it prefers first.
    pub fn protocols(&self) -> Vec<String> {
        let offered = self.header("Sec-WebSocket-Protocol").unwrap_or_default();
        offered.split(',').map(str::trim).filter(|name| !name.is_empty()).map(String::from).collect()
    }

    /// Picks one of the subprotocols that the client offers; [`NotFound`](crate::Status::NotFound) if it does not offer
    /// it.
    pub fn set_protocol(&self, name: &str) -> Result {
        done("upgrade_protocol", abi::upgrade_protocol(name.as_bytes()))
    }

    /// Adds a header to the response, whether it accepts or rejects.
    pub fn add_header(&self, name: &str, value: &str) -> Result {
        done("upgrade_respond_header", abi::upgrade_respond_header(name.as_bytes(), value.as_bytes()))
    }

    /// Stores what the connection's [`state`](Conn::state) is from `open` on.
    pub fn set_state(&self, state: impl AsRef<[u8]>) -> Result {
        self.conn.set_state(state)
    }
}
