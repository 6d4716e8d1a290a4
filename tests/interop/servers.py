#!/usr/bin/env python3
"""Servers of Python's `websockets` for a client that is to be tried: servers.py

Prints `listening on URL: WHAT` for each of them, then a line `ready`. Each has the cases of an Autobahn fuzzing
server: the number of them at /getCaseCount, one at /runCase?case=N, and /updateReports at the end; the client echoes.
Any other path echoes. It ends with the results once every server was asked to update its reports.
"""

import asyncio
import sys
from urllib.parse import parse_qs, urlsplit

import websockets
from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory

from checks import LARGE, Checks, messages

WHOLE_SECONDS = 120

# What a server makes of an offer.
ANSWERS = {
    "no compression": None,
    "compression as it comes": {},
    "no context takeover of either side": {"server_no_context_takeover": True, "client_no_context_takeover": True},
    "windows of 9 bits": {"server_max_window_bits": 9, "client_max_window_bits": 9},
    "windows of 15 and 10 bits": {"server_max_window_bits": 15, "client_max_window_bits": 10},
}


async def echoes(socket):
    for message in messages():
        await socket.send(message)
        assert await socket.recv() == message


async def fragments(socket):
    await socket.send(["many ", "words ", "in " * 10_000, "", "pieces"])
    assert await socket.recv() == "many words " + "in " * 10_000 + "pieces"


async def pings(socket):
    for payload in (b"", b"x" * 125):
        await (await socket.ping(payload))


async def pipelined(socket):
    sent = [f"{number} " * 300 for number in range(300)]

    async def receive():
        return [await socket.recv() for _ in sent]

    received = asyncio.create_task(receive())
    for message in sent:
        await socket.send(message)
    assert await received == sent


async def close(socket):
    await socket.close(3456, "enough")
    assert socket.protocol.close_rcvd.code == 3456, socket.protocol.close_rcvd


CASES = {
    "echoes": echoes,
    "reassembles fragments": fragments,
    "answers pings": pings,
    "answers 300 messages at once in order": pipelined,
    "answers a close with its code": close,
}


class Peer:
    def __init__(self, name, parameters):
        self.name = name
        self.parameters = parameters
        self.checks = Checks(f"websockets as server, {name}")
        self.over = asyncio.Event()

    async def serve(self, socket):
        path = urlsplit(socket.request.path)
        if path.path == "/getCaseCount":
            await socket.send(str(len(CASES)))
        elif path.path == "/runCase":
            promise, case = list(CASES.items())[int(parse_qs(path.query)["case"][0]) - 1]
            await self.checks.check(promise, lambda: self.run(case, socket))
        elif path.path == "/updateReports":
            self.over.set()
        else:
            async for message in socket:
                await socket.send(message)

    async def run(self, case, socket):
        compressed = [extension.name for extension in socket.protocol.extensions]
        assert compressed == ([] if self.parameters is None else ["permessage-deflate"]), compressed
        await case(socket)

    async def start(self):
        extensions = [] if self.parameters is None else [ServerPerMessageDeflateFactory(**self.parameters)]
        server = await websockets.serve(
            self.serve, "127.0.0.1", 0, compression=None, extensions=extensions, max_size=2 * LARGE
        )
        port = server.sockets[0].getsockname()[1]
        print(f"listening on ws://127.0.0.1:{port}: {self.name}", flush=True)


async def main():
    peers = [Peer(name, parameters) for name, parameters in ANSWERS.items()]
    for peer in peers:
        await peer.start()
    print("ready", flush=True)
    failed = 0
    async with asyncio.timeout(WHOLE_SECONDS):
        for peer in peers:
            await peer.over.wait()
    for peer in peers:
        failed |= peer.checks.finish()
        failed |= peer.checks.passed != len(CASES)
    return failed


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
