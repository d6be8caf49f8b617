// The conformance guest in AssemblyScript; ../README.md says what it does.

import {
  addMetric, Closed, Conn, count, generation, has, key, Kind, lastStatus, Level, log, Message, now, OnClose, OnDrain, OnInit, OnMessage,
  OnOpen, OnRestore, OnSave, OnTimer, OnUpgrade, Payload, publish, random, saveState, serve, Status, Upgrade, uptime,
} from "weir-assemblyscript";
import * as abi from "weir-assemblyscript/assembly/abi";

const EVENTS = "events";

let config = new Uint8Array(0);
let kept: Uint8Array | null = null;

class Guest implements OnInit, OnUpgrade, OnOpen, OnMessage, OnClose, OnTimer, OnDrain, OnSave, OnRestore {
  init(text: Payload): Status {
    config = text.bytes();
    return text.text().includes("refuse") ? Status.Invalid : Status.Ok;
  }

  upgrade(u: Upgrade): i32 {
    const c = u.conn;
    const reject = c.query("reject");
    if (reject != "") return reject == "fail" ? Status.Invalid : i32.parse(reject);
    const pick = c.query("pick");
    if (pick != "") return u.setProtocol(pick) == Status.Ok ? 0 : 418;
    let state = c.query("state");
    if (c.query("uri") != "") state = u.uri;
    const echo = c.query("echo");
    if (echo != "") {
      state = u.header(echo);
      if (state == "") state = "none";
    }
    const answer = c.query("answer");
    if (answer != "") state = u.addHeader(answer, "yes").toString();
    return state == "" ? 0 : c.setState(state);
  }

  open(c: Conn): Status {
    const how = c.query("open");
    if (how == "fail") return Status.Invalid;
    if (how == "close") return c.close(4001, "no");
    return c.send("open");
  }

  message(c: Conn, m: Message): Status {
    if (!m.isText) return c.send(m);
    const lines = m.text().split("\n");
    for (let i = 0; i < lines.length; i++) {
      const words = lines[i].split(" ");
      if (words[0] == "fail") return Status.Invalid;
      const came = run(c, words);
      const answer = came === null ? "unknown" : words[0] + " " + came;
      if (c.send(answer) != Status.Ok) tell(Conn.none, answer); // it has been closed
    }
    return Status.Ok;
  }

  close(c: Conn, why: Closed): Status {
    tell(Conn.none, `close ${why.code} ${why.clean ? "clean" : "broken"} ${word(why.bytes())}`);
    tell(Conn.none, "after " + c.send("late").toString());
    return Status.Ok;
  }

  timer(c: Conn, id: i64): Status { return tell(c, `timer ${id}`); }

  drain(c: Conn, leftMs: i64): Status { return tell(c, `drain ${leftMs}`); }

  save(): Status {
    const state = kept;
    if (state == null) return Status.Ok;
    return text(state) == "refuse" ? Status.Invalid : saveState<Uint8Array>(state);
  }

  restore(state: Payload, savedBy: i64): Status {
    if (state.text() == "poison") return Status.Invalid;
    const by = Uint8Array.wrap(String.UTF8.encode(` by ${savedBy}`));
    const whole = new Uint8Array(state.length + by.length);
    whole.set(state.bytes());
    whole.set(by, state.length);
    kept = whole;
    return Status.Ok;
  }
}

serve(new Guest());

/** Does one command and returns what came of it; null if there is none of that name. */
function run(c: Conn, words: string[]): string | null {
  const command = words[0];
  if (command == "send") return conn(c, words[1]).send(data(words[3]), kind(words[2])).toString();
  if (command == "close") return close(conn(c, words[1]), i32.parse(words[2]), data(words[3])).toString();
  if (command == "attr") {
    const value = conn(c, words[1]).attr(text(data(words[2])));
    return value === null ? lastStatus().toString() : read(encode(value));
  }
  if (command == "query") return word(encode(c.query(words[1])));
  if (command == "param") return word(encode(c.param(words[1])));
  if (command == "state") {
    const state = conn(c, words[1]).stateBytes();
    return lastStatus() != Status.Ok ? lastStatus().toString() : read(state);
  }
  if (command == "set") return conn(c, words[1]).setState(data(words[2])).toString();
  if (command == "queued") return conn(c, words[1]).queued >= 0 ? "ok" : "negative";
  if (command == "join") return join(conn(c, words[1]), data(words[2])).toString();
  if (command == "leave") return conn(c, words[1]).leave(text(data(words[2]))).toString();
  if (command == "publish") return publish(text(data(words[1])), data(words[3]), conn(c, words[4]), kind(words[2])).toString();
  if (command == "count") return count(text(data(words[1]))).toString();
  if (command == "timer") return conn(c, words[1]).setTimer(i64.parse(words[2]), i64.parse(words[3]), i64.parse(words[4])).toString();
  if (command == "cancel") return conn(c, words[1]).cancelTimer(i64.parse(words[2])).toString();
  if (command == "clock") {
    const time = now(), up = uptime();
    return time == now() && up == uptime() && time > Date.UTC(2020, 0) ? "stands" : "runs";
  }
  if (command == "random") {
    const first = random(i32.parse(words[1])), second = random(i32.parse(words[1]));
    return memory.compare(first.dataStart, second.dataStart, first.length) != 0 ? "0 new" : "0 old";
  }
  if (command == "log") {
    log(level(words[1]), text(data(words[2])));
    return "0";
  }
  if (command == "metric") return addMetric(text(data(words[1])), i64.parse(words[2])).toString();
  if (command == "has") return has(text(data(words[1]))) ? "1" : "0";
  if (command == "key") return read(encode(key()));
  if (command == "generation") return generation().toString();
  if (command == "config") return word(config);
  if (command == "keep") {
    kept = data(words[1]);
    return "0";
  }
  if (command == "kept") return word(kept || new Uint8Array(0));
  if (command == "trap") throw new Error("as the client asks");
  return null;
}

/** Tells the connection, or those who listen to the module. That those may not be reached is not an error. */
function tell(c: Conn, line: string): Status {
  if (!c.isNone) return c.send(line);
  publish(EVENTS, line);
  return Status.Ok;
}

// A string cannot hold what is not UTF-8, so such a reason and such a topic go by the raw side of the ABI.

function close(c: Conn, code: i32, reason: Uint8Array): Status {
  return isText(reason) ? c.close(code, text(reason)) : abi.connClose(c.id, code, reason.dataStart, reason.length);
}

function join(c: Conn, topic: Uint8Array): Status {
  return isText(topic) ? c.join(text(topic)) : abi.topicJoin(c.id, topic.dataStart, topic.length);
}

function isText(bytes: Uint8Array): bool {
  const again = encode(text(bytes));
  return again.length == bytes.length && memory.compare(again.dataStart, bytes.dataStart, bytes.length) == 0;
}

function conn(self: Conn, word: string): Conn { return word == "self" ? self : new Conn(u64.parse(word)); }

function kind(word: string): Kind { return word == "text" ? Kind.Text : Kind.Binary; }

function level(word: string): Level {
  if (word == "debug") return Level.Debug;
  if (word == "info") return Level.Info;
  return word == "warn" ? Level.Warn : Level.Error;
}

function text(bytes: Uint8Array): string { return String.UTF8.decodeUnsafe(bytes.dataStart, bytes.length); }

function encode(s: string): Uint8Array { return Uint8Array.wrap(String.UTF8.encode(s)); }

/** What a word stands for. */
function data(word: string): Uint8Array {
  if (word == "-") return new Uint8Array(0);
  if (word.startsWith("x:")) return unhex(word.substring(2));
  if (word.startsWith("r:")) {
    const star = word.indexOf("*");
    const part = unhex(word.substring(2, star));
    const all = new Uint8Array(part.length * i32.parse(word.substring(star + 1)));
    for (let at = 0; at < all.length; at += part.length) all.set(part, at);
    return all;
  }
  return encode(word);
}

/** A word that stands for bytes. */
function word(bytes: Uint8Array): string {
  if (bytes.length == 0) return "-";
  let sum: u32 = 0, hex = "x:", plain = true;
  for (let i = 0; i < bytes.length; i++) {
    sum += bytes[i];
    if (bytes.length <= 64) hex += bytes[i].toString(16).padStart(2, "0");
    if (bytes[i] < 0x21 || bytes[i] > 0x7e) plain = false;
  }
  if (bytes.length > 64) return `#${bytes.length}:${sum}`;
  return plain ? text(bytes) : hex;
}

function read(bytes: Uint8Array): string { return bytes.length.toString() + " " + word(bytes); }

function unhex(digits: string): Uint8Array {
  const bytes = new Uint8Array(digits.length / 2);
  for (let i = 0; i < bytes.length; i++) bytes[i] = u8.parse(digits.substr(2 * i, 2), 16);
  return bytes;
}
