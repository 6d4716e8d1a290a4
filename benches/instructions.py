#!/usr/bin/env python3
"""Counts that repeat: user-space instructions and system calls per message, and per connection.

Each server runs under callgrind (or strace) twice, with N messages and with 3 N; the difference is what 2 N messages
cost, without start-up, handshakes and end. 64 connections take turns. The script builds what it measures: fat LTO, one
codegen unit.

    benches/instructions.py                       # everything, some minutes
    benches/instructions.py --servers raw ours    # only these
    benches/instructions.py --annotate ours       # and where the instructions of `ours` go
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

SERVERS = [
    "raw",
    "ours",
    "ours-per-message",
    "ours-axum",
    "ours-split",
    "ours-moved",
    "axum-ws",
    "axum-ws-forward",
    "fastwebsockets",
    "tokio-websockets",
    "tokio-websockets-forward",
]

# Our own client, measured against the server `raw`.
CLIENT = "client"

# The server that compresses, for the loads that are compressed.
DEFLATE = "ours-deflate"

# Title, messages in the shorter run, arguments of `echo load`.
LOADS = {
    "16 B p1": (4096, ["--size=16", "--depth=1"]),
    "16 B p32": (32768, ["--size=16", "--depth=32"]),
    "1 KiB p1": (4096, ["--size=1024", "--depth=1"]),
    "1 KiB p32": (16384, ["--size=1024", "--depth=32"]),
    "UTF-8 1 KiB p1": (4096, ["--size=1024", "--depth=1", "--content=utf8"]),
    "64 KiB p1": (512, ["--size=65536", "--depth=1", "--connections=8"]),
    "handshake": (1000, None),
}

COMPRESSED = {"deflate 1 KiB p1": (1024, ["--size=1024", "--depth=1", "--content=deflate"])}

# Callgrind counts an instruction with a `rep` prefix once for each byte that it moves. With these the C library copies
# and clears as other code does, 32 bytes at a time.
NO_REP = ":".join(f"glibc.cpu.x86_rep_{name}_threshold={1 << 30}" for name in ("movsb", "stosb"))

CALLGRIND = ["env", f"GLIBC_TUNABLES={NO_REP}", "valgrind", "--tool=callgrind", "--quiet"]

# Nobody waits longer for a server that hangs.
PATIENCE = 120


def build():
    subprocess.run(
        ["cargo", "build", "--locked", "--profile", "measure", "-p", "benches", "--bin", "echo"], cwd=ROOT, check=True
    )


def echo():
    return str(Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "measure" / "echo")


class Serving:
    """A server, with its address, which ends with the block."""

    def __init__(self, tool, server):
        self.server = server
        self.process = subprocess.Popen(
            [*tool, echo(), "serve", server], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )

    def __enter__(self):
        self.addr = self.process.stdout.readline().decode().strip()
        if not self.addr:
            self.process.kill()
            sys.exit(f"{self.server} does not start")
        return self

    def __exit__(self, *_):
        try:
            self.process.stdin.close()
            self.process.wait(PATIENCE)
        finally:
            self.process.kill()
            self.process.stdout.close()


def run(tool, server, load, count):
    """Runs a server, or our client, below `tool` while `count` messages are echoed, or connections made."""
    if server == CLIENT:
        with Serving([], "raw") as serving:
            client = [*tool, echo(), "client", serving.addr, f"--messages={count}", *load]
            subprocess.run(client, check=True, timeout=PATIENCE)
        return
    with Serving(tool, server) as serving:
        if load is None:
            client = [echo(), "handshakes", serving.addr, f"--count={count}"]
        else:
            client = [echo(), "load", serving.addr, f"--messages={count}", *load]
        subprocess.run(client, check=True, timeout=PATIENCE)


def instructions(server, load, count, out):
    run([*CALLGRIND, f"--callgrind-out-file={out}"], server, load, count)
    match = re.search(r"^(?:summary|totals): (\d+)", Path(out).read_text(), re.MULTILINE)
    return int(match[1])


def system_calls(server, load, count, out):
    run(["strace", "--follow-forks", "--summary-only", "--output", out], server, load, count)
    total = next(line for line in Path(out).read_text().splitlines() if line.endswith(" total"))
    # Time, seconds, microseconds per call, calls, perhaps errors, "total".
    return int(total.split()[3])


def per_message(measure, server, load, count, out):
    return (measure(server, load, 3 * count, out) - measure(server, load, count, out)) / (2 * count)


def table(measure, servers, loads, digits, out):
    width = max(map(len, servers))
    print(f"{'':{width}}", *(f"{title:>16}" for title in loads))
    for server in servers:
        print(f"{server:{width}}", end="", flush=True)
        for title, (count, load) in loads.items():
            if load is None and server == CLIENT:
                continue
            each = per_message(measure, server, load, count, out)
            print(f" {each:16,.{digits}f}", end="", flush=True)
        print()


def shorten(line):
    """Without the paths of sources and objects."""
    return re.sub(r" \[[^]]*\]$", "", re.sub(r"\S*/(?=[\w.-]+:)", "", line))[:170]


def annotate(server, loads, out):
    for title, (count, load) in loads.items():
        instructions(server, load, count * 5, out)
        report = subprocess.run(
            ["callgrind_annotate", "--show-percs=yes", "--threshold=95", out], capture_output=True, text=True, check=True
        )
        print(f"\n{server}, {title}: {count * 5} times")
        lines = report.stdout.splitlines()
        start = next(i for i, line in enumerate(lines) if "file:function" in line)
        print("\n".join(shorten(line) for line in lines[start + 2 : start + 50]))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--servers", nargs="+", choices=[*SERVERS, CLIENT, DEFLATE], default=[*SERVERS, CLIENT, DEFLATE])
    parser.add_argument("--loads", nargs="+", choices=[*LOADS, *COMPRESSED])
    parser.add_argument("--only", choices=["instructions", "calls"])
    parser.add_argument("--annotate", metavar="SERVER", choices=[*SERVERS, CLIENT, DEFLATE])
    args = parser.parse_args()

    def chosen(loads):
        return {title: load for title, load in loads.items() if not args.loads or title in args.loads}

    servers = [server for server in args.servers if server != DEFLATE]
    build()
    with tempfile.TemporaryDirectory() as folder:
        out = os.path.join(folder, "out")
        if args.annotate:
            loads = COMPRESSED if args.annotate == DEFLATE else LOADS
            return annotate(args.annotate, chosen(loads), out)
        if args.only != "calls":
            if servers and chosen(LOADS):
                print("user-space instructions per message, or per connection")
                table(instructions, servers, chosen(LOADS), 0, out)
            if DEFLATE in args.servers and chosen(COMPRESSED):
                print("\nuser-space instructions per compressed message")
                table(instructions, [DEFLATE], chosen(COMPRESSED), 0, out)
        if args.only != "instructions" and servers and chosen(LOADS):
            print("\nsystem calls per message, or per connection")
            table(system_calls, servers, chosen(LOADS), 2, out)


if __name__ == "__main__":
    main()
