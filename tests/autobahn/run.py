#!/usr/bin/env python3
"""Runs the Autobahn test suite against the echo server and insists on the best possible result.

    cargo build --release -p tests --bin echo-server
    tests/autobahn/run.py

Sections 1 to 10, once for a handler of the connection and once for a handler of each message. The runner is kosoku,
which has Autobahn's cases; it is installed into a virtual environment in the user's cache folder. The reports stay in
`target/autobahn`.

Every one of the 301 cases has to be OK, its closing handshake too. Three cases can only be INFORMATIONAL, because
they ask what the server makes of a thing that the standard leaves to it.
"""

import argparse
import collections
import json
import os
import pathlib
import queue
import shutil
import subprocess
import sys
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]

KOSOKU = "0.1.0"
# Compression is measured when there is any.
EXCLUDED = ("12.*", "13.*")
CASES = 301
INFORMATIONAL = 3
HANDLERS = ("connection", "message")
# Section 9 sends messages of up to 16 MiB.
MAX_MESSAGE = 16 * 1024 * 1024
START_SECONDS = 10
STOP_SECONDS = 15
RUN_SECONDS = 300

# What the sections keep, by requirement:
#  1 framing              F-01, F-02, F-08, R-07
#  2 pings and pongs      K-01, K-02, K-05
#  3 reserved bits        F-06
#  4 reserved opcodes     F-06
#  5 fragmentation        G-01, G-02, G-03
#  6 UTF-8                U-01, U-02, U-03, U-04
#  7 closing              L-01, L-02, L-04, L-06, L-14, U-06
#  9 long messages        F-02, G-01, R-04
# 10 frames of a message  G-01


def fail(message):
    print(f"autobahn: {message}", file=sys.stderr)
    sys.exit(1)


def kosoku():
    """The path of the runner, which is installed when it is not there."""
    cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache")
    folder = cache / "tower-websocket" / f"kosoku-{KOSOKU}"
    binary = folder / "bin" / "kosoku"
    if binary.exists():
        return binary
    # What an interrupted installation left.
    shutil.rmtree(folder, ignore_errors=True)
    try:
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        pip = [folder / "bin" / "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, f"kosoku=={KOSOKU}"], check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        shutil.rmtree(folder, ignore_errors=True)
        fail(f"kosoku cannot be installed: {error}")
    return binary


class Server:
    """The echo server while it runs; it tells its port with the first line that it prints."""

    def __init__(self, binary, handler, log):
        self.log = log
        with log.open("w") as errors:
            self.process = subprocess.Popen(
                [binary, "--port", "0", "--max-message", str(MAX_MESSAGE), "--handler", handler],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        lines = queue.Queue()
        threading.Thread(target=lambda: lines.put(self.process.stdout.readline()), daemon=True).start()
        try:
            line = lines.get(timeout=START_SECONDS)
        except queue.Empty:
            line = ""
        self.port = line.split()[-1].rpartition(":")[2] if line.split() else ""
        if not self.port.isdigit():
            self.stop()
            fail(f"{binary} did not say where it listens, but {line!r}, see {log}")

    def stop(self):
        """Asks the server to end, and returns what was wrong with it."""
        ended = self.process.poll()
        if ended is not None:
            return [f"the server ended with {ended} before it was asked to, see {self.log}"]
        faults = []
        self.process.terminate()
        try:
            status = self.process.wait(STOP_SECONDS)
            if status != 0:
                faults.append(f"the server ended with {status}, see {self.log}")
        except subprocess.TimeoutExpired:
            faults.append(f"the server did not end within {STOP_SECONDS} s of being asked to")
            self.process.kill()
            self.process.wait()
        if "panicked at" in self.log.read_text(errors="replace"):
            faults.append(f"the server panicked, see {self.log}")
        return faults


def run_cases(runner, port, report):
    """Runs the cases and returns their results by name."""
    command = [runner, "-m", "fuzzingclient", "-o", report]
    for cases in EXCLUDED:
        command += ["-x", cases]
    command.append(f"ws://127.0.0.1:{port}/")
    log = report / "runner.log"
    with log.open("w") as output:
        try:
            subprocess.run(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, timeout=RUN_SECONDS)
        except subprocess.TimeoutExpired:
            print(f"autobahn: gave up after {RUN_SECONDS} s, see {log}")
    index = report / "index.json"
    if not index.exists():
        print(f"autobahn: no report, see {log}")
        return {}
    results = {}
    for cases in json.loads(index.read_text()).values():
        results.update(cases)
    return results


def by_number(case):
    return [int(part) for part in case.split(".")]


def judge(handler, results):
    """Prints what is not as it should be, and returns the numbers of passed and failed cases."""
    failed = 0
    informational = 0
    sections = collections.defaultdict(collections.Counter)
    for case in sorted(results, key=by_number):
        behavior, close = results[case]["behavior"], results[case]["behaviorClose"]
        sections[case.split(".")[0]][behavior] += 1
        informational += behavior == "INFORMATIONAL"
        if behavior not in ("OK", "INFORMATIONAL") or close not in ("OK", "INFORMATIONAL"):
            failed += 1
            print(f"{handler}: case {case}: {behavior}, closing handshake {close}")
    for section in sorted(sections, key=int):
        counts = ", ".join(f"{count} {behavior}" for behavior, count in sorted(sections[section].items()))
        print(f"{handler}: section {section:>2}: {counts}")
    if len(results) != CASES:
        failed += 1
        print(f"{handler}: {len(results)} cases instead of {CASES}")
    if informational != INFORMATIONAL:
        failed += 1
        print(f"{handler}: {informational} cases are INFORMATIONAL instead of {INFORMATIONAL}")
    return max(len(results) - failed, 0), failed


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target")
    suffix = ".exe" if os.name == "nt" else ""
    parser.add_argument("--server", type=pathlib.Path, default=target / "release" / f"echo-server{suffix}")
    parser.add_argument("--report", type=pathlib.Path, default=target / "autobahn", help="folder for the reports")
    parser.add_argument("--handler", choices=HANDLERS, help="only this one of the two")
    arguments = parser.parse_args()
    if not arguments.server.exists():
        fail(f"no {arguments.server}: cargo build --release -p tests --bin echo-server")

    runner = kosoku()
    passed = failed = 0
    for handler in [arguments.handler] if arguments.handler else HANDLERS:
        started = time.monotonic()
        report = arguments.report / handler
        shutil.rmtree(report, ignore_errors=True)
        report.mkdir(parents=True)
        server = Server(arguments.server, handler, report / "server.log")
        faults = []
        try:
            results = run_cases(runner, server.port, report)
        finally:
            faults += server.stop()
        good, bad = judge(handler, results)
        for fault in faults:
            print(f"{handler}: {fault}")
        passed, failed = passed + good, failed + bad + len(faults)
        print(f"{handler}: {time.monotonic() - started:.0f} s, {report / 'index.html'}")
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
