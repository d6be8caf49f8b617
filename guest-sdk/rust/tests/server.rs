//! What the vectors of the conformance suite do not reach: errors and panics of handlers, their replacement, queues.

use std::panic::{catch_unwind, AssertUnwindSafe};
use std::time::Duration;

use weir::testing::{Ended, Options, Received, Request, Server};
use weir::{code, Closed, Conn, Error, Events, Handler, Message, Result, Status, Upgrade};

/// Does what the text messages say.
#[derive(Default)]
struct Obedient {
    config: String,
    kept: String,
}

impl Handler for Obedient {
    fn init(&mut self, config: &str) -> Result {
        self.config = config.into();
        match config {
            "refuse" => Err(Error::new("as configured")),
            _ => Ok(()),
        }
    }

    fn upgrade(&mut self, request: &Upgrade) -> Result {
        request.add_header("X-Offered", &request.protocols().join("+"))?;
        match request.path().as_str() {
            "/forbidden" => Err(Error::reject(403)),
            "/broken" => Err("x".parse::<i32>().unwrap_err().into()),
            _ => request.set_state(request.header("authorization").unwrap_or_default()),
        }
    }

    fn message(&mut self, conn: Conn, message: Message) -> Result {
        conn.join("all")?;
        conn.set_state("changed")?;
        weir::publish("all", "published")?;
        conn.after(1, Duration::from_secs(1))?;
        weir::add_metric("messages", 1)?;
        match message {
            Message::Text("fail") => Err(Error::new("as the client asks")),
            Message::Text("panic") => panic!("as the client asks"),
            Message::Text("flood") => (0..1001).try_for_each(|_| conn.send("drop")),
            Message::Text(text) => {
                self.kept = text.into();
                Ok(())
            }
            Message::Binary(data) => match conn.send(data) {
                Err(e) if e == Status::QueueFull => conn.close(code::TRY_LATER, "you read too slowly"),
                sent => sent,
            },
        }
    }

    fn close(&mut self, conn: Conn, why: Closed) -> Result {
        weir::log!(Info, "{} left with {} {:?}, clean {}", conn, why.code, why.reason, why.clean);
        Ok(())
    }

    fn timer(&mut self, conn: Option<Conn>, id: i64) -> Result {
        conn.map_or(Ok(()), |conn| conn.send(&format!("timer {id}")))
    }

    fn save(&mut self) -> Result<Option<Vec<u8>>> {
        match self.kept.as_str() {
            "" => Ok(None),
            "unsaved" => Err(Error::new("as the client asks")),
            kept => Ok(Some(kept.into())),
        }
    }

    fn restore(&mut self, state: &[u8], saved_by: u64) -> Result {
        self.kept = format!("{} of {saved_by}", String::from_utf8_lossy(state));
        match state {
            b"poison" => Err(Error::new("as the client asks")),
            _ => Ok(()),
        }
    }
}

weir::handler!(Obedient);

fn server() -> Server<Obedient> {
    Server::with(Options { metrics: vec!["messages".into()], ..Options::default() })
}

/// Asserts that nothing of a message took hold.
fn untouched(server: &mut Server<Obedient>, witness: Conn) {
    assert_eq!(server.members("all"), 1);
    assert_eq!(server.texts(witness), ["published"], "its own message only");
    assert_eq!(server.metric("messages"), 1);
}

#[test]
fn an_error_takes_everything_back_and_closes_with_1011() {
    let mut server = server();
    let (ann, bob) = (server.open("/"), server.open("/"));
    server.send(bob, "hi");
    server.send(ann, "fail");
    assert_eq!(server.ended(ann), Some(Ended { code: 1011, reason: "handler failed".into() }));
    assert_eq!(
        server.logs(),
        ["error text: as the client asks", &format!("info {ann} left with 1011 \"handler failed\", clean true")]
    );
    untouched(&mut server, bob);
}

#[test]
fn more_effects_than_an_event_may_have_are_an_error() {
    let mut server = server();
    let ann = server.open("/");
    server.send(ann, "flood");
    assert_eq!(server.code(ann), Some(1011));
    assert_eq!(server.texts(ann).len(), 0);
    assert_eq!(server.logs()[0], "error text: conn_send: too many");
}

#[test]
fn a_panic_reaches_the_test_and_takes_everything_back() {
    let mut server = server();
    let (ann, bob) = (server.open("/"), server.open("/"));
    server.send(bob, "hi");
    let panic = catch_unwind(AssertUnwindSafe(|| server.send(ann, "panic"))).unwrap_err();
    assert_eq!(panic.downcast_ref(), Some(&"as the client asks"));
    untouched(&mut server, bob);
    server.fail(ann);
    assert_eq!(server.code(ann), Some(1011));
}

#[test]
fn a_configuration_can_be_refused() {
    let refused = Server::<Obedient>::load(Options { config: "refuse".into(), ..Options::default() });
    assert_eq!(refused.err(), Some(vec!["error init: as configured".into()]));
    assert_eq!(Server::<Obedient>::new().handler().config, "{}");
}

#[test]
fn an_upgrade_is_answered() {
    let mut server = server();
    let mut dial = |target: &str| {
        let response = server.dial(Request {
            target: target.into(),
            headers: vec![("Authorization".into(), "ann".into())],
            protocols: vec!["a".into(), "b".into()],
        });
        let state = response.conn.map(|conn| server.state(conn));
        assert_eq!(response.headers, [("X-Offered".into(), "a+b".into())]);
        (response.status, state)
    };
    assert_eq!(dial("/"), (101, Some(b"ann".to_vec())));
    assert_eq!(dial("/forbidden"), (403, None));
    assert_eq!(dial("/broken"), (500, None));
    assert_eq!(server.logs(), ["error upgrade: invalid digit found in string"]);
}

#[test]
fn a_new_instance_takes_over() {
    let mut server = server();
    let ann = server.open("/");
    assert!(server.replace(), "there is nothing to hand on");
    server.send(ann, "state");
    assert!(server.replace());
    assert_eq!(server.handler().kept, "state of 2");
    for refused in ["poison", "unsaved"] {
        server.send(ann, refused);
        assert!(!server.replace());
        assert_eq!(server.handler().kept, refused, "the old instance goes on");
    }
}

#[test]
fn a_slow_reader_is_noticed() {
    let mut server = server();
    let ann = server.open("/");
    server.pause(ann);
    let large = vec![7; 600_000];
    server.send(ann, &large);
    assert_eq!(server.next(ann), Some(Received::Text("published".into())));
    assert_eq!(server.next(ann), Some(Received::Binary(large.clone())));
    server.send(ann, &large);
    assert_eq!(server.code(ann), Some(1013));

    let bob = server.open("/");
    server.pause(bob);
    server.send(bob, &large);
    server.resume(bob);
    server.send(bob, &large);
    assert_eq!(server.code(bob), None);
}

#[test]
fn timers_end_with_their_connection() {
    let mut server = server();
    let (ann, bob) = (server.open("/"), server.open("/"));
    server.send(ann, "hi");
    server.send(bob, "hi");
    server.abort(ann);
    server.advance(Duration::from_millis(999));
    assert_eq!(server.texts(bob), ["published"]);
    server.advance(Duration::from_millis(1));
    assert_eq!(server.texts(bob), ["timer 1"]);
    assert_eq!(server.texts(ann).last().unwrap(), "published");
}

/// Handles fewer events than it has methods for.
#[derive(Default)]
struct Narrow;

impl Handler for Narrow {
    const EVENTS: Events = Events::OPEN.and(Events::TIMER);

    fn open(&mut self, conn: Conn) -> Result {
        conn.send("open")
    }

    fn message(&mut self, conn: Conn, message: Message) -> Result {
        conn.send(message)
    }
}

#[test]
fn only_the_events_that_are_handled_come() {
    let mut server = Server::<Narrow>::new();
    let ann = server.open("/");
    server.send(ann, "hi");
    server.drain(Duration::from_secs(1));
    assert_eq!(server.texts(ann), ["open"]);
}

#[test]
fn outside_an_event_calls_are_refused() {
    assert_eq!(weir::publish("all", "hi").unwrap_err().status(), Some(Status::Unavailable));
    assert_eq!(weir::key(), "");
}
