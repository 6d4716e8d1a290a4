"""What the suites that drive our programs from outside have in common."""

import os
import pathlib
import queue
import shutil
import subprocess
import sys
import threading

ROOT = pathlib.Path(__file__).resolve().parents[1]
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target")
RELEASE = TARGET / "release"
EXE = ".exe" if os.name == "nt" else ""

START_SECONDS = 15
STOP_SECONDS = 15


def fail(message):
    print(f"{pathlib.Path(sys.argv[0]).parent.name}: {message}", file=sys.stderr)
    sys.exit(1)


def environment(name, *requirements):
    """The folder of the programs in a virtual environment that has `requirements`; it is made when it is not there."""
    cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache")
    folder = cache / "tower-websocket" / name
    programs = folder / ("Scripts" if os.name == "nt" else "bin")
    complete = folder / "complete"
    if complete.exists():
        return programs
    # What an interrupted installation left.
    shutil.rmtree(folder, ignore_errors=True)
    try:
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        pip = [programs / "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, *requirements], check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        shutil.rmtree(folder, ignore_errors=True)
        fail(f"{' '.join(requirements)} cannot be installed: {error}")
    complete.touch()
    return programs


class Process:
    """A program of which the first lines on its standard output tell where it listens."""

    def __init__(self, command, log, last=lambda line: True):
        """Waits for the first line for which `last` holds; `lines` has all up to it."""
        self.name = pathlib.Path(command[0]).name
        self.log = log
        with log.open("w") as errors:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        self.output = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()
        self.lines = []
        while not self.lines or not last(self.lines[-1]):
            try:
                line = self.output.get(timeout=START_SECONDS)
            except queue.Empty:
                line = None
            if line is None:
                self.stop()
                fail(f"{self.name} did not say where it listens, but {self.lines}, see {log}")
            self.lines.append(line)

    def _read(self):
        for line in self.process.stdout:
            self.output.put(line.rstrip("\n"))
        self.output.put(None)

    def rest(self, seconds):
        """What it prints until it ends by itself, and its exit status; None if it does not end in time."""
        try:
            status = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            status = None
        lines = []
        while status is not None and (line := self.output.get()) is not None:
            lines.append(line)
        return lines, status

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    def stop(self):
        """Asks it to end, and returns what was wrong with it."""
        ended = self.process.poll()
        if ended is not None:
            return [f"{self.name} ended with {ended} before it was asked to, see {self.log}"]
        faults = []
        self.process.terminate()
        try:
            status = self.process.wait(STOP_SECONDS)
            if status != 0:
                faults.append(f"{self.name} ended with {status}, see {self.log}")
        except subprocess.TimeoutExpired:
            faults.append(f"{self.name} did not end within {STOP_SECONDS} s of being asked to")
            self.kill()
        return faults + panics(self.name, self.log)


def panics(name, log):
    return [f"{name} panicked, see {log}"] if "panicked at" in log.read_text(errors="replace") else []


class EchoServer(Process):
    """Our echo server."""

    def __init__(self, binary, log, *options):
        if not binary.exists():
            fail(f"no {binary}: cargo build --release -p tests --bin echo-server")
        super().__init__([binary, "--port", "0", *options], log)
        self.port = self.lines[0].rpartition(":")[2]
        if not self.port.isdigit():
            self.stop()
            fail(f"{binary} did not say where it listens, but {self.lines}, see {log}")
        self.url = f"ws://127.0.0.1:{self.port}/"
