// Two pages of the demo talk to each other.
//
//   node chat.mjs URL CHROMIUM FOLDER
//
// URL is the demo's, CHROMIUM the browser's path, FOLDER gets a screenshot of
// each page. It exits with 1 when anything is not as it should be.
import assert from "node:assert/strict";
import path from "node:path";
import { chromium } from "playwright-core";

const [url, executablePath, folder] = process.argv.slice(2);
const browser = await chromium.launch({
  executablePath,
  args: [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
  ],
});

const complaints = [];

// enter opens the page in a profile of its own and joins a room by hand.
async function enter(name, room) {
  const context = await browser.newContext({ viewport: { width: 900, height: 700 } });
  const page = await context.newPage();
  page.setDefaultTimeout(20_000);
  page.on("pageerror", (error) => complaints.push(`${name}: ${error}`));
  page.on("console", (message) => {
    if (message.type() === "error") complaints.push(`${name}: ${message.text()}`);
  });
  await page.goto(url);
  await page.fill("#name", name);
  await page.fill("#room", room);
  await page.click("#join button");
  await page.locator("#state[data-is=open]").waitFor();
  return page;
}

async function say(page, text) {
  await page.fill("#text", text);
  await page.press("#text", "Enter");
}

const heard = (page, from, text) => page.locator("#log li.other", { hasText: text }).filter({ hasText: from }).waitFor();
const members = (page, text) => page.locator("#members", { hasText: text }).waitFor();

try {
  const ann = await enter("ann", "lobby");
  await members(ann, "1 member");
  const bob = await enter("bob", "lobby");
  await members(ann, "2 members");
  await members(bob, "2 members");
  await ann.locator("#log li.note", { hasText: "bob has joined" }).waitFor();
  console.log("two pages are in one room");

  await say(ann, "hello bob, this is ann");
  await heard(bob, "ann", "hello bob, this is ann");
  await say(bob, 'grüße <b>an</b> "ann" 🙂');
  await heard(ann, "bob", 'grüße <b>an</b> "ann" 🙂');
  assert.equal(await ann.locator("#log li.other").count(), 1, "ann hears bob once, and not herself");
  assert.equal(await bob.locator("#log li.other").count(), 1, "bob hears ann once, and not himself");
  assert.equal(await ann.locator("#log li.mine").count(), 1, "ann sees what she said");
  console.log("each hears the other");

  const eve = await enter("eve", "attic");
  await members(eve, "1 member");
  await say(ann, "only for the lobby");
  await heard(bob, "ann", "only for the lobby");
  await say(eve, "is anybody here?");
  assert.equal(await eve.locator("#log li.other").count(), 0, "another room is another room");
  console.log("rooms do not overhear each other");

  await ann.screenshot({ path: path.join(folder, "ann.png") });
  await bob.screenshot({ path: path.join(folder, "bob.png") });

  await bob.click("#leave");
  await ann.locator("#log li.note", { hasText: "bob has left" }).waitFor();
  await members(ann, "1 member");
  console.log("who leaves is gone");

  assert.deepEqual(complaints, [], "the pages' consoles are clean");
} finally {
  await browser.close();
}
