// The playground: clients side by side, talking to the server that serves this
// page. Whatever comes from a peer or from the server is only ever set as text.
import { parseExactly, toYAML, hex } from "./scenario.mjs";

const $ = id => document.getElementById(id);

// Bounds, so that a chatty handler cannot fill the page.
const maxLog = 500;         // entries of one client's view
const maxRecorded = 5000;   // events of the recording
const maxShown = 16 << 10;  // characters of one message, until asked for more
const maxDumped = 512;      // bytes of one message, until asked for more
const maxHistory = 50;      // messages, of at most maxKept characters
const maxKept = 8 << 10;

// Close codes: RFC 6455 §7.4.1, the IANA registry, and what weir means by them.
const closeCodes = {
  1000: ["Normal Closure", "done"],
  1001: ["Going Away", "the server stops, or the page was left"],
  1002: ["Protocol Error", "a frame broke RFC 6455"],
  1003: ["Unsupported Data", "this kind of message is not accepted"],
  1004: ["Reserved", ""],
  1005: ["No Status Received", "the Close frame held no code"],
  1006: ["Abnormal Closure", "the connection broke without a Close frame"],
  1007: ["Invalid Payload Data", "text that is not UTF-8"],
  1008: ["Policy Violation", "too much, too slow, or not allowed"],
  1009: ["Message Too Big", "longer than websocket.max_message_size"],
  1010: ["Mandatory Extension", "an extension that the client needs was not agreed on"],
  1011: ["Internal Error", "the handler failed or ran over a limit; the server's log says where"],
  1012: ["Service Restart", "come back"],
  1013: ["Try Again Later", "the server is overloaded, or this client reads too slowly"],
  1014: ["Bad Gateway", "what stands behind the server did not answer properly"],
  1015: ["TLS Handshake", "TLS could not be agreed on"],
  3000: ["Unauthorized", "registered with IANA"],
  3003: ["Forbidden", "registered with IANA"],
  3008: ["Timeout", "registered with IANA"],
};

function closeWords(code) {
  const [name, meaning] = closeCodes[code] ??
    (code >= 4000 && code <= 4999 ? ["Private Use", "the handler's own code"]
      : code >= 3000 && code <= 3999 ? ["Library or Framework", "not a registered code"]
      : ["Unknown", "not a code that may be sent"]);
  return { name, meaning };
}

// el makes an element. Strings become text.
function el(tag, attributes, ...children) {
  const e = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (name in e) e[name] = value;
    else e.setAttribute(name, value);
  }
  e.append(...children);
  return e;
}

const encoder = new TextEncoder();
const byteLength = data => typeof data === "string" ? encoder.encode(data).length : data.length;

function sized(n) {
  if (n < 1024) return n + " B";
  if (n < 1 << 20) return (n / 1024).toFixed(1) + " KiB";
  return (n / (1 << 20)).toFixed(1) + " MiB";
}

function took(ms) {
  return ms < 10 ? ms.toFixed(2) + " ms" : ms < 1000 ? ms.toFixed(0) + " ms" : (ms / 1000).toFixed(2) + " s";
}

// parseHex reads digits as people write them: "00ff", "00 FF", "0x00, 0xff".
function parseHex(text) {
  const digits = text.replace(/0x/gi, " ").replace(/[\s,:]+/g, " ").trim();
  const wrong = digits.match(/[^0-9a-f ]/iu);
  if (wrong) return { problem: "“" + wrong[0] + "” is not a hexadecimal digit." };
  const bytes = [];
  for (const word of digits ? digits.split(" ") : []) {
    if (word.length % 2) return { problem: "“" + word + "” has half a byte: two digits a byte." };
    for (let i = 0; i < word.length; i += 2) bytes.push(parseInt(word.slice(i, i + 2), 16));
  }
  return { data: new Uint8Array(bytes) };
}

function hexDump(bytes) {
  const rows = [];
  for (let i = 0; i < bytes.length; i += 8) {
    const row = bytes.subarray(i, i + 8);
    const digits = Array.from(row, b => b.toString(16).padStart(2, "0")).join(" ").padEnd(23);
    const letters = Array.from(row, b => b > 31 && b < 127 ? String.fromCharCode(b) : "·").join("");
    rows.push(i.toString(16).padStart(4, "0") + "  " + digits + "  " + letters);
  }
  return rows.join("\n");
}

// memory outlives a reload of the page, but not the tab.
const memory = {
  get(key) { try { return JSON.parse(sessionStorage.getItem("weir." + key)); } catch { return null; } },
  set(key, value) { try { sessionStorage.setItem("weir." + key, JSON.stringify(value)); } catch { /* then not */ } },
};

// What was sent, oldest first: {mode, text}. All clients share it.
const sentBefore = memory.get("history") ?? [];
function remember(mode, text) {
  if (text.length > maxKept) return;
  const i = sentBefore.findIndex(h => h.mode === mode && h.text === text);
  if (i >= 0) sentBefore.splice(i, 1);
  sentBefore.push({ mode, text });
  if (sentBefore.length > maxHistory) sentBefore.shift();
  memory.set("history", sentBefore);
}

// ---- What happened ----

let recorded = []; // {at, pane, kind, …}, as scenario.mjs wants them but for the client's name
let origin = null; // performance.now() of the first event; null = nothing yet
const panes = [];

function elapsed(at) {
  return ((at - (origin ?? at)) / 1000).toFixed(3);
}

// atEnd says whether a list shows its last entry, and is to follow the next one.
const atEnd = list => list.scrollHeight - list.scrollTop - list.clientHeight < 40;

// change does something to a list, which shows its last entry afterwards if it
// did before.
function change(list, what) {
  const follow = atEnd(list);
  what();
  if (follow) list.scrollTop = list.scrollHeight;
}

function append(list, item, bound) {
  change(list, () => {
    list.append(item);
    while (list.children.length > bound) list.firstChild.remove();
  });
}

// stick keeps a list at its last entry while the room for it changes.
function stick(list) {
  let end = true;
  list.addEventListener("scroll", () => { end = atEnd(list); });
  new ResizeObserver(() => { if (end) list.scrollTop = list.scrollHeight; }).observe(list);
}

// record keeps an event for the scenario and shows it in the timeline.
function record(pane, event, what, arrow = "") {
  origin ??= event.at;
  event.pane = pane;
  if (recorded.length < maxRecorded) recorded.push(event);
  const full = recorded.length >= maxRecorded;
  $("count").textContent = full ? "full at " + maxRecorded + " events" : recorded.length === 1 ? "1 event" : recorded.length + " events";
  const item = el("li", { className: arrow ? "" : "word" },
    el("time", {}, elapsed(event.at)),
    el("span", { className: "who", title: pane ? pane.name : "" }, pane ? pane.name : "weir"),
    el("span", {}, arrow), el("span", { className: "what", title: what.slice(0, 1000) }, what.slice(0, 300)));
  if (pane) item.dataset.hue = pane.hue;
  append($("story"), item, maxRecorded);
  $("save").disabled = false;
  return event;
}

const brief = data => typeof data === "string" ? data.replace(/\s+/g, " ") : hex(data.subarray(0, 32)) + (data.length > 32 ? " …" : "");

// ---- JSON, coloured ----

function jsonNodes(text) {
  const nodes = [];
  let end = 0;
  for (const m of text.matchAll(/"(?:[^"\\]|\\.)*"(\s*:)?|-?\d[\d.eE+-]*|true|false|null/g)) {
    nodes.push(text.slice(end, m.index));
    const kind = m[1] !== undefined ? "key" : m[0][0] === '"' ? "str" : "num";
    nodes.push(el("span", { className: kind }, m[0]));
    end = m.index + m[0].length;
  }
  nodes.push(text.slice(end));
  return nodes;
}

// indentJSON breaks lines without touching what a number or a string looks like.
function indentJSON(text) {
  let depth = 0;
  const line = () => "\n" + "  ".repeat(depth);
  return text.match(/"(?:[^"\\]|\\.)*"|[^\s"{}[\],:]+|[{}[\],:]/g).map((token, i, all) => {
    switch (token) {
      case "{": case "[":
        depth++;
        return all[i + 1] === "}" || all[i + 1] === "]" ? token : token + line();
      case "}": case "]":
        depth--;
        return all[i - 1] === "{" || all[i - 1] === "[" ? token : line() + token;
      case ",": return token + line();
      case ":": return ": ";
      default: return token;
    }
  }).join("");
}

// isStructure says whether a text is a JSON object or array.
function isStructure(text) {
  if (!/^\s*[[{]/.test(text)) return false;
  try { JSON.parse(text); } catch { return false; }
  return true;
}

// cut shows the beginning of a long thing, and all of it when asked.
function cut(pre, whole, part) {
  pre.append(...part());
  const more = el("button", { type: "button", className: "quiet more" }, "Show all");
  more.onclick = () => { pre.replaceChildren(...whole()); more.remove(); };
  return [pre, more];
}

function body(data, pretty) {
  if (typeof data !== "string") {
    const pre = el("pre", { className: "dump" });
    if (data.length > maxDumped) return cut(pre, () => [hexDump(data)], () => [hexDump(data.subarray(0, maxDumped))]);
    pre.append(hexDump(data));
    return [pre];
  }
  if (data.length > maxShown) {
    return cut(el("pre"), () => [data], () => [data.slice(0, maxShown), " …"]);
  }
  if (!isStructure(data)) return [el("pre", {}, data)];
  const details = el("details", { open: pretty }, el("summary", {}, ...jsonNodes(data.replace(/[\r\n\t]+/g, " "))));
  const fill = () => {
    if (!details.open || details.querySelector("pre")) return;
    const pre = el("pre", {}, ...jsonNodes(indentJSON(data))), list = details.closest(".log");
    if (list) change(list, () => details.append(pre));
    else details.append(pre);
  };
  details.ontoggle = fill;
  fill();
  return [details];
}

// ---- A client ----

const names = ["ann", "bob", "cat", "dan", "eve", "fay", "gus", "hal", "ivy", "jim"];
const otherPath = "other path …";

class Pane {
  constructor(saved = {}) {
    const root = $("pane").content.cloneNode(true).firstElementChild;
    this.root = root;
    this.at = selector => root.querySelector(selector);
    const used = panes.map(p => p.hue);
    this.hue = [0, 1, 2, 3, 4, 5].find(h => !used.includes(h)) ?? panes.length % 6;
    root.dataset.hue = this.hue;
    this.socket = null;
    this.waitingSince = null; // when the oldest unanswered message left
    this.last = null;         // for Again: {mode, text, data}
    this.file = null;         // Uint8Array, sent instead of the digits
    this.recall = null;       // index into sentBefore while walking through it
    this.draft = null;
    this.values = saved.params ?? {};
    this.wanted = saved.route ?? null;
    this.name = "";
    this.rename(saved.name ?? names.find(n => !panes.some(p => p.name === n)) ?? "client-" + (panes.length + 1));

    if (saved.other) this.at(".path").value = saved.other;
    this.at(".query").value = saved.query ?? "name=" + encodeURIComponent(this.name);
    this.at(".protocols").value = saved.protocols ?? "";
    const group = "mode-" + (Pane.count = (Pane.count ?? 0) + 1);
    for (const radio of root.querySelectorAll(".modes input")) {
      radio.name = group;
      radio.onchange = () => this.setMode(radio.value);
    }
    this.mode = "text";
    this.wire();
    $("panes").append(root);
    panes.push(this);
    this.showRoutes();
    this.setMode("text");
  }

  wire() {
    const at = this.at;
    at(".name").onchange = () => this.rename(at(".name").value.trim());
    at(".remove").onclick = () => this.remove();
    at(".route").onchange = () => { this.wanted = at(".route").value; this.showParams(); keep(); };
    for (const field of [".path", ".query", ".protocols"]) at(field).oninput = () => { this.showURL(); keep(); };
    at(".dial").onsubmit = event => { event.preventDefault(); this.connect(); };
    at(".hangup").onsubmit = event => { event.preventDefault(); this.disconnect(); };
    at(".compose").onsubmit = event => { event.preventDefault(); this.submit(); };
    at(".again").onclick = () => this.transmit(this.last);
    stick(at(".log"));
    at(".clear").onclick = () => at(".log").replaceChildren();
    at(".pretty").onchange = () => {
      change(at(".log"), () => { for (const d of at(".log").querySelectorAll("details")) d.open = at(".pretty").checked; });
    };
    at(".format").onclick = () => {
      if (this.check()) at("textarea").value = indentJSON(at("textarea").value);
      this.fit();
    };
    at(".file input").onchange = async () => {
      const file = at(".file input").files[0];
      at(".file input").value = "";
      if (!file) return;
      this.attach(new Uint8Array(await file.arrayBuffer()), file.name);
    };
    at(".unfile").onclick = () => this.attach(null);
    const text = at("textarea");
    text.oninput = () => { this.recall = null; this.fit(); this.check(true); };
    text.onkeydown = event => this.key(event);
  }

  rename(name) {
    if (!name) name = this.name;
    const base = name;
    for (let n = 2; panes.some(p => p !== this && p.name === name); n++) name = base + "-" + n;
    const query = this.at(".query");
    if (this.name && query.value === "name=" + encodeURIComponent(this.name)) query.value = "name=" + encodeURIComponent(name);
    this.name = name;
    this.at(".name").value = name;
    this.root.setAttribute("aria-label", "Client " + name);
    this.at(".log").setAttribute("aria-label", "What " + name + " sent and received");
    this.at(".remove").setAttribute("aria-label", "Remove " + name);
    this.at(".remove").title = "Remove " + name;
    if (panes.includes(this)) this.showURL();
    keep();
  }

  remove() {
    if (this.socket) this.disconnect(true);
    panes.splice(panes.indexOf(this), 1);
    this.root.remove();
    keep();
    $("add").focus();
  }

  // -- Where to --

  showRoutes() {
    const select = this.at(".route");
    const paths = server.routes.map(r => r.path);
    const wanted = this.wanted !== null && (this.wanted === otherPath || paths.includes(this.wanted)) ? this.wanted : paths[0] ?? otherPath;
    select.replaceChildren(...[...paths, otherPath].map(p => el("option", { value: p }, p)));
    select.value = wanted;
    this.showParams();
  }

  route() { return server.routes.find(r => r.path === this.at(".route").value) ?? null; }

  // module is the name of the module that answers here, if that is known.
  module() { return (this.route() ?? matching(this.path()))?.module ?? null; }

  showParams() {
    const route = this.route();
    this.at(".other").hidden = route !== null;
    this.at(".path").disabled = route !== null;
    const params = route ? [...route.path.matchAll(/\{([^}]+)\}/g)].map(m => m[1]) : [];
    this.at(".params").replaceChildren(...params.map(param => {
      const input = el("input", { value: this.values[param] ?? firstValue(param), required: true, spellcheck: false });
      // A dot as a segment is the path's own business; browsers take it out.
      input.pattern = param.endsWith("...") ? "(?!(.*/)?\\.{1,2}(/|$)).*" : "(?!\\.{1,2}$).*";
      input.title = "not empty, not . or ..";
      input.dataset.param = param;
      input.oninput = () => { this.values[param] = input.value; this.showURL(); keep(); };
      return el("label", {}, param.replace(/\.\.\.$/, ""), input);
    }));
    this.at(".picks").replaceChildren(...(route?.protocols ?? []).map(protocol => {
      const box = el("input", { type: "checkbox", value: protocol, checked: this.protocols().includes(protocol) });
      box.onchange = () => {
        const rest = this.protocols().filter(p => p !== protocol);
        this.at(".protocols").value = (box.checked ? [...rest, protocol] : rest).join(", ");
        keep();
      };
      return el("label", { className: "check" }, box, protocol);
    }));
    this.showURL();
  }

  protocols() { return this.at(".protocols").value.split(/[\s,]+/).filter(Boolean); }

  // path is what is asked for, with the query.
  path() {
    const route = this.route();
    let path = this.at(".path").value;
    if (route) {
      path = route.path.replace(/\{([^}]+)\}/g, (_, param) => {
        const value = this.at('[data-param="' + CSS.escape(param) + '"]').value;
        return param.endsWith("...") ? value.split("/").map(encodeURIComponent).join("/") : encodeURIComponent(value);
      });
    }
    const query = this.at(".query").value.trim().replace(/^\?/, "");
    if (!query) return path;
    return path + (path.includes("?") ? "&" : "?") + query;
  }

  url() {
    const url = new URL(this.path(), server.base);
    url.hash = "";
    return url;
  }

  showURL() {
    let text;
    try { text = this.url().href; } catch { text = "not an address"; }
    for (const output of this.root.querySelectorAll(".url")) output.textContent = text;
  }

  // -- The connection --

  show(state, words) {
    this.root.dataset.is = state;
    this.at(".state").textContent = words;
    this.at(".dial").hidden = state !== "closed";
    this.at(".hangup").hidden = state === "closed";
    this.at(".send").disabled = state !== "open";
    this.at(".again").disabled = state !== "open" || !this.last;
  }

  connect() {
    const at = performance.now();
    const protocols = this.protocols();
    let socket, url;
    try {
      url = this.url();
      socket = new WebSocket(url, protocols);
    } catch (error) {
      this.note(at, "bad", "Could not connect.", error.message.replace(/^.*?': /, ""));
      return;
    }
    const path = url.pathname + url.search;
    const kept = record(this, { at, kind: "open", path, protocols, failed: false }, "connects to " + path);
    socket.binaryType = "arraybuffer";
    socket.asked = false; // by this client to close
    this.socket = socket;
    this.waitingSince = null;
    this.show("waiting", "connecting …");
    let opened = false;

    socket.onopen = () => {
      opened = true;
      const now = performance.now();
      this.show("open", "connected" + (socket.protocol ? " · " + socket.protocol : ""));
      this.note(now, "good", "Open", (socket.protocol ? "subprotocol " + socket.protocol + ", " : "") + "handshake " + took(now - at));
      if (document.activeElement === document.body || this.at(".hangup").contains(document.activeElement)) this.at("textarea").focus();
    };
    socket.onmessage = event => {
      const now = performance.now();
      const data = typeof event.data === "string" ? event.data : new Uint8Array(event.data);
      const latency = this.waitingSince === null ? null : now - this.waitingSince;
      this.waitingSince = null;
      this.frame(now, "receive", data, latency);
    };
    socket.onclose = event => {
      const now = performance.now();
      if (this.socket === socket) {
        this.socket = null;
        this.show("closed", opened ? "closed " + event.code : "not connected");
      }
      if (!opened) {
        kept.failed = true;
        if (socket.asked) {
          record(this, { at: now, kind: "refused" }, "gave up");
          this.note(now, "", "Given up", "before the connection was open.");
          return;
        }
        record(this, { at: now, kind: "refused" }, "could not connect");
        this.note(now, "bad", "Could not connect.", "A browser does not say why. Check that", this.checks(url, protocols));
        return;
      }
      const { name, meaning } = closeWords(event.code);
      const reason = event.reason ? " Reason: " + event.reason : "";
      record(this, { at: now, kind: "closed", code: event.code, reason: event.reason, asked: socket.asked },
        "closed " + event.code + " " + name + reason);
      const who = socket.asked ? "this client closed" : meaning;
      this.note(now, event.code === 1000 || socket.asked ? "" : "bad", event.code + " " + name, (who ? "– " + who + "." : "") + reason);
    };
  }

  // checks lists what may have gone wrong, what is known to be wrong first.
  checks(url, protocols) {
    const list = [];
    if (server.lost) list.push("the server runs: this page has lost it");
    else if (server.routes.length && !matching(url.pathname)) list.push("a route leads there: none of this server's matches " + url.pathname);
    if (protocols.length) list.push("the server picks one of the subprotocols " + protocols.join(", ") + ": a browser gives up when it picks none");
    if (url.host !== location.host) list.push("server.allowed_origins has " + location.origin + ", where this page comes from");
    list.push("the handler accepts the upgrade: the server's log says what it answered, and so does");
    const list2 = el("ul", {}, ...list.map(text => el("li", {}, text)));
    list2.lastChild.append(" ", el("code", {}, "curl -i '" + url.href.replace(/^ws/, "http").replace(/'/g, "%27") +
      "' -H 'Connection: Upgrade' -H 'Upgrade: websocket' -H 'Sec-WebSocket-Version: 13' -H 'Sec-WebSocket-Key: d2VpcidzIHBsYXlncm91bg=='"));
    return list2;
  }

  disconnect(atOnce) {
    const problem = this.at(".hangup .problem");
    const [codeField, reasonField] = this.root.querySelectorAll(".hangup input");
    const code = atOnce ? 1000 : Number(codeField.value);
    const reason = atOnce ? "" : reasonField.value;
    const socket = this.socket;
    if (!socket) return;
    problem.hidden = true;
    if (code !== 1000 && !(Number.isInteger(code) && code >= 3000 && code <= 4999)) {
      problem.textContent = "A page may only close with 1000, or 3000 to 4999.";
    } else if (byteLength(reason) > 123) {
      problem.textContent = "The reason has " + byteLength(reason) + " bytes; 123 fit into a Close frame.";
    } else {
      socket.asked = true;
      if (socket.readyState === WebSocket.OPEN) {
        record(this, { at: performance.now(), kind: "close", code, reason }, "closes with " + code + (reason ? " " + reason : ""));
      }
      socket.close(code, reason);
      this.show("waiting", "closing …");
      return;
    }
    problem.hidden = false;
  }

  // -- What is said --

  setMode(mode) {
    this.mode = mode;
    this.attach(null);
    for (const radio of this.root.querySelectorAll(".modes input")) radio.checked = radio.value === mode;
    this.at(".format").hidden = mode !== "json";
    this.at(".file").hidden = mode !== "binary";
    this.at("textarea").placeholder = { text: "A message", json: '{"type": "say", "text": "hi"}', binary: "00 ff 10 …, or a file" }[mode];
    this.check(true);
  }

  attach(bytes, name) {
    this.file = bytes;
    const chip = this.at(".unfile");
    chip.hidden = bytes === null;
    this.at("textarea").disabled = bytes !== null;
    if (bytes === null) return;
    chip.textContent = name + ", " + sized(bytes.length) + " ✕";
    chip.title = "Send something else";
    this.at(".send").focus();
  }

  // compose returns what would be sent: {data} or {problem}.
  compose() {
    const text = this.at("textarea").value;
    if (this.mode === "binary") return this.file ? { data: this.file } : parseHex(text);
    if (this.mode === "json") {
      try { JSON.parse(text); } catch (error) { return { problem: "Not JSON: " + error.message + "." }; }
    }
    return { data: text };
  }

  // check shows what is wrong with the message. While it is being typed, an empty
  // one is fine.
  check(typing) {
    const { data, problem } = this.compose();
    const show = problem && !(typing && !this.at("textarea").value);
    this.at(".compose .problem").hidden = !show;
    this.at(".compose .problem").textContent = show ? problem : "";
    return problem ? null : { data };
  }

  submit() {
    if (this.socket?.readyState !== WebSocket.OPEN) return;
    const checked = this.check();
    if (!checked) return;
    const text = this.at("textarea").value;
    if (!this.file) remember(this.mode, text);
    this.transmit({ data: checked.data });
    this.at("textarea").value = "";
    this.attach(null);
    this.recall = null;
    this.fit();
    this.at("textarea").focus();
  }

  transmit(message) {
    if (!message || this.socket?.readyState !== WebSocket.OPEN) return;
    const now = performance.now();
    this.waitingSince ??= now;
    this.socket.send(message.data);
    this.last = message;
    this.at(".again").disabled = false;
    this.frame(now, "send", message.data, null);
  }

  key(event) {
    const text = event.target;
    if (event.key === "Enter" && !event.isComposing) {
      if (event.shiftKey) return;
      event.preventDefault();
      if (event.ctrlKey || event.metaKey) {
        text.setRangeText("\n", text.selectionStart, text.selectionEnd, "end");
        this.fit();
      } else if (this.at(".send").disabled) {
        this.at(".compose .problem").textContent = "Not connected.";
        this.at(".compose .problem").hidden = false;
      } else this.submit();
      return;
    }
    const plain = !event.shiftKey && !event.ctrlKey && !event.altKey && !event.metaKey;
    if (!plain || text.selectionStart !== text.selectionEnd) return;
    if (event.key === "ArrowUp" && !text.value.slice(0, text.selectionStart).includes("\n")) this.walk(-1, event);
    if (event.key === "ArrowDown" && !text.value.slice(text.selectionEnd).includes("\n")) this.walk(1, event);
  }

  // walk goes through what was sent; the end of it is what was being written.
  walk(by, event) {
    const from = this.recall ?? sentBefore.length;
    const to = from + by;
    if (to < 0 || to > sentBefore.length || (by > 0 && this.recall === null)) return;
    event.preventDefault();
    if (this.recall === null) this.draft = { mode: this.mode, text: this.at("textarea").value };
    const { mode, text } = to === sentBefore.length ? this.draft : sentBefore[to];
    this.at("textarea").value = text;
    this.setMode(mode);
    this.recall = to === sentBefore.length ? null : to;
    this.fit();
  }

  fit() {
    const text = this.at("textarea");
    text.rows = Math.min(10, Math.max(2, text.value.split("\n").length));
  }

  // -- What is shown --

  frame(now, kind, data, latency) {
    record(this, { at: now, kind, data }, brief(data) || "(empty)", kind === "send" ? "↑" : "↓");
    const about = el("div", { className: "about" },
      el("span", { className: "arrow" }, kind === "send" ? "↑ sent" : "↓ received"),
      el("time", {}, "+" + elapsed(now)),
      el("span", {}, typeof data !== "string" ? "binary" : isStructure(data) ? "json" : "text"),
      el("span", {}, sized(byteLength(data))));
    if (latency !== null)
      about.append(el("span", { className: "took", title: "since the oldest message that nothing had followed yet" }, "after " + took(latency)));
    append(this.at(".log"), el("li", { className: kind }, about, ...body(data, this.at(".pretty").checked)), maxLog);
  }

  note(now, tone, title, text, ...rest) {
    append(this.at(".log"), el("li", { className: "note " + tone }, el("time", {}, "+" + elapsed(now)),
      el("b", {}, title), " ", text, ...rest), maxLog);
  }
}

// firstValue is what a parameter begins with.
function firstValue(param) { return param === "room" ? "lobby" : param.replace(/\.\.\.$/, "") + "-1"; }

// matching is the first route that a path takes.
function matching(path) {
  const asked = path.replace(/\?.*$/, "").split("/");
  return server.routes.find(route => {
    const wanted = route.path.split("/");
    return wanted.every((segment, i) => /^\{.+\.\.\.\}$/.test(segment) ? i < asked.length
      : /^\{.+\}$/.test(segment) ? asked[i] : segment === asked[i]) &&
      (wanted.length === asked.length || /\.\.\.\}$/.test(wanted.at(-1)));
  }) ?? null;
}

let keeping = false;
function keep() {
  if (!keeping) return;
  memory.set("clients", panes.map(p => ({
    name: p.name, route: p.wanted, other: p.at(".path").value, params: p.values,
    query: p.at(".query").value, protocols: p.at(".protocols").value,
  })));
}

// ---- The server ----

const server = { modules: [], routes: [], subject: "", base: null, known: false, lost: false };

function pageBase() {
  const url = new URL("/", location.href);
  url.protocol = location.protocol === "https:" ? "wss:" : "ws:";
  return url;
}
server.base = pageBase();

// learn takes over what the server says of itself.
function learn(info) {
  const before = new Map(server.modules.map(m => [m.name, m]));
  const routes = JSON.stringify(info.routes ?? []);
  const moved = routes !== JSON.stringify(server.routes) || !server.known;
  server.modules = info.modules ?? [];
  server.routes = info.routes ?? [];
  server.subject = info.subject ?? "";
  server.base = info.base ? new URL("/", info.base) : pageBase();
  server.lost = false;
  if (moved) for (const pane of panes) pane.showRoutes();
  else for (const pane of panes) pane.showURL();

  $("modules").replaceChildren(...server.modules.map(m => el("li", {},
    el("b", {}, m.name), " generation " + m.generation + " ",
    el("code", { title: "SHA-256 " + m.digest }, m.digest.slice(0, 8)), " " + sized(m.bytes))));

  const now = performance.now();
  for (const m of server.modules) {
    const old = before.get(m.name);
    if (!server.known || !old || (old.generation === m.generation && old.digest === m.digest)) continue;
    for (const pane of panes) {
      if (pane.module() !== m.name && pane.module() !== null) continue;
      pane.note(now, "good", "Now generation " + m.generation, "of " + m.name + (pane.socket ? ", and the connection stays." : "."));
    }
    record(null, { at: now, kind: "note", text: m.name + " was generation " + m.generation + " from here on" },
      m.name + " is now generation " + m.generation);
  }
  server.known = true;
  showBuild(info.build ?? {});
}

function showBuild({ state, message, ms }) {
  const words = { ok: "built", building: "building …", failed: "build failed" }[state] ?? "";
  $("build").dataset.is = words ? state : "none";
  $("build").textContent = words + (words && state !== "building" && ms ? (state === "ok" ? " in " : " after ") + took(ms) : "");
  const failed = state === "failed";
  const pre = $("failure").querySelector("pre");
  if (failed) {
    const serving = server.modules.map(m => m.name + " generation " + m.generation).join(", ");
    $("failure").querySelector("p").textContent = serving ? "Still serving: " + serving + "." : "Nothing is in service yet.";
    pre.textContent = message || "The compiler said nothing.";
    $("failure").hidden = false;
  } else if (state !== "building") { // a build that runs has not cured anything yet
    $("failure").hidden = true;
    pre.textContent = "";
  }
}

function lose() {
  server.lost = true;
  $("build").dataset.is = "lost";
  $("build").textContent = "no contact with the server";
}

const pollMs = 2000;

// watch follows the server: by its event stream, or, when it has none left for
// this page, by asking again and again.
function watch() {
  const stream = new EventSource("events");
  stream.onmessage = event => learn(JSON.parse(event.data));
  stream.onerror = () => {
    if (stream.readyState !== EventSource.CLOSED) { // the browser tries again by itself
      lose();
      return;
    }
    poll();
  };
  addEventListener("pagehide", () => stream.close());
  addEventListener("pageshow", event => { if (event.persisted) watch(); });
}

async function poll() {
  try {
    const answer = await fetch("state");
    if (!answer.ok) throw new Error(answer.statusText);
    learn(await answer.json());
  } catch { lose(); }
  setTimeout(poll, pollMs);
}

// ---- The scenario ----

function guessSubject() {
  if (server.subject) return server.subject;
  const used = new Set(recorded.filter(e => e.kind === "open").map(e => matching(e.path)?.module));
  return used.size === 1 && [...used][0] ? "../" + [...used][0] + ".wasm" : "../weir.yaml";
}

function showScenario() {
  $("scenario-yaml").value = toYAML({
    subject: $("scenario-subject").value.trim() || "../weir.yaml",
    name: $("scenario-name").value.trim() || "recorded",
    silence: $("scenario-silence").checked,
    until: saved.until,
    events: saved.events,
  });
  $("scenario-said").textContent = recorded.length >= maxRecorded ? "The recording is full; the end is missing." : "";
}

let saved = { until: 0, events: [] };

$("save").onclick = () => {
  const clients = [...new Set(recorded.filter(e => e.pane).map(e => e.pane.name))];
  saved = { until: performance.now(), events: recorded.map(({ pane, ...event }) => ({ ...event, client: pane?.name })) };
  $("scenario-name").value ||= clients.join(" and ") + (clients.length > 1 ? " talk" : " talks");
  $("scenario-subject").value ||= guessSubject();
  showScenario();
  $("scenario").showModal();
};
for (const id of ["scenario-name", "scenario-subject", "scenario-silence"]) $(id).oninput = showScenario;
// Enter in a field is no reason to close.
$("scenario").addEventListener("keydown", event => { if (event.key === "Enter" && event.target.matches("input")) event.preventDefault(); });

$("scenario-copy").onclick = async () => {
  try {
    await navigator.clipboard.writeText($("scenario-yaml").value);
    $("scenario-said").textContent = "Copied.";
  } catch { // no permission, or not a secure origin
    $("scenario-yaml").select();
    $("scenario-said").textContent = "Selected; copy it with Ctrl+C.";
  }
};
$("scenario-download").onclick = () => {
  const url = URL.createObjectURL(new Blob([$("scenario-yaml").value], { type: "application/yaml" }));
  const name = $("scenario-name").value.toLowerCase().replace(/[^a-z0-9]+/g, "-").replace(/^-|-$/g, "") || "recorded";
  el("a", { href: url, download: name + ".yaml" }).click();
  URL.revokeObjectURL(url);
};

// ---- The page ----

$("add").onclick = () => {
  const pane = new Pane();
  keep();
  pane.root.scrollIntoView({ block: "nearest" });
  pane.at(".route").focus();
};
$("restart").onclick = () => {
  for (const pane of panes) {
    if (pane.socket) {
      pane.socket.onopen = pane.socket.onmessage = pane.socket.onclose = null;
      pane.socket.close(1000);
      pane.socket = null;
    }
    pane.show("closed", "not connected");
    pane.at(".log").replaceChildren();
  }
  recorded = [];
  origin = null;
  $("story").replaceChildren();
  $("count").textContent = "";
  $("save").disabled = true;
  $("scenario-name").value = $("scenario-subject").value = "";
};
$("fold").onclick = () => {
  const fold = !$("story").hidden;
  $("story").hidden = fold;
  $("fold").textContent = fold ? "Show" : "Hide";
  $("fold").setAttribute("aria-expanded", String(!fold));
};

$("save").disabled = true;
const before = memory.get("clients");
for (const client of Array.isArray(before) && before.length ? before : [{}, {}]) new Pane(client);
keeping = true;
watch();
