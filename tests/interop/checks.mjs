// What is sent to and fro, and which promises held.

import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";

const CHECK_MS = 30_000;
export const LARGE = 3 << 20;

let passed = 0;
let failed = 0;

// Awaits `body()`, within a bounded time.
export async function check(promise, body) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`took longer than ${CHECK_MS} ms`)), CHECK_MS);
  });
  try {
    await Promise.race([body(), late]);
    passed += 1;
    console.log(`ok      ${promise}`);
  } catch (error) {
    failed += 1;
    console.log(`FAILED  ${promise}\n        ${String(error?.stack ?? error).replaceAll("\n", "\n        ")}`);
  } finally {
    clearTimeout(timer);
  }
}

// Prints the results; the status to exit with, 0 only if as many as `expected` passed.
export function finish(expected = 1) {
  console.log(`${passed} passed, ${failed} failed`);
  return failed === 0 && passed >= expected ? 0 : 1;
}

// Of both kinds, around every length form, with much and with nothing to compress.
export function* messages() {
  for (const size of [0, 1, 125, 126, 1023, 1024, 4096, 65_535, 65_536, 200_000, LARGE]) {
    yield "ä".repeat(size >> 1) + "x".repeat(size & 1);
    yield randomBytes(size);
    yield Buffer.alloc(size);
  }
  // Alike, so that context takeover has something to refer to.
  for (let number = 0; number < 20; number += 1) {
    yield JSON.stringify({ number, text: "the same again and again, ".repeat(60) });
  }
}

export const sameText = (got, sent) => assert.ok(got === sent, `${got.length} characters for ${sent.length}`);
