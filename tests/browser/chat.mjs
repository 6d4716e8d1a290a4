// Real browser tabs on the chat example: they talk to each other, and pages of other origins stay out.
//
//     cargo build --release -p examples --example chat
//     npm ci && node chat.mjs --server ../../target/release/examples/chat
//
// CHROMIUM names the browser when it is not `chromium` in the PATH. Prints `N passed, N failed`.

import assert from "node:assert/strict";
import { parseArgs } from "node:util";
import { chromium } from "playwright-core";
import { servePage, startServer } from "./servers.mjs";

const WHOLE_RUN_MS = 120_000;
const STEP_MS = 10_000;
const STOP_MS = 12_000;

// Resolves to this machine, as a name whose owner pointed it here would.
const REBOUND = "rebound.example";

const { values: args } = parseArgs({ options: { server: { type: "string" } } });
if (!args.server) {
  console.error("usage: chat.mjs --server PATH");
  process.exit(2);
}

let passed = 0;
let failed = 0;

async function check(promise, body) {
  try {
    await body();
    passed += 1;
    console.log(`ok      ${promise}`);
  } catch (error) {
    failed += 1;
    console.log(`FAILED  ${promise}\n        ${String(error?.stack ?? error).replaceAll("\n", "\n        ")}`);
  }
}

// Waits until `read` gives what `holds`, and fails with the last value that it gave.
async function eventually(page, read, holds, ...given) {
  const deadline = Date.now() + STEP_MS;
  let value;
  for (;;) {
    value = await page.evaluate(read, ...given);
    if (holds(value)) return value;
    if (Date.now() > deadline) throw new Error(`after ${STEP_MS} ms still ${JSON.stringify(value)}`);
    await page.waitForTimeout(25);
  }
}

const texts = (selector) => [...document.querySelectorAll(selector)].map((element) => element.textContent.trim());

const messages = () =>
  [...document.querySelectorAll("#messages li")]
    .filter((item) => item.querySelector(".author") && item.querySelector(".text"))
    .map((item) => ({
      author: item.querySelector(".author").textContent.trim(),
      text: item.querySelector(".text").textContent,
    }));

// What a page learns when it tries to open a WebSocket.
const attempt = (address) =>
  new Promise((resolve) => {
    const socket = new WebSocket(address);
    let opened = false;
    socket.onopen = () => {
      opened = true;
      socket.close();
    };
    socket.onclose = ({ code, reason, wasClean }) => resolve({ opened, code, reason, wasClean });
  });

const REFUSED = { opened: false, code: 1006, reason: "", wasClean: false };

async function join(page, name, room) {
  await page.fill("#name", name);
  await page.fill("#room", room);
  await page.click("#join");
  await eventually(page, texts, ([status]) => status === "connected", "#status");
}

async function say(page, text) {
  await page.fill("#text", text);
  await page.click("#send");
}

const seesMessage = (page, author, text) =>
  eventually(page, messages, (all) => all.some((one) => one.author === author && one.text === text));

const seesPeople = (page, ...names) =>
  eventually(
    page,
    texts,
    (people) => people.length === names.length && names.every((name) => people.some((one) => one.includes(name))),
    "#people li",
  );

async function run(server, browser) {
  const stranger = await servePage("<!doctype html><title>another site</title>");
  const context = await browser.newContext();
  context.setDefaultTimeout(STEP_MS);
  // Remembers how each socket of a page ended; pages see no difference.
  await context.addInitScript(() => {
    window.endedSockets = [];
    const Native = WebSocket;
    window.WebSocket = class WebSocket extends Native {
      constructor(...given) {
        super(...given);
        this.addEventListener("close", ({ code, wasClean }) => window.endedSockets.push({ code, wasClean }));
      }
    };
  });

  const faults = [];
  const open = async (address) => {
    const page = await context.newPage();
    page.on("pageerror", (error) => faults.push(String(error)));
    await page.goto(address);
    return page;
  };

  const ada = await open(server.url);
  const ben = await open(server.url);
  const devtools = await context.newCDPSession(ada);
  await devtools.send("Network.enable");
  const handshake = {};
  devtools.on("Network.webSocketCreated", ({ url }) => (handshake.url = url));
  devtools.on("Network.webSocketWillSendHandshakeRequest", ({ request }) => (handshake.request = request.headers));
  devtools.on("Network.webSocketHandshakeResponseReceived", ({ response }) => (handshake.response = response));

  // R-09, B-01
  await check("two tabs join a room and each sees who is there", async () => {
    await join(ada, "Ada", "tea");
    await join(ben, "Ben", "tea");
    await seesPeople(ada, "Ada", "Ben");
    await seesPeople(ben, "Ada", "Ben");
  });

  // B-01, B-03, X-05, H-11
  await check("the browser's offer of compression is declined and each field of the 101 is there once", async () => {
    assert.ok(handshake.response, "no handshake was seen");
    const lower = (headers) => new Map(Object.entries(headers).map(([name, value]) => [name.toLowerCase(), value]));
    const request = lower(handshake.request);
    const response = lower(handshake.response.headers);
    assert.match(request.get("sec-websocket-extensions") ?? "", /permessage-deflate/);
    assert.equal(request.get("origin"), new URL(server.url).origin);
    assert.equal(handshake.response.status, 101);
    assert.equal(response.get("upgrade"), "websocket");
    assert.match(response.get("connection"), /^upgrade$/i);
    assert.match(response.get("sec-websocket-accept"), /^[A-Za-z0-9+/]{27}=$/);
    for (const name of ["sec-websocket-extensions", "sec-websocket-protocol", "content-length", "transfer-encoding"]) {
      assert.equal(response.get(name), undefined, name);
    }
  });

  //
  await check("a message of one tab arrives in the other, and the reverse", async () => {
    await say(ada, "Good morning, Ben ☕");
    await seesMessage(ben, "Ada", "Good morning, Ben ☕");
    await say(ben, "Good morning to you");
    await seesMessage(ada, "Ben", "Good morning to you");
    await seesMessage(ada, "Ada", "Good morning, Ben ☕");
  });

  await check("markup in a message is shown as text", async () => {
    const markup = '<img src="x" onerror="window.injected = true"><b>bold</b>';
    await say(ada, markup);
    await seesMessage(ben, "Ada", markup);
    assert.equal(await ben.locator("#messages .text *").count(), 0);
    assert.equal(await ben.evaluate(() => window.injected), undefined);
  });

  await check("another room hears nothing, and nothing of it is heard", async () => {
    const cleo = await open(server.url);
    await join(cleo, "Cleo", "coffee");
    await seesPeople(cleo, "Cleo");
    await say(cleo, "only for coffee");
    await seesMessage(cleo, "Cleo", "only for coffee");
    await say(ada, "only for tea");
    // Ben has it: whatever the server sends for it is under way to all.
    await seesMessage(ben, "Ada", "only for tea");
    await say(cleo, "second cup");
    await seesMessage(cleo, "Cleo", "second cup");
    const has = async (page, text) => (await page.evaluate(messages)).some((message) => message.text === text);
    assert.equal(await has(cleo, "only for tea"), false);
    assert.equal(await has(ada, "only for coffee"), false);
    assert.equal(await has(ben, "only for coffee"), false);
    await seesPeople(ada, "Ada", "Ben");
    await cleo.close();
  });

  // B-05
  await check("a tab that is closed is gone from the list", async () => {
    const dora = await open(server.url);
    await join(dora, "Dora", "tea");
    await seesPeople(ada, "Ada", "Ben", "Dora");
    await dora.close();
    await seesPeople(ada, "Ada", "Ben");
  });

  // O-02, O-03, S-02, B-02
  await check("a page of another origin gets no socket, not even with the user's cookies", async () => {
    await context.addCookies([{ name: "session", value: "valid", url: server.url }]);
    const page = await open(stranger.url);
    assert.deepEqual(await page.evaluate(attempt, handshake.url), REFUSED);
    await page.close();
    // The cookie is no hindrance to a page of our own.
    assert.equal((await ada.evaluate(attempt, handshake.url)).opened, true);
  });

  // S-03
  await check("a page whose name was rebound to this machine gets no socket", async () => {
    const address = new URL(handshake.url);
    address.hostname = REBOUND;
    const site = new URL(server.url);
    site.hostname = REBOUND;
    const page = await context.newPage();
    await page.goto(site.href);
    assert.equal(new URL(page.url()).hostname, REBOUND);
    assert.deepEqual(await page.evaluate(attempt, address.href), REFUSED);
    await page.close();
  });

  // L-15
  await check("the server tells the tabs that it goes, and ends", async () => {
    await ada.evaluate(() => (window.endedSockets.length = 0));
    const started = Date.now();
    server.process.kill("SIGTERM");
    await eventually(ada, texts, ([status]) => status === "disconnected", "#status");
    const ended = await eventually(ada, () => window.endedSockets, (all) => all.length > 0);
    assert.deepEqual(ended[0], { code: 1001, wasClean: true });
    assert.equal(await server.ended(STOP_MS), 0);
    assert.ok(Date.now() - started < STOP_MS);
  });

  await check("no script of a page failed", async () => assert.deepEqual(faults, []));
  stranger.close();
}

const server = await startServer(args.server, STEP_MS);
let browser;
const watchdog = setTimeout(() => {
  console.log(`FAILED  not done within ${WHOLE_RUN_MS} ms\n${passed} passed, ${failed + 1} failed`);
  server.process.kill("SIGKILL");
  process.exit(1);
}, WHOLE_RUN_MS);
try {
  browser = await chromium.launch({
    executablePath: process.env.CHROMIUM || "/usr/bin/chromium",
    args: [
      "--disable-gpu",
      "--disable-quic",
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-sync",
      `--host-resolver-rules=MAP ${REBOUND} 127.0.0.1`,
    ],
  });
  console.log(`Chromium ${browser.version()}`);
  await run(server, browser);
} catch (error) {
  failed += 1;
  console.log(`FAILED  the run: ${error?.stack ?? error}`);
} finally {
  clearTimeout(watchdog);
  await browser?.close();
  server.process.kill("SIGKILL");
}
if (failed > 0 && server.log()) console.log(`the server's log:\n${server.log()}`);
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed > 0 ? 1 : 0);
