#!/usr/bin/env python3
"""Has the echo server and the echo client talk to other programs' clients and servers, with compression and without.

    cargo build --release -p tests --bin echo-server --bin echo-client
    cargo build --release -p examples --example client
    tests/interop/run.py

Clients: `websockets` and `aiohttp` of Python, `ws` and `undici` of Node. Servers: `websockets` and `ws`. The Python
packages are installed into a virtual environment in the user's cache folder, those of Node beside this file.
"""

import argparse
import hashlib
import os
import pathlib
import shutil
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from harness import EXE, RELEASE, TARGET, EchoServer, Process, environment, fail, panics

HERE = pathlib.Path(__file__).resolve().parent
# The messages of the scripts have up to 3 MiB.
MAX_MESSAGE = ["--max-message", str(8 << 20)]
RUN_SECONDS = 150
CLIENT_SECONDS = 60


def python():
    requirements = (HERE / "requirements.txt").read_text()
    name = f"interop-{hashlib.sha256(requirements.encode()).hexdigest()[:12]}"
    return environment(name, "-r", str(HERE / "requirements.txt")) / f"python{EXE}"


def install_node_packages():
    command = ["npm.cmd" if os.name == "nt" else "npm", "ci", "--no-audit", "--no-fund", "--loglevel=error"]
    subprocess.run(command, cwd=HERE, check=True)


class Outcome:
    def __init__(self):
        self.passed = 0
        self.failed = 0

    def take(self, name, lines, status):
        """Counts what a script printed, which ends with `N passed, N failed` once or more."""
        counts = [line.split() for line in lines if line.endswith(" failed")]
        passed = sum(int(words[0]) for words in counts)
        failed = sum(int(words[2]) for words in counts)
        for line in lines:
            print(line)
        if status != 0 and not failed or not counts:
            failed += 1
            print(f"FAILED  {name}: ended with {status}")
        self.passed += passed
        self.failed += failed

    def check(self, promise, fault):
        """Counts one promise, which is kept if there is no fault."""
        if fault:
            self.failed += 1
            print(f"FAILED  {promise}: {fault}")
        else:
            self.passed += 1
            print(f"ok      {promise}")


def try_clients(outcome, scripts, server, report):
    for options in ([], ["--deflate"]):
        name = "compressed" if options else "plain"
        extra = ["--deflate", "--context-takeover"] if options else []
        echo = EchoServer(server, report / f"server-{name}.log", *MAX_MESSAGE, *extra)
        try:
            for script in scripts["clients"]:
                try:
                    run = subprocess.run(
                        [*script, echo.url, *options], stdout=subprocess.PIPE, text=True, timeout=RUN_SECONDS
                    )
                    outcome.take(script[-1].name, run.stdout.splitlines(), run.returncode)
                except subprocess.TimeoutExpired as error:
                    outcome.check(script[-1].name, f"did not end within {error.timeout} s")
        finally:
            for fault in echo.stop():
                outcome.check(f"the server, {name}", fault)


def try_servers(outcome, scripts, echo_client, client, report):
    for script in scripts["servers"]:
        peer = Process(script, report / f"{script[-1].name}.log", last=lambda line: line == "ready")
        try:
            for line in peer.lines[:-1]:
                url, what = line.removeprefix("listening on ").split(": ", 1)
                log = report / f"client-{script[-1].name}.log"
                # The example is what a user would write, against a server that is not ours.
                run_client(outcome, f"the client example with {script[-1].name}, {what}", log,
                           [client, f"{url}/echo", "to and fro"], says="to and fro")
                # Last, because with it the server is done.
                run_client(outcome, f"echo-client with {script[-1].name}, {what}", log,
                           [echo_client, "--deflate", "--context-takeover", *MAX_MESSAGE, url])
            outcome.take(script[-1].name, *peer.rest(RUN_SECONDS))
        finally:
            peer.kill()


def run_client(outcome, promise, log, command, says=None):
    try:
        with log.open("w") as errors:
            run = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                timeout=CLIENT_SECONDS,
            )
    except subprocess.TimeoutExpired as error:
        return outcome.check(promise, f"did not end within {error.timeout} s")
    faults = panics("it", log)
    if run.returncode != 0:
        faults.append(f"ended with {run.returncode}: {log.read_text(errors='replace')}")
    if says is not None and run.stdout.strip() != says:
        faults.append(f"printed {run.stdout!r}")
    outcome.check(promise, "; ".join(faults))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--server", type=pathlib.Path, default=RELEASE / f"echo-server{EXE}")
    parser.add_argument("--echo-client", type=pathlib.Path, default=RELEASE / f"echo-client{EXE}")
    parser.add_argument("--client", type=pathlib.Path, default=RELEASE / "examples" / f"client{EXE}")
    parser.add_argument("--report", type=pathlib.Path, default=TARGET / "interop", help="folder for the logs")
    parser.add_argument("--only", choices=("clients", "servers"), help="only other programs' clients, or servers")
    arguments = parser.parse_args()
    for binary in (arguments.server, arguments.echo_client, arguments.client):
        if not binary.exists():
            fail(f"no {binary}: see --help")

    interpreter = python()
    install_node_packages()
    scripts = {
        kind: [[interpreter, HERE / f"{kind}.py"], ["node", HERE / f"{kind}.mjs"]] for kind in ("clients", "servers")
    }
    shutil.rmtree(arguments.report, ignore_errors=True)
    arguments.report.mkdir(parents=True)
    outcome = Outcome()
    started = time.monotonic()
    if arguments.only != "servers":
        try_clients(outcome, scripts, arguments.server, arguments.report)
    if arguments.only != "clients":
        try_servers(outcome, scripts, arguments.echo_client, arguments.client, arguments.report)
    print(f"{time.monotonic() - started:.0f} s, logs in {arguments.report}")
    print(f"{outcome.passed} passed, {outcome.failed} failed")
    return 1 if outcome.failed or not outcome.passed else 0


if __name__ == "__main__":
    sys.exit(main())
