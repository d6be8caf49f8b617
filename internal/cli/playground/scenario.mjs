// From what happened in the playground to a scenario file that `weir test` plays.

// How long a client must have heard nothing to be called silent, in ms.
const silenceMs = 1000;

// parseExactly returns {value} of a JSON object or array that loses nothing on
// its way through JavaScript: no long numbers, no key twice. Otherwise null.
export function parseExactly(text) {
  let value;
  try { value = JSON.parse(text); } catch { return null; }
  if (typeof value !== "object" || value === null) return null;
  const tokens = text.match(/"(?:[^"\\]|\\.)*"|-?\d[\d.eE+-]*|[^\s"\d-]+/g);
  const plain = tokens.map(token => {
    if (token[0] === '"') return JSON.stringify(JSON.parse(token));
    return /^-?\d.*[.eE]/.test(token) ? JSON.stringify(Number(token)) : token;
  }).join("");
  return plain === JSON.stringify(value) ? { value } : null;
}

// What YAML 1.1 or 1.2 takes for something else than a string.
const reserved = /^(?:y|n|yes|no|on|off|true|false|null|inf|nan)$/i;

// scalar writes a string, quoted unless nobody could take it for anything else.
function scalar(s) {
  s = s.toWellFormed ? s.toWellFormed() : s;
  const plain = /^[A-Za-z_][\w.-]*(?: \w[\w.-]*)*$/.test(s) || /^(?:\.{0,2}\/[\w\/.?=&+%-]*|\d+s)$/.test(s);
  if (plain && !reserved.test(s)) return s;
  return JSON.stringify(s).replace(/[\x7f-\xa0\xad\u2028\u2029\ufeff\ufffe\uffff]/g,
    c => "\\u" + c.charCodeAt(0).toString(16).padStart(4, "0"));
}

// flow writes a value on one line.
function flow(value) {
  if (typeof value === "string") return scalar(value);
  if (typeof value !== "object" || value === null) return JSON.stringify(value);
  if (value instanceof Quoted) return JSON.stringify(value.s);
  if (Array.isArray(value)) return "[" + value.map(flow).join(", ") + "]";
  return flowMap(Object.entries(value));
}

// flowMap takes entries, since an object would sort keys that look like numbers.
function flowMap(entries) {
  return "{" + entries.map(([key, value]) => scalar(key) + ": " + flow(value)).join(", ") + "}";
}

export function hex(bytes) {
  return Array.from(bytes, b => b.toString(16).padStart(2, "0")).join("");
}

// payload describes a message that is sent, matcher one that is expected.
function payload(data) {
  if (typeof data !== "string") return { bytes: new Quoted(hex(data)) };
  const json = parseExactly(data);
  return json ? { json: json.value } : { text: data };
}

function matcher(data) {
  const p = payload(data);
  // A text between slashes would be taken for a pattern.
  if (p.text !== undefined && /^\/[^]*\/$/.test(p.text))
    p.text = "/^" + p.text.replace(/[\\.+*?()|[\]{}^$]/g, "\\$&") + "$/";
  return p;
}

// Quoted is a string that stays one even when it is all digits.
class Quoted {
  constructor(s) { this.s = s; }
}

// toYAML writes what happened as a scenario file. The same events give the same
// bytes.
//
//   subject  module (a .wasm file) or configuration that it is about
//   name     of the scenario
//   silence  whether to claim that who heard nothing after a message hears nothing
//   until    when the recording ended, in ms
//   events   in order, each {at: ms, client, kind, …}:
//     open    {path, protocols, failed}   the client asks for a connection
//     send    {data}                      string or Uint8Array
//     receive {data}
//     close   {code, reason}              the client closes
//     closed  {code, reason, asked}       asked: by the client's close
//     note    {text}                      becomes a comment
export function toYAML({ subject, name, silence, until, events }) {
  const lines = [];
  let step = null; // the last one, while more may join it: {verb, entries}
  const flush = () => {
    if (step) lines.push("      - " + step.verb + ": " + flowMap(step.entries));
    step = null;
  };
  // add joins the last step when it does the same for other clients.
  const add = (verb, client, value, alone) => {
    if (!step || alone || step.verb !== verb || step.entries.some(([c]) => c === client)) {
      flush();
      step = { verb, entries: [] };
    }
    step.entries.push([client, value]);
  };
  const comment = text => {
    flush();
    for (const line of text.split(/[\r\n\x85\u2028\u2029]+/)) lines.push("      # " + line.replace(/[^\x20-\x7e\xa1-\ud7ff\ue000-\ufffd]/g, "?"));
  };

  const listening = new Set();
  const unheard = new Set(); // of those, who heard nothing since the last message was sent
  let sentAt = null;
  const pause = at => {
    if (silence && sentAt !== null && at - sentAt >= silenceMs)
      for (const client of unheard) add("silence", client, silenceMs / 1000 + "s");
    sentAt = null;
  };

  for (const e of events) {
    switch (e.kind) {
      case "open":
        pause(e.at);
        if (e.failed) {
          comment(e.client + " could not connect to " + e.path);
          break;
        }
        listening.add(e.client);
        add("open", e.client, e.protocols.length ? { path: e.path, protocols: e.protocols } : e.path);
        break;
      case "send":
        pause(e.at);
        add("send", e.client, payload(e.data), true);
        sentAt = e.at;
        unheard.clear();
        for (const client of listening) unheard.add(client);
        break;
      case "receive":
        if (!listening.has(e.client)) break; // it had closed when this came
        unheard.delete(e.client);
        add("expect", e.client, matcher(e.data));
        break;
      case "close":
        pause(e.at);
        listening.delete(e.client);
        add("close", e.client, e.reason ? { code: e.code, reason: e.reason } : { code: e.code });
        break;
      case "closed":
        listening.delete(e.client);
        unheard.delete(e.client);
        if (!e.asked) add("expect", e.client, { close: e.reason ? { code: e.code, reason: e.reason } : { code: e.code } });
        break;
      case "note":
        comment(e.text);
        break;
    }
  }
  pause(until);
  flush();
  const about = (/\.wasm$/i.test(subject) ? "module: " : "config: ") + scalar(subject);
  return ["# Recorded in the playground.", about, "scenarios:", "  - name: " + scalar(name),
    lines.some(line => line.startsWith("      - ")) ? "    steps:" : "    steps: []", ...lines, ""].join("\n");
}
