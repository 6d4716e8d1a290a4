// The servers that the browser visits.

import { spawn } from "node:child_process";
import { once } from "node:events";
import http from "node:http";

const LOG_CHARS = 20_000;

// Starts a server of ours on a free port. Its first line ends with its address.
export async function startServer(path, timeoutMs) {
  const child = spawn(path, ["--port", "0"], { stdio: ["ignore", "pipe", "pipe"] });
  let log = "";
  child.stderr.setEncoding("utf8").on("data", (text) => (log = (log + text).slice(-LOG_CHARS)));
  const exit = new Promise((resolve) => child.once("exit", (code, signal) => resolve(code ?? signal)));

  let timer;
  const url = await new Promise((resolve, reject) => {
    const fail = (why) => {
      child.kill("SIGKILL");
      reject(new Error(`${path} ${why}\n${log}`));
    };
    timer = setTimeout(fail, timeoutMs, `said nothing for ${timeoutMs} ms`);
    child.once("error", (error) => fail(`cannot be started: ${error.message}`));
    exit.then((status) => fail(`ended with ${status}`));
    let text = "";
    child.stdout.setEncoding("utf8").on("data", (part) => {
      text = (text + part).slice(0, 4096);
      const line = /^(.*)\r?\n/.exec(text)?.[1];
      if (line === undefined) return;
      const address = /(http:\/\/127\.0\.0\.1:\d+)\/?$/.exec(line)?.[1];
      if (address) resolve(`${address}/`);
      else fail(`printed ${JSON.stringify(line)} instead of where it listens`);
    });
  }).finally(() => clearTimeout(timer));

  return {
    process: child,
    url,
    log: () => log,
    // The status that it ends with, which has to come in time.
    ended: (withinMs) =>
      Promise.race([
        exit,
        new Promise((_, reject) => {
          setTimeout(() => reject(new Error(`the server runs on after ${withinMs} ms`)), withinMs).unref();
        }),
      ]),
  };
}

// Serves one page on an origin of its own.
export async function servePage(html) {
  const server = http.createServer((_, response) => {
    response.writeHead(200, { "content-type": "text/html; charset=utf-8" }).end(html);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    url: `http://127.0.0.1:${server.address().port}/`,
    close: () => {
      server.closeAllConnections();
      server.close();
    },
  };
}
