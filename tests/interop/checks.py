"""What is sent to and fro, and which promises held."""

import asyncio
import random
import sys
import traceback

CHECK_SECONDS = 30
LARGE = 3 << 20


def messages():
    """Of both kinds, around every length form, with much and with nothing to compress."""
    generator = random.Random(7)
    for size in (0, 1, 125, 126, 1023, 1024, 4096, 65_535, 65_536, 200_000, LARGE):
        yield "ä" * (size // 2) + "x" * (size % 2)
        yield generator.randbytes(size)
        yield bytes(size)
    # Alike, so that context takeover has something to refer to.
    for number in range(20):
        yield f'{{"number": {number}, "text": "{"the same again and again, " * 60}"}}'


class Checks:
    def __init__(self, prefix):
        self.prefix = prefix
        self.passed = 0
        self.failed = 0

    async def check(self, promise, body):
        """Awaits `body()`, within a bounded time."""
        try:
            await asyncio.wait_for(body(), CHECK_SECONDS)
        except Exception:
            self.failed += 1
            print(f"FAILED  {self.prefix}: {promise}")
            traceback.print_exc(file=sys.stdout)
        else:
            self.passed += 1
            print(f"ok      {self.prefix}: {promise}")

    def finish(self):
        print(f"{self.passed} passed, {self.failed} failed", flush=True)
        return 1 if self.failed or not self.passed else 0
