//! Holds `weir::testing` to what a real server does.

use std::collections::BTreeMap;
use std::time::Duration;

use weir::testing::{Options, Received, Request, Server};
use weir::{Conn, Message};

use super::{data, number, Guest};

#[test]
fn the_fake_server_passes_the_vectors() {
    let vectors = include_str!("../../vectors.txt");
    let mut player = Player::default();
    let mut scenarios = 0;
    for (at, line) in vectors.lines().enumerate().filter(|(_, line)| !line.is_empty() && !line.starts_with('#')) {
        if line.starts_with("scenario ") {
            player = Player::default();
            scenarios += 1;
        } else if let Err(got) = player.step(line) {
            panic!("vectors.txt:{}: {line}: {got}", at + 1);
        }
    }
    assert!(scenarios > 0);
}

/// Plays the steps of one scenario.
#[derive(Default)]
struct Player {
    options: Options,
    server: Option<Server<Guest>>,
    request: Request,
    clients: BTreeMap<String, Conn>,
}

impl Player {
    fn step(&mut self, line: &str) -> Result<(), String> {
        let words: Vec<&str> = line.split(' ').collect();
        let text = |i: usize| String::from_utf8(data(words[i])).expect("text");
        match words[0] {
            "config" => self.options.config = text(1),
            "deny" => self.options.deny.push(words[1].into()),
            "keep" => self.options.keep_headers.push(words[1].into()),
            "route" => self.options.route = words[1].into(),
            "key" => self.options.key = words[1].into(),
            "header" => self.request.headers.push((words[1].into(), text(2))),
            "offer" => self.request.protocols.push(words[1].into()),
            _ => return self.event(&words),
        }
        Ok(())
    }

    /// Plays a step that needs the server, which the first one starts.
    fn event(&mut self, words: &[&str]) -> Result<(), String> {
        let options = &mut self.options;
        let server = self.server.get_or_insert_with(|| {
            if !options.deny.iter().any(|capability| capability == "metrics") {
                options.metrics.push("declared".into());
            }
            Server::with(options.clone())
        });
        let client = |name: &str| self.clients[name];
        match words[0] {
            "open" | "refused" => {
                let request = Request { target: words[2].into(), ..std::mem::take(&mut self.request) };
                let response = server.dial(request);
                expect(response.status.to_string(), words.get(3).unwrap_or(&"101"))?;
                self.clients.extend(response.conn.map(|conn| (words[1].into(), conn)));
            }
            "send" => match (words[2], data(words[3])) {
                ("text", data) => server.send(client(words[1]), std::str::from_utf8(&data).expect("text")),
                (_, data) => server.send(client(words[1]), Message::Binary(&data)),
            },
            "expect" if words[2] == "close" => {
                expect(server.next(client(words[1])), &None)?;
                let ended = server.ended(client(words[1])).ok_or("it is open")?;
                expect(ended.code.to_string(), &words[3])?;
                if let Some(reason) = words.get(4) {
                    expect(ended.reason.into_bytes(), &data(reason))?;
                }
            }
            "expect" => {
                let want = match words[2] {
                    "text" => Received::Text(String::from_utf8(data(words[3])).expect("text")),
                    _ => Received::Binary(data(words[3])),
                };
                expect(server.next(client(words[1])), &Some(want))?;
            }
            "silence" => {
                for (name, conn) in &self.clients {
                    if words.get(1).map_or(true, |only| only == name) {
                        expect(server.next(*conn), &None)?;
                    }
                }
            }
            "close" => {
                let reason = data(words[3]);
                server.close(client(words[1]), number(words[2]) as u16, std::str::from_utf8(&reason).expect("text"));
            }
            "abort" => server.abort(client(words[1])),
            "advance" => server.advance(Duration::from_millis(number(words[1]) as u64)),
            "drain" => server.drain(Duration::from_millis(number(words[1]) as u64)),
            "replace" => expect(server.replace(), &true)?,
            step => return Err(format!("{step} is not a step")),
        }
        Ok(())
    }
}

fn expect<T: std::fmt::Debug + PartialEq<U>, U>(got: T, want: &U) -> Result<(), String> {
    if got == *want {
        return Ok(());
    }
    Err(format!("got {got:?}"))
}
