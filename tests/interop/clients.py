#!/usr/bin/env python3
"""Python's WebSocket clients, `websockets` and `aiohttp`, against an echo server: clients.py URL [--deflate]

With --deflate the server grants compression, and every client has to have got it. Without, none may.
"""

import argparse
import asyncio
import sys

import aiohttp
import websockets
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory

from checks import LARGE, Checks, messages

# What a client asks for in its offer, and what it makes of the answer is its own business.
OFFERS = {
    "as it comes": {},
    "with no context takeover of either side": {"server_no_context_takeover": True, "client_no_context_takeover": True},
    "with windows of 9 bits": {"server_max_window_bits": 9, "client_max_window_bits": 9},
    "with windows of 12 and 10 bits": {"server_max_window_bits": 12, "client_max_window_bits": 10},
    "without client_max_window_bits": {"client_max_window_bits": None},
}


def compressed(connection):
    return [extension.name for extension in connection.protocol.extensions] == ["permessage-deflate"]


async def with_websockets(checks, url, deflate):
    def connect(**options):
        return websockets.connect(url, max_size=2 * LARGE, proxy=None, **options)

    async def echoes(**options):
        async with connect(**options) as socket:
            assert compressed(socket) == deflate, socket.protocol.extensions
            for message in messages():
                await socket.send(message)
                answer = await socket.recv()
                assert answer == message, (len(answer), len(message))

    for name, parameters in OFFERS.items() if deflate else ():
        factory = ClientPerMessageDeflateFactory(**parameters)
        await checks.check(f"echoes with compression {name}", lambda: echoes(compression=None, extensions=[factory]))
    await checks.check("echoes", echoes)

    async def fragments():
        async with connect() as socket:
            await socket.send(["many ", "words ", "in " * 10_000, "", "pieces"])
            assert await socket.recv() == "many words " + "in " * 10_000 + "pieces"
            await (await socket.ping(b"between"))

    await checks.check("reassembles fragments, and answers pings", fragments)

    async def pipelined():
        async with connect() as socket:
            sent = [f"{number} " * 300 for number in range(300)]
            receive = asyncio.create_task(collect(socket, len(sent)))
            for message in sent:
                await socket.send(message)
            assert await receive == sent

    async def collect(socket, count):
        return [await socket.recv() for _ in range(count)]

    await checks.check("answers 300 messages at once in order", pipelined)

    async def no_compression():
        async with connect(compression=None) as socket:
            assert not compressed(socket)
            await socket.send("x" * 5000)
            assert await socket.recv() == "x" * 5000

    await checks.check("serves a client that offers no compression", no_compression)

    async def too_big():
        async with connect() as socket:
            try:
                await socket.send(bytes(64 << 20))
                await socket.recv()
            except websockets.ConnectionClosed as closed:
                assert closed.rcvd is not None and closed.rcvd.code == 1009, closed
            else:
                raise AssertionError("64 MiB came back")

    await checks.check("closes with 1009 on what is too long, however small it is compressed", too_big)

    async def close():
        async with connect() as socket:
            await socket.close(3456, "enough")
            assert socket.protocol.close_rcvd.code == 3456, socket.protocol.close_rcvd

    await checks.check("answers a close with its code", close)


async def with_aiohttp(checks, url, deflate):
    async with aiohttp.ClientSession() as session:

        def connect(compress):
            return session.ws_connect(url, compress=compress, max_msg_size=2 * LARGE)

        async def echoes(compress):
            async with connect(compress) as socket:
                assert bool(socket.compress) == (deflate and compress > 0), socket.compress
                for message in messages():
                    if isinstance(message, str):
                        await socket.send_str(message)
                        assert await socket.receive_str() == message
                    else:
                        await socket.send_bytes(message)
                        assert await socket.receive_bytes() == message
                await socket.close(code=3000)
                assert socket.close_code == 3000, socket.close_code

        for compress in (0, 15, 9):
            await checks.check(f"echoes with compress={compress}", lambda: echoes(compress))


async def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("url")
    parser.add_argument("--deflate", action="store_true")
    arguments = parser.parse_args()
    kind = "compressed" if arguments.deflate else "plain"
    failed = 0
    for name, run in (("websockets", with_websockets), ("aiohttp", with_aiohttp)):
        checks = Checks(f"{name}, {kind}")
        await run(checks, arguments.url, arguments.deflate)
        failed |= checks.finish()
    return failed


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
