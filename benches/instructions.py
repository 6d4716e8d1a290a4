#!/usr/bin/env python3
"""Counts that repeat: user-space instructions and system calls per message, and per connection.

Each server runs under callgrind (or strace) twice, with N messages and with 2N; the difference is what N messages cost,
without start-up, handshake and end. Build first: cargo build --release -p benches

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

SERVERS = [
    "raw",
    "ours",
    "ours-per-message",
    "ours-axum",
    "axum-ws",
    "axum-ws-forward",
    "fastwebsockets",
    "tokio-websockets",
    "tokio-websockets-forward",
]

# Title, messages in the shorter run, arguments of `echo load`.
LOADS = {
    "16 B, p1": (2000, ["--size=16", "--depth=1"]),
    "16 B, p32": (16000, ["--size=16", "--depth=32"]),
    "1 KiB, p1": (2000, ["--size=1024", "--depth=1"]),
    "1 KiB, p32": (8000, ["--size=1024", "--depth=32"]),
    "UTF-8 1 KiB, p1": (2000, ["--size=1024", "--depth=1", "--content=utf8"]),
    "64 KiB, p1": (500, ["--size=65536", "--depth=1"]),
    "handshake": (300, None),
}

# Of a server that hangs nobody waits for the end.
PATIENCE = 120


def target_dir():
    root = Path(__file__).resolve().parent.parent
    return Path(os.environ.get("CARGO_TARGET_DIR", root / "target"))


def run(tool, server, load, count):
    """Runs a server below `tool` while `count` messages are echoed, or connections made."""
    echo = str(target_dir() / "release" / "echo")
    with subprocess.Popen(
        [*tool, echo, "serve", server], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        try:
            addr = process.stdout.readline().decode().strip()
            if not addr:
                sys.exit(f"{server} does not start; is it built?")
            if load is None:
                client = [echo, "handshakes", addr, f"--count={count}"]
            else:
                client = [echo, "load", addr, f"--messages={count}", *load]
            subprocess.run(client, check=True, timeout=PATIENCE)
            process.stdin.close()
            process.wait(PATIENCE)
        finally:
            process.kill()


def instructions(server, load, count, out):
    tool = ["valgrind", "--tool=callgrind", "--quiet", f"--callgrind-out-file={out}"]
    run(tool, server, load, count)
    match = re.search(r"^(?:summary|totals): (\d+)", Path(out).read_text(), re.MULTILINE)
    return int(match[1])


def system_calls(server, load, count, out):
    run(["strace", "--follow-forks", "--summary-only", "--output", out], server, load, count)
    total = next(line for line in Path(out).read_text().splitlines() if line.endswith(" total"))
    # Time, seconds, microseconds per call, calls, perhaps errors, "total".
    return int(total.split()[3])


def table(measure, servers, loads, digits, out):
    width = max(map(len, servers))
    print(f"{'':{width}}", *(f"{title:>16}" for title in loads))
    for server in servers:
        print(f"{server:{width}}", end="", flush=True)
        for title in loads:
            count, load = LOADS[title]
            each = (measure(server, load, 2 * count, out) - measure(server, load, count, out)) / count
            print(f" {each:16.{digits}f}", end="", flush=True)
        print()


def shorten(line):
    """Without the paths of sources and objects."""
    return re.sub(r" \[[^]]*\]$", "", re.sub(r"\S*/(?=[\w.-]+:)", "", line))[:170]


def annotate(server, loads, out):
    for title in loads:
        count, load = LOADS[title]
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
    parser.add_argument("--servers", nargs="+", choices=SERVERS, default=SERVERS)
    parser.add_argument("--loads", nargs="+", choices=LOADS, default=list(LOADS))
    parser.add_argument("--only", choices=["instructions", "calls"])
    parser.add_argument("--annotate", metavar="SERVER", choices=SERVERS)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        out = os.path.join(folder, "out")
        if args.annotate:
            return annotate(args.annotate, args.loads, out)
        if args.only != "calls":
            print("user-space instructions per message, or per connection")
            table(instructions, args.servers, args.loads, 0, out)
        if args.only != "instructions":
            print("\nsystem calls per message, or per connection")
            table(system_calls, args.servers, args.loads, 2, out)


if __name__ == "__main__":
    main()
