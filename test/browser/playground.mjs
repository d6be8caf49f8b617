// Two clients chat and stay while the source is edited, an echo answers, a build
// fails, a scenario is saved.
//
//   node playground.mjs URL CHROMIUM FOLDER PROJECT
//
// URL is the page's, of a weir dev in PROJECT, whose build takes an hour while
// there is a file named slow. FOLDER gets screenshots and the saved scenario. It
// exits with 1 when anything is not as it should be.
import assert from "node:assert/strict";
import { readFile, rm, writeFile } from "node:fs/promises";
import path from "node:path";
import { chromium } from "playwright-core";

const [url, executablePath, folder, project] = process.argv.slice(2);
const browser = await chromium.launch({
  executablePath,
  args: [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
  ],
});

const complaints = [];
const asked = new Set(); // every address that the page asked for
let forgiven = false;    // a refused WebSocket is a complaint of the browser's own

async function visit(options, prepare) {
  const context = await browser.newContext({ viewport: { width: 1400, height: 860 }, acceptDownloads: true, ...options });
  const page = await context.newPage();
  page.setDefaultTimeout(20_000);
  page.on("pageerror", error => complaints.push(String(error)));
  page.on("console", message => {
    if (["error", "warning"].includes(message.type()) && !forgiven) complaints.push(message.text());
  });
  page.on("request", request => asked.add(request.url()));
  page.on("websocket", socket => asked.add(socket.url()));
  await prepare?.(page);
  await page.goto(url);
  await page.locator("#modules li").first().waitFor();
  return page;
}

const handler = path.join(project, "handler.c");
const source = await readFile(handler, "utf8");
const save = text => writeFile(handler, text);

const client = (page, name) => page.getByRole("region", { name: "Client " + name, exact: true });
const shot = (page, name) => page.screenshot({ path: path.join(folder, name + ".png") });

async function connect(pane) {
  await pane.getByRole("button", { name: "Connect", exact: true }).click();
  await pane.locator(".state", { hasText: "connected" }).and(pane.locator(":not(:text('not'))")).waitFor();
}

async function say(pane, text) {
  await pane.getByRole("textbox", { name: "Message" }).fill(text);
  await pane.getByRole("textbox", { name: "Message" }).press("Enter");
}

const mode = (pane, name) => pane.locator(".modes label", { hasText: name }).click();
const got = (pane, text) => pane.locator(".log .receive", { hasText: text }).last().waitFor();
const noted = (pane, text) => pane.locator(".log .note", { hasText: text }).last().waitFor();
const count = (pane, selector) => pane.locator(selector).count();

try {
  const page = await visit({ colorScheme: "light" });
  const ann = client(page, "ann"), bob = client(page, "bob");
  assert.equal(await page.locator(".pane").count(), 2, "two clients to begin with");
  await page.locator("#modules", { hasText: /chat generation 1 [0-9a-f]{8}.*echo generation 1 [0-9a-f]{8}/s }).waitFor();
  await page.locator("#build[data-is=ok]", { hasText: /built in [\d.]+ m?s/ }).waitFor();
  assert.equal(await page.locator("#save").isDisabled(), true, "there is nothing to save yet");
  console.log("the page says what is in service");

  // Two clients chat.
  assert.deepEqual(await ann.locator(".route option").allTextContents(), ["/chat/{room}", "/echo", "other path …"]);
  await ann.getByRole("textbox", { name: "room" }).fill("a b/ü");
  assert.match(await ann.locator(".dial .url").textContent(), /^ws:\/\/[^/]+\/chat\/a%20b%2F%C3%BC\?name=ann$/);
  await ann.getByRole("textbox", { name: "room" }).fill("lobby");
  await connect(ann);
  await got(ann, '"members":1');
  await connect(bob);
  await got(bob, '"members":2');
  await got(ann, '"members":2');
  await mode(ann, "JSON");
  await say(ann, '{"type":"say","text":');
  await ann.locator(".compose .problem", { hasText: "Not JSON" }).waitFor();
  assert.equal(await count(ann, ".log .send"), 0, "what is not JSON is not sent as such");
  await say(ann, '{"type":"say","text":"hi: \\"bob\\" <b>"}');
  await got(bob, 'hi: \\"bob\\" <b>');
  assert.equal(await count(ann, ".log .send"), 1);
  console.log("two clients chat");

  // The JSON view folds and unfolds.
  const last = bob.locator(".log .receive details").last();
  assert.equal(await last.evaluate(d => d.open), false, "JSON is folded at first");
  await bob.getByLabel("Pretty JSON").check();
  assert.equal(await last.locator("pre").textContent(), '{\n  "type": "say",\n  "from": "ann",\n  "text": "hi: \\"bob\\" <b>"\n}');
  assert.match(await bob.locator(".log .receive .about").last().textContent(), /↓ received\+\d+\.\d{3}json52 B/);
  await shot(page, "light");
  console.log("JSON is folded and pretty");

  // A second of silence is worth a claim; the page's own clock decides.
  await page.waitForFunction(since => performance.now() - since > 1100, await page.evaluate(() => performance.now()));
  await say(bob, "not JSON");
  await noted(bob, "4400 Private Use");
  await noted(bob, "not a chat message");
  await got(ann, '"left"');
  console.log("a close says its code, its name and its reason");

  // What a page may not close with is said before it is tried.
  await ann.getByLabel("Code").fill("1001");
  await ann.getByRole("button", { name: "Disconnect" }).click();
  await ann.locator(".hangup .problem", { hasText: "1000, or 3000 to 4999" }).waitFor();
  await ann.getByLabel("Code").fill("4001");
  await ann.getByLabel("Reason").fill("enough: really");
  await ann.getByRole("button", { name: "Disconnect" }).click();
  await noted(ann, "4001 Private Use");
  console.log("a client closes with a code of its own");

  // The scenario.
  await page.locator("#save").click();
  const dialog = page.getByRole("dialog", { name: "Save as scenario" });
  assert.equal(await dialog.getByLabel("Module or configuration").inputValue(), "../weir.yaml");
  await dialog.getByLabel("Name").fill("ann and bob chat");
  await shot(page, "scenario");
  const [download] = await Promise.all([
    page.waitForEvent("download"),
    dialog.getByRole("button", { name: "Download" }).click(),
  ]);
  const file = path.join(folder, download.suggestedFilename());
  await download.saveAs(file);
  assert.equal(await readFile(file, "utf8"), await dialog.locator("textarea").inputValue());
  await dialog.getByRole("button", { name: "Copy" }).click();
  await dialog.locator("#scenario-said", { hasText: /Copied|Selected/ }).waitFor();
  await dialog.getByRole("button", { name: "Close" }).click();
  console.log("a scenario is saved");

  // A third client: echo, binary, history.
  await page.getByRole("button", { name: "Add client" }).click();
  const cat = client(page, "cat");
  await cat.getByRole("combobox", { name: "Route" }).selectOption("/echo");
  await cat.getByLabel("echo.v2").check();
  await connect(cat);
  await noted(cat, "subprotocol echo.v2");
  await mode(cat, "Binary");
  await say(cat, "00 0xff, 7765697g");
  await cat.locator(".compose .problem", { hasText: "“g” is not a hexadecimal digit" }).waitFor();
  await say(cat, "00 0xff, 77656972 2");
  await cat.locator(".compose .problem", { hasText: "half a byte" }).waitFor();
  await say(cat, "00 0xff, 77656972 0a0d20e2");
  await got(cat, "0000  00 ff 77 65 69 72 0a 0d  ··weir··");
  await got(cat, "0008  20 e2                     ·");
  await cat.locator(".took", { hasText: /after [\d.]+ ms/ }).waitFor();
  await cat.getByRole("button", { name: "Again" }).click();
  await cat.locator(".log .receive").nth(1).waitFor();
  await cat.locator(".file input").setInputFiles({ name: "big.bin", mimeType: "application/octet-stream", buffer: Buffer.alloc(3000, 0x41) });
  await cat.locator(".unfile", { hasText: "big.bin, 2.9 KiB" }).waitFor();
  await cat.getByRole("button", { name: "Send" }).click();
  await got(cat, "2.9 KiB");
  await cat.locator(".receive .more").click();
  assert.match(await cat.locator(".receive pre").last().textContent(), /\n0bb0 {2}41 /);
  console.log("binary is echoed: digits and a file");

  const message = cat.getByRole("textbox", { name: "Message" });
  await mode(cat, "Text");
  await message.fill("a draft");
  await message.press("ArrowUp");
  assert.equal(await message.inputValue(), "00 0xff, 77656972 0a0d20e2", "the last one first, without the file");
  assert.equal(await cat.getByRole("radio", { name: "Binary" }).isChecked(), true, "in its own mode");
  await message.press("ArrowUp");
  assert.equal(await message.inputValue(), "not JSON", "then what bob said");
  await message.press("ArrowDown");
  await message.press("ArrowDown");
  assert.equal(await message.inputValue(), "a draft");
  await message.press("End");
  await message.press("Control+Enter");
  await message.press("Shift+Enter");
  await message.pressSequentially("2");
  await message.press("Enter");
  await got(cat, "a draft\n\n2");
  await say(cat, "");
  await cat.locator(".log .receive", { hasText: "text0 B" }).waitFor();
  console.log("history goes up and down");

  // Edits, with both clients connected.
  await connect(ann);
  await connect(bob);
  await got(ann, '"members":2');
  await save("#error <script>alert(1)</script> &amp; more\n" + source);
  await page.locator("#build[data-is=failed]", { hasText: /build failed after [\d.]+ m?s/ }).waitFor();
  assert.match(await page.locator("#failure pre").textContent(), /^handler\.c:1:2: error: <script>alert\(1\)<\/script> &amp; more\n#error/);
  await page.locator("#failure", { hasText: "Still serving: chat generation 1, echo generation 1" }).waitFor();
  await page.locator("#failure").scrollIntoViewIfNeeded();
  assert.equal(await page.evaluate(() => document.documentElement.scrollHeight), 860, "the page stays in its window");
  await shot(page, "failed");
  await mode(ann, "JSON");
  await say(ann, '{"type":"say","text":"still here?"}');
  await got(bob, "still here?");
  await writeFile(path.join(project, "slow"), "");
  await page.locator("#build[data-is=building]").waitFor();
  assert.equal(await page.locator("#failure").isVisible(), true, "nothing is cured yet");
  const edited = source.replace('line("say"', 'line("says"');
  assert.notEqual(edited, source);
  await save(edited);
  await rm(path.join(project, "slow"));
  await noted(ann, "Now generation 2 of chat, and the connection stays.");
  await noted(bob, "Now generation 2 of chat, and the connection stays.");
  assert.equal(await page.locator("#failure").isVisible(), false);
  assert.equal(await count(cat, ".log .note:has-text('generation')"), 0, "the echo is as it was");
  await say(ann, '{"type":"say","text":"and now?"}');
  await got(bob, '{"type":"says","from":"ann","text":"and now?"}');
  for (const pane of [ann, bob])
    assert.ok(await pane.locator(".log").evaluate(l => l.scrollHeight - l.scrollTop - l.clientHeight < 40), "a log shows what came last");
  await shot(page, "swapped");
  await mode(ann, "Text");
  assert.equal(await ann.locator(".send.main").isEnabled(), true);
  console.log("builds and generations are told");

  // Names are unique; routes outlive a reload of the page.
  await cat.getByLabel("Name of this client").fill("ann");
  await cat.getByLabel("Name of this client").press("Tab");
  await client(page, "ann-2").waitFor();
  await page.reload();
  await page.locator(".pane").nth(2).waitFor();
  await page.locator("#modules li").first().waitFor(); // and with them, the routes are known
  assert.equal(await client(page, "ann-2").getByRole("combobox", { name: "Route" }).inputValue(), "/echo");
  await client(page, "ann-2").getByRole("button", { name: "Remove ann-2" }).click();
  assert.equal(await page.locator(".pane").count(), 2);
  console.log("clients outlive a reload of the page");

  // Whoever does not get in reads what to look at.
  forgiven = true;
  const eve = client(page, "bob");
  await eve.getByRole("combobox", { name: "Route" }).selectOption("other path …");
  await eve.getByRole("textbox", { name: "Path" }).fill("/nowhere");
  await eve.getByRole("button", { name: "Connect", exact: true }).click();
  await noted(eve, "none of this server's matches /nowhere");
  await shot(page, "refused");
  console.log("who does not get in reads why that may be");
  await page.context().close();

  // Without the event stream the page asks again and again.
  const late = await visit({}, page => page.route("**/events", route => route.fulfill({ status: 503, body: "too many" })));
  await save("#error once more\n" + edited);
  await late.locator("#failure pre", { hasText: "once more" }).waitFor();
  await save(edited);
  await late.locator("#build[data-is=ok]").waitFor();
  await late.context().close();
  console.log("a page without events asks for the state");
  forgiven = false;

  const dark = await visit({ colorScheme: "dark" });
  await scene(dark, "dark");
  await shot(dark, "dark");
  const narrow = await visit({ colorScheme: "dark", viewport: { width: 360, height: 740 }, deviceScaleFactor: 2 });
  await scene(narrow, "narrow");
  assert.equal(await narrow.evaluate(() => document.documentElement.scrollWidth), 360, "nothing sticks out at 360 px");
  await narrow.screenshot({ path: path.join(folder, "narrow.png"), fullPage: true });
  const wide = await visit({ colorScheme: "light", viewport: { width: 2200, height: 1100 } });
  await wide.getByRole("button", { name: "Add client" }).click();
  await scene(wide, "wide");
  assert.equal(await wide.evaluate(() => document.documentElement.scrollHeight), 1100, "a wide page stays in its window");
  await shot(wide, "wide");
  console.log("it fits on narrow and on wide screens");

  const home = new URL(url).host;
  for (const address of asked) {
    const { host, protocol } = new URL(address);
    assert.ok(host === home || protocol === "data:" || protocol === "blob:", "the page asked for " + address);
  }
  assert.deepEqual(complaints, [], "the console is clean");
} catch (error) {
  for (const context of browser.contexts())
    for (const page of context.pages()) await page.screenshot({ path: path.join(folder, "wrong.png") });
  console.log(complaints);
  throw error;
} finally {
  await browser.close();
}

// scene fills a page with something to look at, in a room of its own.
async function scene(page, room) {
  const ann = client(page, "ann"), bob = client(page, "bob");
  for (const pane of [ann, bob]) await pane.getByRole("textbox", { name: "room" }).fill(room);
  await connect(ann);
  await connect(bob);
  await got(ann, '"members":2');
  await mode(ann, "JSON");
  await say(ann, '{"type":"say","text":"has anybody seen the heron?"}');
  await got(bob, "heron");
  await mode(bob, "JSON");
  await say(bob, '{"type":"say","text":"at the weir, as always"}');
  await got(ann, "as always");
}
