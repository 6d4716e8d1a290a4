// Node's WebSocket clients, `ws` and `undici`, against an echo server: node clients.mjs URL [--deflate]
//
// With --deflate the server grants compression, and every client has to have got it. Without, none may.

import assert from "node:assert/strict";
import { once } from "node:events";
import { parseArgs } from "node:util";
import { WebSocket as Undici } from "undici";
import WebSocket from "ws";
import { LARGE, check, finish, messages, sameText } from "./checks.mjs";

const { values, positionals } = parseArgs({ options: { deflate: { type: "boolean" } }, allowPositionals: true });
const [url] = positionals;
const deflate = values.deflate ?? false;
const kind = deflate ? "compressed" : "plain";

async function overWs(options, negotiated) {
  const socket = new WebSocket(url, { maxPayload: 2 * LARGE, ...options });
  try {
    await once(socket, "open");
    assert.equal(socket.extensions, negotiated ? "permessage-deflate" : "");
    for (const message of messages()) {
      const answer = once(socket, "message");
      socket.send(message);
      const [data, isBinary] = await answer;
      assert.equal(isBinary, typeof message !== "string");
      if (isBinary) assert.ok(data.equals(message), `${data.length} bytes for ${message.length}`);
      else sameText(data.toString(), message);
    }
    const pong = once(socket, "pong");
    socket.ping("between");
    assert.equal((await pong)[0].toString(), "between");
    const closed = once(socket, "close");
    socket.close(3456, "enough");
    assert.equal((await closed)[0], 3456);
  } finally {
    socket.terminate();
  }
}

const offers = {
  "as it comes": { threshold: 0 },
  "without context takeover": { serverNoContextTakeover: true, clientNoContextTakeover: true, threshold: 0 },
  "with windows of 9 and 11 bits": { serverMaxWindowBits: 9, clientMaxWindowBits: 11, threshold: 0 },
};
for (const [name, perMessageDeflate] of Object.entries(offers)) {
  await check(`ws, ${kind}: echoes to an offer ${name}`, () => overWs({ perMessageDeflate }, deflate));
}
await check(`ws, ${kind}: echoes without an offer`, () => overWs({ perMessageDeflate: false }, false));

await check(`ws, ${kind}: a fragmented message comes back whole`, async () => {
  const socket = new WebSocket(url);
  try {
    await once(socket, "open");
    const answer = once(socket, "message");
    const pieces = ["first ", "second ".repeat(2000), "", "last"];
    pieces.forEach((piece, at) => socket.send(piece, { fin: at === pieces.length - 1, compress: true }));
    sameText((await answer)[0].toString(), pieces.join(""));
  } finally {
    socket.terminate();
  }
});

await check(`undici, ${kind}: echoes`, async () => {
  const socket = new Undici(url);
  socket.binaryType = "arraybuffer";
  const event = (name) =>
    new Promise((resolve, reject) => {
      const done = new AbortController();
      const on = (type, then) =>
        socket.addEventListener(type, (value) => (done.abort(), then(value)), { signal: done.signal });
      on(name, resolve);
      on("error", (error) => reject(error.error ?? new Error("it failed")));
    });
  await event("open");
  assert.equal(socket.extensions.startsWith("permessage-deflate"), deflate, socket.extensions);
  for (const message of messages()) {
    const answer = event("message");
    socket.send(message);
    const { data } = await answer;
    if (typeof message === "string") sameText(data, message);
    else assert.ok(Buffer.from(data).equals(message), `${data.byteLength} bytes for ${message.length}`);
  }
  const closed = event("close");
  socket.close(3456, "enough");
  const { code, wasClean } = await closed;
  assert.deepEqual([code, wasClean], [3456, true]);
});

process.exit(finish());
