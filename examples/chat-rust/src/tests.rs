use super::Chat;
use weir::testing::{Options, Server};

/// A server with the demo's route.
fn lobby() -> Server<Chat> {
    Server::with(Options { route: "/chat/{room}".into(), ..Options::default() })
}

#[test]
fn a_message_reaches_everyone_but_its_sender() {
    let mut server = lobby();
    let ann = server.open("/chat/lobby?name=ann");
    assert_eq!(server.texts(ann), [r#"{"type":"joined","from":"ann","members":1}"#]);
    let bob = server.open("/chat/lobby?name=bob");
    for conn in [ann, bob] {
        assert_eq!(server.texts(conn), [r#"{"type":"joined","from":"bob","members":2}"#]);
    }

    server.send(ann, r#"{"type":"say","text":"hi \"bob\""}"#);
    assert_eq!(server.texts(bob), [r#"{"type":"say","from":"ann","text":"hi \"bob\""}"#]);
    assert!(server.texts(ann).is_empty());

    server.close(ann, 1000, "");
    assert_eq!(server.texts(bob), [r#"{"type":"left","from":"ann","members":1}"#]);
}

#[test]
fn rooms_are_apart() {
    let mut server = lobby();
    let ann = server.open("/chat/lobby?name=ann");
    let eve = server.open("/chat/attic");
    assert_eq!(server.texts(eve), [r#"{"type":"joined","from":"guest","members":1}"#]);
    server.send(ann, r#"{"type":"say","text":"hi"}"#);
    assert!(server.texts(eve).is_empty());
}

#[test]
fn who_breaks_the_protocol_is_closed() {
    let long = |n| format!(r#"{{"type":"say","text":"{}"}}"#, "x".repeat(n));
    for (message, closed) in [
        ("hello", Some(4400)),
        (r#"{"type":"shout","text":"hi"}"#, Some(4400)),
        (r#"{"type":"say"}"#, Some(4400)),
        (&long(8001), Some(4400)),
        (&long(8000), None),
    ] {
        let mut server = lobby();
        let ann = server.open("/chat/lobby");
        server.send(ann, message);
        assert_eq!(server.code(ann), closed, "after {:.40}", message);
    }
}

#[test]
fn nobody_hears_of_who_never_joined() {
    let mut server = lobby();
    let bob = server.open("/chat/lobby");
    server.texts(bob);
    for target in [format!("/chat/lobby?name={}", "x".repeat(65)), format!("/chat/{}", "x".repeat(256))] {
        let eve = server.open(&target);
        assert_eq!(server.code(eve), Some(4400));
    }
    assert!(server.texts(bob).is_empty());
}
