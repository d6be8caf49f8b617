// A browser's WebSocket compresses with the server.
//
//   node deflate.mjs URL CHROMIUM
//
// URL is that of a server that echoes, compresses, and lets every page in. It
// prints what was agreed on, and exits with 1 when anything is not as it should be.
import assert from "node:assert/strict";
import { chromium } from "playwright-core";

const [url, executablePath] = process.argv.slice(2);
const browser = await chromium.launch({
  executablePath,
  args: [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
  ],
});
try {
  const page = await browser.newPage();
  const { extensions, wrong, code } = await page.evaluate(url => new Promise(done => {
    const texts = [];
    for (let i = 0; i < 60; i++) {
      texts.push(JSON.stringify(Array.from({ length: i * i / 2 }, (_, n) => ({ n, user: "user" + n * i % 17, text: "grüße 漢𝄞" }))));
    }
    const wrong = [];
    let heard = 0, extensions;
    const socket = new WebSocket(url);
    socket.onopen = () => {
      extensions = socket.extensions;
      for (const text of texts) socket.send(text);
    };
    socket.onmessage = event => {
      if (event.data !== texts[heard]) wrong.push(heard);
      if (++heard === texts.length) socket.close(1000);
    };
    socket.onclose = event => done({ extensions, wrong, code: event.code });
  }), url.replace("http", "ws"));
  console.log(extensions);
  assert.deepEqual({ wrong, code }, { wrong: [], code: 1000 });
} finally {
  await browser.close();
}
