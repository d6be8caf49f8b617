//! A server in memory, for tests of a handler: no sockets, no sandbox, virtual time.
//!
//! ```
//! use weir::testing::Server;
//! # use weir::{Conn, Handler, Message, Result};
//! # #[derive(Default)]
//! # struct Echo;
//! # impl Handler for Echo {
//! #     fn message(&mut self, conn: Conn, message: Message) -> Result { conn.send(message) }
//! # }
//!
//! let mut server = Server::<Echo>::new();
//! let ann = server.open("/lobby?name=ann");
//! server.send(ann, "hello");
//! assert_eq!(server.texts(ann), ["hello"]);
//! ```
//!
//! Every call delivers its events before it returns: after [`Server::send`] what the handler sent is there. A handler
//! that panics panics in the test.
//!
//! The server follows the rules of ABI.md, all-or-nothing included, with the default limits. It has one instance only:
//! what a handler of the scope `pool` wrongly keeps in its fields goes unnoticed here, and a real server shows it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use crate::abi::{self, event, kind, Host, Status};
use crate::handler::dispatch;
use crate::{module, native, Conn, Handler, Message};

// The limits of a real server, at their defaults.
const MAX_STATE: usize = 16 << 10;
const MAX_SAVED: usize = 1 << 20;
const MAX_REASON: usize = 123;
const MAX_TOPIC: usize = 255;
const MAX_TOPICS_PER_CONN: usize = 128;
const MAX_TIMERS_PER_CONN: usize = 64;
const MAX_TIMERS: usize = 10_000;
const MIN_TIMER_MS: i64 = 10;
const MAX_TIMER_MS: i64 = 10 * 365 * 24 * 3600 * 1000;
const MAX_MESSAGE: usize = 1 << 20;
const MAX_QUEUE: usize = 1 << 20;
const MAX_EFFECTS: usize = 1000; // per event
const MAX_RANDOM: usize = 1 << 20;

/// The event of a world in which none runs.
const NO_EVENT: i32 = -1;

/// What the server's operator would have configured. The default has one route for every path, and grants topics and
/// timers.
#[derive(Clone, Debug)]
pub struct Options {
    /// The pattern that paths must match, such as `/chat/{room}`; empty takes every path.
    pub route: String,
    /// The module's configuration (JSON), handed to the handler's `init`.
    pub config: String,
    /// The request headers that [`Conn::header`] can read after the upgrade.
    pub keep_headers: Vec<String>,
    /// The capabilities that are not granted: `topics`, `timers`.
    pub deny: Vec<String>,
    /// The metrics that the configuration declares; none means that the capability is not granted.
    pub metrics: Vec<String>,
    /// What the instance is for, under the scope `key`; empty is an instance for everybody.
    pub key: String,
    /// The time at which the test begins, in milliseconds since 1970.
    pub start_millis: i64,
    /// Starts the random stream; not 0.
    pub seed: u64,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            route: String::new(),
            config: "{}".into(),
            keep_headers: Vec::new(),
            deny: Vec::new(),
            metrics: Vec::new(),
            key: String::new(),
            start_millis: 1_767_225_600_000, // the first second of 2026, UTC
            seed: 1,
        }
    }
}

/// A message that a client was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Received {
    /// A text message.
    Text(String),
    /// A binary message.
    Binary(Vec<u8>),
}

impl Received {
    fn len(&self) -> usize {
        match self {
            Received::Text(text) => text.len(),
            Received::Binary(data) => data.len(),
        }
    }
}

/// A client's request to connect.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// The path and the query; empty is `/`.
    pub target: String,
    /// What the client sends besides the handshake itself.
    pub headers: Vec<(String, String)>,
    /// The subprotocols that the client offers, those it prefers first.
    pub protocols: Vec<String>,
}

/// The server's answer to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// The client that it connects; none if the request is rejected.
    pub conn: Option<Conn>,
    /// The HTTP status: 101 when the connection was accepted.
    pub status: u16,
    /// The subprotocol that the handler picked; empty if it did not.
    pub protocol: String,
    /// What the handler added, in the order of its calls.
    pub headers: Vec<(String, String)>,
}

/// How a connection ended, as its client sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// The close code: 1006 when the connection broke.
    pub code: u16,
    /// What was said about it.
    pub reason: String,
}

/// A server with one instance of a handler. Its clients are told by the [`Conn`] that the handler knows.
pub struct Server<H> {
    handler: H,
    world: Option<World>, // lent to the event that runs
    generation: u64,
}

impl<H: Handler> Default for Server<H> {
    fn default() -> Server<H> {
        Server::new()
    }
}

impl<H: Handler> Server<H> {
    /// Starts a server with the default options.
    pub fn new() -> Server<H> {
        Server::with(Options::default())
    }

    /// Starts a server, and delivers the init event. Panics if the handler refuses its configuration.
    pub fn with(options: Options) -> Server<H> {
        match Server::load(options) {
            Ok(server) => server,
            Err(logs) => panic!("the handler refuses its configuration: {}", logs.join("; ")),
        }
    }

    /// Starts a server, unless the handler refuses its configuration: then what it has logged is the error.
    pub fn load(options: Options) -> Result<Server<H>, Vec<String>> {
        let mut server = Server { handler: H::default(), world: Some(World::new(options)), generation: 1 };
        match server.init() {
            0 => Ok(server),
            _ => Err(server.logs()),
        }
    }

    fn init(&mut self) -> i32 {
        let config = self.world().options.config.clone();
        self.run(event::INIT, 0, self.generation as i64, config.as_bytes())
    }

    /// Connects a client to a target such as `/chat/lobby?name=ann`. Panics if it is rejected.
    pub fn open(&mut self, target: &str) -> Conn {
        let response = self.dial(Request { target: target.into(), ..Request::default() });
        match response.conn {
            Some(conn) => conn,
            None => panic!("open {target}: rejected with {}", response.status),
        }
    }

    /// Sends a request to connect.
    pub fn dial(&mut self, mut request: Request) -> Response {
        if request.target.is_empty() {
            request.target.push('/');
        }
        if !request.protocols.is_empty() {
            request.headers.push(("Sec-WebSocket-Protocol".into(), request.protocols.join(", ")));
        }
        let world = self.world();
        let client = match Client::new(&world.options, &request) {
            Some(client) => client,
            None => return Response { conn: None, status: 404, protocol: String::new(), headers: Vec::new() },
        };
        world.last_conn += 1;
        let id = world.last_conn;
        world.clients.insert(id, client);
        world.asked = Some(Asked { conn: id, request, protocol: String::new(), headers: Vec::new() });
        let status = if wants::<H>(event::UPGRADE) { self.run(event::UPGRADE, id, 0, &[]) } else { 0 };

        let world = self.world();
        let asked = world.asked.take().expect("the request that was asked about");
        let mut response = Response { conn: None, status: 101, protocol: asked.protocol, headers: asked.headers };
        if status != 0 {
            world.clients.remove(&id);
            response.status = if (400..600).contains(&status) { status as u16 } else { 500 };
            response.protocol.clear();
            return response;
        }
        world.client(id).attrs.insert(abi::attr::PROTOCOL.into(), response.protocol.clone());
        self.deliver(event::OPEN, id, 0, &[]);
        response.conn = Conn::from_id(id);
        response
    }

    /// Sends a message to the handler. Panics if the connection is closed.
    pub fn send<'a>(&mut self, conn: Conn, message: impl Into<Message<'a>>) {
        let message = message.into();
        if let Some(ended) = self.ended(conn) {
            panic!("send on a connection that was closed with {} {:?}", ended.code, ended.reason);
        }
        let event = match message {
            Message::Text(_) => event::TEXT,
            Message::Binary(_) => event::BINARY,
        };
        self.deliver(event, conn.id(), 0, message.as_bytes());
    }

    /// Closes the connection from the client's side, with close frames both ways.
    pub fn close(&mut self, conn: Conn, code: u16, reason: &str) {
        self.end(conn, code, reason, true);
    }

    /// Breaks the connection.
    pub fn abort(&mut self, conn: Conn) {
        self.end(conn, 1006, "", false);
    }

    /// Closes the connection as one whose handler has failed, for a test that has caught a panic.
    pub fn fail(&mut self, conn: Conn) {
        self.end(conn, 1011, "handler failed", true);
    }

    fn end(&mut self, conn: Conn, code: u16, reason: &str, clean: bool) {
        if self.ended(conn).is_none() {
            self.world().client(conn.id()).leave(code, reason, clean);
            self.gone(conn.id());
        }
    }

    /// Makes the client stop reading: what is sent to it waits in its queue, until that is full.
    pub fn pause(&mut self, conn: Conn) {
        self.world().client(conn.id()).paused = true;
    }

    /// Makes the client read again, what has waited first.
    pub fn resume(&mut self, conn: Conn) {
        let client = self.world().client(conn.id());
        client.paused = false;
        client.queued = 0;
    }

    /// Takes the oldest message that the client was sent and has not taken.
    pub fn next(&mut self, conn: Conn) -> Option<Received> {
        self.world().client(conn.id()).inbox.pop_front()
    }

    /// Takes everything that the client was sent and has not taken.
    pub fn received(&mut self, conn: Conn) -> Vec<Received> {
        self.world().client(conn.id()).inbox.drain(..).collect()
    }

    /// Is [`Server::received`] for text messages. Panics if there is another.
    pub fn texts(&mut self, conn: Conn) -> Vec<String> {
        let text = |message| match message {
            Received::Text(text) => text,
            Received::Binary(data) => panic!("got a binary message of {} bytes, want text", data.len()),
        };
        self.received(conn).into_iter().map(text).collect()
    }

    /// How the connection ended; none if it is open.
    pub fn ended(&mut self, conn: Conn) -> Option<Ended> {
        let client = self.world().client(conn.id());
        client.left.then(|| Ended { code: client.code, reason: client.reason.clone() })
    }

    /// The code with which the connection was closed; none if it is open.
    pub fn code(&mut self, conn: Conn) -> Option<u16> {
        self.ended(conn).map(|ended| ended.code)
    }

    /// What [`Conn::set_state`] has stored with the connection.
    pub fn state(&mut self, conn: Conn) -> Vec<u8> {
        self.world().client(conn.id()).state.clone()
    }

    /// Lets time pass. Timers that come due fire in their order, each at its own time.
    pub fn advance(&mut self, by: Duration) {
        let until = self.world().now_millis + by.as_millis() as i64;
        loop {
            let world = self.world();
            let next = world.timers.iter().min_by_key(|(_, timer)| (timer.due, timer.order));
            let ((conn, id), mut timer) = match next {
                Some((key, timer)) if timer.due <= until => (*key, *timer),
                _ => break,
            };
            world.now_millis = world.now_millis.max(timer.due);
            if timer.every > 0 {
                timer.due += timer.every;
                world.timers.insert((conn, id), timer);
            } else {
                world.timers.remove(&(conn, id));
            }
            self.deliver(event::TIMER, conn, id, &[]);
        }
        self.world().now_millis = until;
    }

    /// Announces that the server goes down in the given time: to each connection, and to the module.
    pub fn drain(&mut self, left: Duration) {
        let open: Vec<u64> = self.world().clients.iter().filter(|(_, c)| !c.left).map(|(id, _)| *id).collect();
        for id in open.into_iter().chain([0]) {
            self.deliver(event::DRAIN, id, left.as_millis() as i64, &[]);
        }
    }

    /// Plays what happens to an instance of the scope `connection`, `key` or `singleton` when a new version of its module
    /// comes: the save event, then init and restore in a new instance. It returns whether the new version was taken; the
    /// old one goes on if it was not.
    pub fn replace(&mut self) -> bool {
        self.world().saved = None;
        if wants::<H>(event::SAVE) && self.run(event::SAVE, 0, self.generation as i64, &[]) != 0 {
            return false;
        }
        let saved = self.world().saved.take();
        let saved_by = self.generation;
        let old = std::mem::take(&mut self.handler);
        self.generation += 1;
        let taken = self.init() == 0
            && match saved {
                Some(state) => wants::<H>(event::RESTORE) && self.run(event::RESTORE, 0, saved_by as i64, &state) == 0,
                None => true,
            };
        if !taken {
            self.handler = old;
            self.generation = saved_by;
        }
        taken
    }

    /// The handler itself, to look into it.
    pub fn handler(&mut self) -> &mut H {
        &mut self.handler
    }

    /// How many connections are in a topic.
    pub fn members(&mut self, topic: &str) -> usize {
        self.world().topics.get(topic.as_bytes()).map_or(0, BTreeSet::len)
    }

    /// What the handler has added to a metric.
    pub fn metric(&mut self, name: &str) -> i64 {
        self.world().metrics.get(name.as_bytes()).copied().unwrap_or(0)
    }

    /// Takes what was logged and has not been taken, as `level text`.
    pub fn logs(&mut self) -> Vec<String> {
        std::mem::take(&mut self.world().logs)
    }

    fn world(&mut self) -> &mut World {
        self.world.as_mut().expect("no event runs")
    }

    /// Delivers an event, closes the connection if it fails, and then every connection that is to be closed.
    fn deliver(&mut self, event: i32, conn: u64, arg: i64, payload: &[u8]) {
        if wants::<H>(event) {
            let status = self.run(event, conn, arg, payload);
            if status != 0 && conn != 0 && event != event::CLOSE {
                self.world().client(conn).leave(1011, "handler failed", true);
            }
        }
        while let Some(id) = self.world().clients.iter().find(|(_, client)| client.closing).map(|(id, _)| *id) {
            self.gone(id);
        }
    }

    /// Takes a connection off the books, and tells the handler.
    fn gone(&mut self, id: u64) {
        let world = self.world();
        for members in world.topics.values_mut() {
            members.remove(&id);
        }
        world.timers.retain(|(conn, _), _| *conn != id);
        let client = world.client(id);
        client.closing = false;
        client.left = true;
        let arg = i64::from(client.code) | i64::from(client.clean) << 16;
        let reason = client.reason.clone();
        world.parting = id; // the close event finds it still there
        self.deliver(event::CLOSE, id, arg, reason.as_bytes());
        self.world().parting = 0;
    }

    /// Runs one event, and takes everything back but the log and the random stream if the handler fails.
    fn run(&mut self, event: i32, conn: u64, arg: i64, payload: &[u8]) -> i32 {
        module::set_generation(self.generation);
        let before = self.world().clone();
        let world = self.world();
        world.event = event;
        world.effects = 0;

        struct Undo<'a>(&'a mut Option<World>, Option<World>);
        impl Drop for Undo<'_> {
            fn drop(&mut self) {
                let world = self.0.as_mut().expect("the world comes back from its event");
                world.event = NO_EVENT;
                if let Some(before) = self.1.take() {
                    let failed = std::mem::replace(world, before);
                    world.logs = failed.logs;
                    world.random = failed.random;
                    world.asked = failed.asked; // a rejection has headers too
                }
            }
        }
        let handler = &mut self.handler;
        let mut undo = Undo(&mut self.world, Some(before)); // also when the handler panics
        let status = native::run(undo.0, || dispatch(handler, event, conn, arg, payload));
        if status == 0 {
            undo.1 = None;
        }
        status
    }
}

/// Whether the handler is called for an event.
fn wants<H: Handler>(event: i32) -> bool {
    H::EVENTS.bits() & 1 << event != 0
}

/// One connection, seen from its far end.
#[derive(Clone, Debug, Default)]
struct Client {
    attrs: BTreeMap<String, String>,
    state: Vec<u8>,
    inbox: VecDeque<Received>,
    queued: usize, // bytes that came while it was paused
    paused: bool,
    closing: bool, // a close was asked for
    left: bool,    // the close event runs, or has run
    code: u16,
    reason: String,
    clean: bool,
}

impl Client {
    /// A client that sends a request; none if the route does not match.
    fn new(options: &Options, request: &Request) -> Option<Client> {
        let (path, query) = request.target.split_once('?').unwrap_or((&request.target, ""));
        let mut attrs = BTreeMap::new();
        attrs.insert(abi::attr::REMOTE_ADDR.into(), "192.0.2.1:1234".into());
        attrs.insert(abi::attr::PATH.into(), path.into());
        attrs.insert(abi::attr::QUERY.into(), query.into());
        for (name, value) in match_route(&options.route, path)? {
            attrs.insert(abi::attr::PARAM.to_string() + &name, value);
        }
        for name in &options.keep_headers {
            if let Some(value) = joined(&request.headers, name) {
                attrs.insert(abi::attr::HEADER.to_string() + &name.to_ascii_lowercase(), value);
            }
        }
        Some(Client { attrs, ..Client::default() })
    }

    fn take(&mut self, message: Received) {
        if self.paused {
            self.queued += message.len();
        }
        self.inbox.push_back(message);
    }

    /// Whether the queue has no room for so many bytes.
    fn full(&self, more: usize) -> bool {
        self.paused && self.queued + more > MAX_QUEUE
    }

    /// Notes how the connection ends.
    fn leave(&mut self, code: u16, reason: &str, clean: bool) {
        self.closing = true;
        self.code = code;
        self.reason = reason.into();
        self.clean = clean;
    }
}

/// The request that an upgrade event decides about, and the answer so far.
#[derive(Clone, Debug)]
struct Asked {
    conn: u64,
    request: Request,
    protocol: String,
    headers: Vec<(String, String)>,
}

#[derive(Clone, Copy, Debug)]
struct Timer {
    due: i64,
    every: i64, // 0 is once
    order: u64, // timers due together fire in the order in which they were set
}

/// Everything but the handler: an event that fails brings back the one before it.
#[derive(Clone, Debug)]
pub(crate) struct World {
    options: Options,
    now_millis: i64,
    random: u64,
    clients: BTreeMap<u64, Client>, // those that have left too, for what the test asks about them
    last_conn: u64,
    topics: BTreeMap<Vec<u8>, BTreeSet<u64>>,
    timers: BTreeMap<(u64, i64), Timer>,
    timers_set: u64,
    metrics: BTreeMap<Vec<u8>, i64>,
    logs: Vec<String>,
    saved: Option<Vec<u8>>,
    // The event that runs.
    event: i32,
    effects: usize,
    asked: Option<Asked>, // of an upgrade event
    parting: u64,         // the connection of a close event
}

/// What a host function returns before it is a number.
type Answer<T> = Result<T, Status>;

fn status(answer: Answer<()>) -> i32 {
    answer.map_or_else(Status::code, |()| 0)
}

fn result(answer: Answer<i32>) -> i32 {
    answer.unwrap_or_else(Status::code)
}

fn refuse_if(condition: bool, reason: Status) -> Answer<()> {
    if condition {
        return Err(reason);
    }
    Ok(())
}

/// Writes a result if all of it fits.
fn fill(buffer: &mut [u8], value: &[u8]) -> i32 {
    if let Some(room) = buffer.get_mut(..value.len()) {
        room.copy_from_slice(value);
    }
    value.len() as i32
}

impl World {
    fn new(options: Options) -> World {
        World {
            now_millis: options.start_millis,
            random: options.seed.max(1),
            options,
            clients: BTreeMap::new(),
            last_conn: 0,
            topics: BTreeMap::new(),
            timers: BTreeMap::new(),
            timers_set: 0,
            metrics: BTreeMap::new(),
            logs: Vec::new(),
            saved: None,
            event: NO_EVENT,
            effects: 0,
            asked: None,
            parting: 0,
        }
    }

    /// The client of a test, which has not made the number up.
    fn client(&mut self, id: u64) -> &mut Client {
        self.clients.get_mut(&id).expect("a connection of this server")
    }

    fn granted(&self, capability: &str) -> Answer<()> {
        refuse_if(self.options.deny.iter().any(|name| name == capability), Status::Denied)
    }

    /// Counts one effect of the event.
    fn effect(&mut self) -> Answer<()> {
        self.effects += 1;
        refuse_if(self.effects > MAX_EFFECTS, Status::TooMany)
    }

    /// Finds a connection that the handler may know of.
    fn find(&mut self, conn: u64) -> Answer<&mut Client> {
        let parting = self.parting;
        self.clients.get_mut(&conn).filter(|client| !client.left || parting == conn).ok_or(Status::UnknownConnection)
    }

    /// Refuses what the event does not allow about a connection, or about the module if it is 0.
    fn allowed(&self, conn: u64) -> Answer<()> {
        let own_upgrade = self.asked.as_ref().map_or(false, |asked| asked.conn == conn);
        refuse_if(matches!(self.event, event::CLOSE | event::SAVE | event::RESTORE) || own_upgrade, Status::Denied)
    }

    /// Finds a connection that can be sent to.
    fn reach(&mut self, conn: u64) -> Answer<&mut Client> {
        self.find(conn)?;
        self.allowed(conn)?;
        let client = self.find(conn)?;
        refuse_if(client.closing, Status::Closed).map(|()| client)
    }
}

impl Host for World {
    fn conn_send(&mut self, conn: u64, kind: i32, data: &[u8]) -> i32 {
        status((|| {
            let message = received(kind, data)?;
            let full = self.reach(conn)?.full(data.len());
            refuse_if(full, Status::QueueFull)?;
            self.effect()?;
            self.find(conn)?.take(message);
            Ok(())
        })())
    }

    fn conn_close(&mut self, conn: u64, code: i32, reason: &[u8]) -> i32 {
        status((|| {
            let known = matches!(code, 1000 | 1001 | 1008 | 1011..=1013 | 3000..=4999);
            refuse_if(!known, Status::Invalid)?;
            refuse_if(reason.len() > MAX_REASON, Status::TooBig)?;
            let reason = utf8(reason)?;
            self.reach(conn)?;
            self.effect()?;
            self.find(conn)?.leave(code as u16, reason, true);
            Ok(())
        })())
    }

    fn conn_attr(&mut self, conn: u64, name: &[u8], value: &mut [u8]) -> i32 {
        let mut name = String::from_utf8_lossy(name).into_owned();
        if name.starts_with(abi::attr::HEADER) {
            name.make_ascii_lowercase();
        }
        result((|| {
            let attr = self.find(conn)?.attrs.get(&name).ok_or(Status::NotFound)?;
            Ok(fill(value, attr.as_bytes()))
        })())
    }

    fn conn_state_get(&mut self, conn: u64, state: &mut [u8]) -> i32 {
        result(self.find(conn).map(|client| fill(state, &client.state)))
    }

    fn conn_state_set(&mut self, conn: u64, state: &[u8]) -> i32 {
        status((|| {
            self.find(conn)?;
            refuse_if(state.len() > MAX_STATE, Status::TooBig)?;
            self.effect()?;
            self.find(conn)?.state = state.to_vec();
            Ok(())
        })())
    }

    fn conn_queued(&mut self, conn: u64) -> i64 {
        match self.find(conn) {
            Ok(client) => client.queued as i64,
            Err(status) => status.code().into(),
        }
    }

    fn topic_join(&mut self, conn: u64, topic: &[u8]) -> i32 {
        status((|| {
            self.granted("topics")?;
            let topic = valid_topic(topic)?;
            self.reach(conn)?;
            let joined = self.topics.values().filter(|members| members.contains(&conn)).count();
            if !self.topics.get(topic).map_or(false, |members| members.contains(&conn)) {
                refuse_if(joined >= MAX_TOPICS_PER_CONN, Status::TooMany)?;
                self.effect()?;
                self.topics.entry(topic.into()).or_default().insert(conn);
            }
            Ok(())
        })())
    }

    fn topic_leave(&mut self, conn: u64, topic: &[u8]) -> i32 {
        status((|| {
            self.granted("topics")?;
            let topic = valid_topic(topic)?;
            self.find(conn)?;
            self.allowed(conn)?;
            let left = self.topics.get_mut(topic).map_or(false, |members| members.remove(&conn));
            refuse_if(!left, Status::NotFound)?;
            self.effect()
        })())
    }

    fn topic_publish(&mut self, topic: &[u8], kind: i32, data: &[u8], except: u64) -> i32 {
        status((|| {
            self.granted("topics")?;
            let topic = valid_topic(topic)?;
            let message = received(kind, data)?;
            refuse_if(matches!(self.event, event::SAVE | event::RESTORE), Status::Denied)?;
            self.effect()?;
            for id in self.topics.get(topic).into_iter().flatten() {
                match self.clients.get_mut(id) {
                    Some(client) if *id != except && !client.closing => {
                        if client.full(data.len()) {
                            client.leave(1013, "reads too slowly", true);
                        } else {
                            client.take(message.clone());
                        }
                    }
                    _ => {}
                }
            }
            Ok(())
        })())
    }

    fn topic_count(&mut self, topic: &[u8]) -> i32 {
        result((|| {
            self.granted("topics")?;
            Ok(self.topics.get(valid_topic(topic)?).map_or(0, BTreeSet::len) as i32)
        })())
    }

    fn timer_set(&mut self, conn: u64, id: i64, after_ms: i64, every_ms: i64) -> i32 {
        status((|| {
            self.granted("timers")?;
            let within = |millis| (0..=MAX_TIMER_MS).contains(&millis);
            refuse_if(!within(after_ms) || !within(every_ms), Status::Invalid)?;
            match conn {
                0 => self.allowed(0)?,
                _ => self.reach(conn).map(|_| ())?,
            }
            if !self.timers.contains_key(&(conn, id)) {
                let own = self.timers.keys().filter(|(owner, _)| *owner == conn).count();
                let many = self.timers.len() >= MAX_TIMERS || conn != 0 && own >= MAX_TIMERS_PER_CONN;
                refuse_if(many, Status::TooMany)?;
            }
            self.effect()?;
            self.timers_set += 1;
            let every = if every_ms > 0 { every_ms.max(MIN_TIMER_MS) } else { 0 };
            let due = self.now_millis + after_ms.max(MIN_TIMER_MS);
            self.timers.insert((conn, id), Timer { due, every, order: self.timers_set });
            Ok(())
        })())
    }

    fn timer_cancel(&mut self, conn: u64, id: i64) -> i32 {
        status((|| {
            self.granted("timers")?;
            if conn != 0 {
                self.find(conn)?;
            }
            self.allowed(conn)?;
            self.timers.remove(&(conn, id)).ok_or(Status::NotFound)?;
            self.effect()
        })())
    }

    fn time_unix_ms(&mut self) -> i64 {
        self.now_millis
    }

    fn time_mono_ns(&mut self) -> i64 {
        (self.now_millis - self.options.start_millis) * 1_000_000
    }

    /// Fills memory from a small generator (Marsaglia's xorshift64), so that tests repeat.
    fn random(&mut self, data: &mut [u8]) -> i32 {
        status(refuse_if(data.len() > MAX_RANDOM, Status::TooBig).map(|()| {
            for byte in data {
                self.random ^= self.random << 13;
                self.random ^= self.random >> 7;
                self.random ^= self.random << 17;
                *byte = (self.random >> 32) as u8;
            }
        }))
    }

    fn log(&mut self, level: i32, text: &[u8]) -> i32 {
        let level = match level {
            0 => "debug",
            1 => "info",
            2 => "warn",
            3 => "error",
            _ => return Status::Invalid.code(),
        };
        self.logs.push(format!("{level} {}", String::from_utf8_lossy(text)));
        0
    }

    fn metric_add(&mut self, name: &[u8], delta: i64) -> i32 {
        status((|| {
            refuse_if(self.options.metrics.is_empty(), Status::Denied)?;
            let declared = self.options.metrics.iter().any(|metric| metric.as_bytes() == name);
            refuse_if(!declared, Status::NotFound)?;
            self.effect()?;
            *self.metrics.entry(name.into()).or_default() += delta;
            Ok(())
        })())
    }

    fn abi_has(&mut self, name: &[u8]) -> i32 {
        abi::FUNCTIONS.iter().any(|function| function.as_bytes() == name).into()
    }

    fn upgrade_uri(&mut self, uri: &mut [u8]) -> i32 {
        let asked = self.asked.as_ref().ok_or(Status::Unavailable);
        result(asked.map(|asked| fill(uri, asked.request.target.as_bytes())))
    }

    fn upgrade_header(&mut self, name: &[u8], value: &mut [u8]) -> i32 {
        result((|| {
            let asked = self.asked.as_ref().ok_or(Status::Unavailable)?;
            let header = joined(&asked.request.headers, &String::from_utf8_lossy(name)).ok_or(Status::NotFound)?;
            Ok(fill(value, header.as_bytes()))
        })())
    }

    fn upgrade_protocol(&mut self, name: &[u8]) -> i32 {
        status((|| {
            let asked = self.asked.as_mut().ok_or(Status::Unavailable)?;
            let name = token(name)?;
            let offered = asked.request.protocols.iter().any(|protocol| protocol == name);
            refuse_if(!offered, Status::NotFound)?;
            asked.protocol = name.into();
            Ok(())
        })())
    }

    fn upgrade_respond_header(&mut self, name: &[u8], value: &[u8]) -> i32 {
        status((|| {
            let asked = self.asked.as_mut().ok_or(Status::Unavailable)?;
            let (name, value) = (token(name)?, String::from_utf8_lossy(value));
            refuse_if(value.chars().any(|c| c < ' ' && c != '\t' || c == '\u{7f}'), Status::Invalid)?;
            let lower = name.to_ascii_lowercase();
            let own = ["connection", "upgrade", "content-length", "transfer-encoding"].contains(&&*lower);
            refuse_if(own || lower.starts_with("sec-websocket-"), Status::Denied)?;
            asked.headers.push((name.into(), value.into()));
            Ok(())
        })())
    }

    fn state_save(&mut self, data: &[u8]) -> i32 {
        status((|| {
            refuse_if(self.event != event::SAVE, Status::Unavailable)?;
            refuse_if(data.len() > MAX_SAVED, Status::TooBig)?;
            self.saved = Some(data.into());
            Ok(())
        })())
    }

    fn instance_key(&mut self, key: &mut [u8]) -> i32 {
        fill(key, self.options.key.as_bytes())
    }
}

fn utf8(text: &[u8]) -> Answer<&str> {
    std::str::from_utf8(text).map_err(|_| Status::Invalid)
}

fn received(kind: i32, data: &[u8]) -> Answer<Received> {
    let message = match kind {
        kind::TEXT => Received::Text(utf8(data)?.into()),
        kind::BINARY => Received::Binary(data.into()),
        _ => return Err(Status::Invalid),
    };
    refuse_if(data.len() > MAX_MESSAGE, Status::TooBig).map(|()| message)
}

fn valid_topic(topic: &[u8]) -> Answer<&[u8]> {
    let valid = !topic.is_empty() && topic.len() <= MAX_TOPIC && utf8(topic).is_ok();
    refuse_if(!valid, Status::Invalid).map(|()| topic)
}

/// Reads what can be the name of a header (RFC 9110 §5.6.2).
fn token(name: &[u8]) -> Answer<&str> {
    let part = |c: &u8| c.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(c);
    refuse_if(name.is_empty() || !name.iter().all(part), Status::Invalid)?;
    utf8(name)
}

/// The values of a header, joined as RFC 9110 §5.3 allows.
fn joined(headers: &[(String, String)], name: &str) -> Option<String> {
    let values: Vec<&str> =
        headers.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str()).collect();
    (!values.is_empty()).then(|| values.join(", "))
}

/// Compares a path with a route, part by part, and returns what stands for the route's names.
fn match_route(route: &str, path: &str) -> Option<Vec<(String, String)>> {
    let mut params = Vec::new();
    if route.is_empty() {
        return Some(params);
    }
    if route.split('/').count() != path.split('/').count() {
        return None;
    }
    for (want, have) in route.split('/').zip(path.split('/')) {
        match want.strip_prefix('{').and_then(|want| want.strip_suffix('}')) {
            Some(name) if !have.is_empty() => params.push((name.into(), have.into())),
            None if want == have => {}
            _ => return None,
        }
    }
    Some(params)
}
