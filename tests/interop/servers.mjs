// Servers of Node's `ws` for a client that is to be tried: node servers.mjs
//
// Prints `listening on URL: WHAT` for each of them, then a line `ready`. Each has the cases of an Autobahn fuzzing
// server: the number of them at /getCaseCount, one at /runCase?case=N, and /updateReports at the end; the client
// echoes. Any other path echoes. It ends with the results once every server was asked to update its reports.

import assert from "node:assert/strict";
import { once } from "node:events";
import { WebSocketServer } from "ws";
import { LARGE, check, finish, messages, sameText } from "./checks.mjs";

const WHOLE_MS = 120_000;

// What a server makes of an offer.
const answers = {
  "no compression": false,
  "compression as it comes": { threshold: 0 },
  "no context takeover of either side": { serverNoContextTakeover: true, clientNoContextTakeover: true, threshold: 0 },
  "windows of 9 and 10 bits": { serverMaxWindowBits: 9, clientMaxWindowBits: 10, threshold: 0 },
};

const cases = {
  async echoes(socket) {
    for (const message of messages()) {
      const answer = once(socket, "message");
      socket.send(message);
      const [data, isBinary] = await answer;
      assert.equal(isBinary, typeof message !== "string");
      if (isBinary) assert.ok(data.equals(message), `${data.length} bytes for ${message.length}`);
      else sameText(data.toString(), message);
    }
  },
  async "reassembles fragments"(socket) {
    const answer = once(socket, "message");
    const pieces = ["first ", "second ".repeat(2000), "", "last"];
    pieces.forEach((piece, at) => socket.send(piece, { fin: at === pieces.length - 1, compress: true }));
    sameText((await answer)[0].toString(), pieces.join(""));
  },
  async "answers pings"(socket) {
    for (const payload of ["", "x".repeat(125)]) {
      const pong = once(socket, "pong");
      socket.ping(payload);
      assert.equal((await pong)[0].toString(), payload);
    }
  },
  async "answers a close with its code"(socket) {
    const closed = once(socket, "close");
    socket.close(3456, "enough");
    assert.equal((await closed)[0], 3456);
  },
};

async function start(name, perMessageDeflate) {
  const server = new WebSocketServer({ host: "127.0.0.1", port: 0, perMessageDeflate, maxPayload: 2 * LARGE });
  let ended;
  const over = new Promise((resolve) => (ended = resolve));
  server.on("connection", async (socket, request) => {
    const { pathname, searchParams } = new URL(request.url, "ws://127.0.0.1");
    if (pathname === "/getCaseCount") {
      socket.send(String(Object.keys(cases).length));
      socket.close();
    } else if (pathname === "/runCase") {
      const [promise, body] = Object.entries(cases)[Number(searchParams.get("case")) - 1];
      await check(`ws as server, ${name}: ${promise}`, async () => {
        assert.equal(socket.extensions, perMessageDeflate ? "permessage-deflate" : "");
        await body(socket);
      });
      socket.close();
    } else if (pathname === "/updateReports") {
      socket.close();
      ended();
    } else {
      socket.on("message", (data, binary) => socket.send(data, { binary }));
    }
  });
  await once(server, "listening");
  console.log(`listening on ws://127.0.0.1:${server.address().port}: ${name}`);
  // In an object, because an async function would wait for it.
  return { over };
}

const servers = [];
for (const [name, perMessageDeflate] of Object.entries(answers)) servers.push(await start(name, perMessageDeflate));
console.log("ready");
setTimeout(() => {
  console.log(`FAILED  not every server was asked to update its reports within ${WHOLE_MS} ms`);
  process.exit(1);
}, WHOLE_MS).unref();
await Promise.all(servers.map(({ over }) => over));
const expected = Object.keys(answers).length * Object.keys(cases).length;
process.exit(finish(expected));
