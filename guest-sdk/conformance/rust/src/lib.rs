//! The conformance guest in Rust; ../README.md says what it does.

use std::time::Duration;

use weir::{abi, Closed, Conn, Error, Handler, Level, Message, Result, Status, Upgrade};

const EVENTS: &str = "events";

#[derive(Default)]
struct Guest {
    config: String,
    kept: Option<Vec<u8>>,
}

impl Handler for Guest {
    fn init(&mut self, config: &str) -> Result {
        self.config = config.into();
        if config.contains("refuse") {
            return Err(Error::new("as the configuration asks"));
        }
        Ok(())
    }

    fn upgrade(&mut self, request: &Upgrade) -> Result {
        if let Some(status) = request.query("reject") {
            return Err(status.parse().map_or_else(|_| Error::new("as the request asks"), Error::reject));
        }
        if let Some(name) = request.query("pick") {
            return request.set_protocol(&name).map_err(|_| Error::reject(418));
        }
        let mut state = request.query("state");
        if request.query("uri").is_some() {
            state = Some(request.uri());
        }
        if let Some(name) = request.query("echo") {
            state = request.header(&name).or_else(|| Some("none".into()));
        }
        if let Some(name) = request.query("answer") {
            state = Some(status(request.add_header(&name, "yes")));
        }
        match state {
            Some(state) => request.set_state(state),
            None => Ok(()),
        }
    }

    fn open(&mut self, conn: Conn) -> Result {
        match conn.query("open").as_deref() {
            Some("fail") => Err(Error::new("as the request asks")),
            Some("close") => conn.close(4001, "no"),
            _ => conn.send("open"),
        }
    }

    fn message(&mut self, conn: Conn, message: Message) -> Result {
        let commands = match message {
            Message::Binary(_) => return conn.send(message),
            Message::Text(commands) => commands,
        };
        for command in commands.split('\n') {
            let words: Vec<&str> = command.split(' ').collect();
            if words[0] == "fail" {
                return Err(Error::new("as the client asks"));
            }
            let answer = match self.run(conn, &words) {
                Some(came) => format!("{} {came}", words[0]),
                None => "unknown".into(),
            };
            if conn.send(&answer).is_err() {
                tell(None, &answer)?; // it has been closed
            }
        }
        Ok(())
    }

    fn close(&mut self, conn: Conn, why: Closed) -> Result {
        let how = if why.clean { "clean" } else { "broken" };
        tell(None, &format!("close {} {how} {}", why.code, word(why.reason.as_bytes())))?;
        tell(None, &format!("after {}", status(conn.send("late"))))
    }

    fn timer(&mut self, conn: Option<Conn>, id: i64) -> Result {
        tell(conn, &format!("timer {id}"))
    }

    fn drain(&mut self, conn: Option<Conn>, left: Duration) -> Result {
        tell(conn, &format!("drain {}", left.as_millis()))
    }

    fn save(&mut self) -> Result<Option<Vec<u8>>> {
        if self.kept.as_deref() == Some(b"refuse") {
            return Err(Error::new("as the client asks"));
        }
        Ok(self.kept.clone())
    }

    fn restore(&mut self, state: &[u8], saved_by: u64) -> Result {
        if state == b"poison" {
            return Err(Error::new("as the client asks"));
        }
        self.kept = Some([state, format!(" by {saved_by}").as_bytes()].concat());
        Ok(())
    }
}

weir::handler!(Guest);

impl Guest {
    /// Does one command and returns what came of it; nothing if it is not known.
    fn run(&mut self, own: Conn, words: &[&str]) -> Option<String> {
        let (name, args) = words.split_first()?;
        let conn = |i: usize| match args[i] {
            "self" => Some(own),
            id => Conn::from_id(number(id) as u64),
        };
        let text = |i: usize| String::from_utf8_lossy(&data(args[i])).into_owned();
        Some(match *name {
            // The raw functions, because the SDK has no text that is not UTF-8.
            "send" => abi::conn_send(conn(0)?.id(), kind(args[1]), &data(args[2])).to_string(),
            "close" => abi::conn_close(conn(0)?.id(), number(args[1]) as i32, &data(args[2])).to_string(),
            "publish" => {
                let except = conn(3).map_or(0, Conn::id);
                abi::topic_publish(&data(args[0]), kind(args[1]), &data(args[2]), except).to_string()
            }
            "join" => abi::topic_join(conn(0)?.id(), &data(args[1])).to_string(),
            "attr" => read(conn(0)?.attr(&text(1)).map(String::into_bytes)),
            "query" => word(own.query(&text(0)).unwrap_or_default().as_bytes()),
            "param" => word(own.param(&text(0)).unwrap_or_default().as_bytes()),
            "state" => {
                let mut state = Vec::new();
                read(conn(0)?.read_state(&mut state).map(|_| state))
            }
            "set" => status(conn(0)?.set_state(data(args[1]))),
            "queued" => {
                conn(0)?.queued();
                "ok".into()
            }
            "leave" => status(conn(0)?.leave(&text(1))),
            "count" => weir::count(&text(0)).to_string(),
            "timer" => status(match conn(0) {
                Some(conn) => conn.set_timer(number(args[1]), millis(args[2]), millis(args[3])),
                None => weir::set_timer(number(args[1]), millis(args[2]), millis(args[3])),
            }),
            "cancel" => status(match conn(0) {
                Some(conn) => conn.cancel_timer(number(args[1])),
                None => weir::cancel_timer(number(args[1])),
            }),
            "clock" => {
                let (now, up) = (weir::unix_millis(), weir::uptime());
                let stands = now == weir::unix_millis() && up == weir::uptime() && now > 1_577_836_800_000;
                if stands { "stands" } else { "runs" }.into()
            }
            "random" => {
                let mut draws = [vec![0; number(args[0]) as usize], vec![0; number(args[0]) as usize]];
                let drawn = draws.iter_mut().try_for_each(|draw| weir::random(draw));
                format!("{} {}", status(drawn), if draws[0] == draws[1] { "old" } else { "new" })
            }
            "log" => {
                let level = match args[0] {
                    "debug" => Level::Debug,
                    "info" => Level::Info,
                    "warn" => Level::Warn,
                    _ => Level::Error,
                };
                weir::log(level, &text(1));
                "0".into()
            }
            "metric" => status(weir::add_metric(&text(0), number(args[1]))),
            "has" => u8::from(weir::has(&text(0))).to_string(),
            "key" => read(Ok(weir::key().into_bytes())),
            "generation" => weir::generation().to_string(),
            "config" => word(self.config.as_bytes()),
            "keep" => {
                self.kept = Some(data(args[0]));
                "0".into()
            }
            "kept" => word(self.kept.as_deref().unwrap_or_default()),
            "trap" => panic!("as the client asks"),
            _ => return None,
        })
    }
}

/// Tells the connection, or those who listen to the module. That those may not be reached is not an error.
fn tell(conn: Option<Conn>, text: &str) -> Result {
    match conn {
        Some(conn) => conn.send(text),
        None => {
            let _ = weir::publish(EVENTS, text);
            Ok(())
        }
    }
}

/// The number of the status that a result stands for.
fn status(result: Result) -> String {
    result.err().and_then(|e| e.status()).map_or(0, Status::code).to_string()
}

fn read(value: Result<Vec<u8>>) -> String {
    match value {
        Ok(value) => format!("{} {}", value.len(), word(&value)),
        Err(e) => status(Err(e)),
    }
}

/// What a word stands for.
fn data(word: &str) -> Vec<u8> {
    if word == "-" {
        return Vec::new();
    }
    if let Some(digits) = word.strip_prefix("x:") {
        return unhex(digits);
    }
    match word.strip_prefix("r:").and_then(|word| word.split_once('*')) {
        Some((digits, times)) => unhex(digits).repeat(number(times) as usize),
        None => word.into(),
    }
}

/// The word that stands for bytes.
fn word(bytes: &[u8]) -> String {
    if bytes.is_empty() {
        return "-".into();
    }
    if bytes.len() > 64 {
        let sum = bytes.iter().fold(0u32, |sum, byte| sum.wrapping_add((*byte).into()));
        return format!("#{}:{sum}", bytes.len());
    }
    if bytes.iter().all(u8::is_ascii_graphic) {
        return String::from_utf8_lossy(bytes).into_owned();
    }
    bytes.iter().fold("x:".into(), |word, byte| format!("{word}{byte:02x}"))
}

fn unhex(digits: &str) -> Vec<u8> {
    let pairs = digits.as_bytes().chunks_exact(2);
    pairs
        .map(|pair| std::str::from_utf8(pair).ok().and_then(|pair| u8::from_str_radix(pair, 16).ok()).unwrap_or(0))
        .collect()
}

fn number(word: &str) -> i64 {
    word.parse().unwrap_or(0)
}

fn millis(word: &str) -> Duration {
    Duration::from_millis(number(word) as u64)
}

fn kind(word: &str) -> i32 {
    if word == "text" {
        abi::kind::TEXT
    } else {
        abi::kind::BINARY
    }
}

#[cfg(test)]
mod vectors;
