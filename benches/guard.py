#!/usr/bin/env python3
"""Fails when an echo costs more instructions than was recorded.

It compares ratios: what a message costs `ours`, over what it costs `raw`, which no change of the library touches. Both
are built and measured in the same run, so that a recorded ratio holds on another machine. A ratio that is 5 % above the
recorded one is a failure. It needs valgrind.

    benches/guard.py              # compare
    benches/guard.py --record     # keep what is measured, in benches/recorded.json
"""

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

from instructions import LOADS, build, instructions, per_message

RECORDED = Path(__file__).resolve().parent / "recorded.json"
SERVERS = ["ours", "ours-per-message"]
PATHS = ["16 B p1", "16 B p32", "1 KiB p1", "UTF-8 1 KiB p1"]
TOLERANCE = 0.05


def least(*args):
    """What `raw` costs depends on how often it finds nothing to do; the least is what repeats."""
    return min(instructions(*args) for _ in range(3))


def measure(server, out, count_instructions=instructions):
    figures = {}
    for title in PATHS:
        count, load = LOADS[title]
        figures[title] = per_message(count_instructions, server, load, count, out)
    return figures


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--record", action="store_true", help="write what is measured to recorded.json")
    args = parser.parse_args()
    build()
    with tempfile.TemporaryDirectory() as folder:
        out = os.path.join(folder, "out")
        raw = measure("raw", out, least)
        figures = {server: measure(server, out) for server in SERVERS}
    ratios = {
        server: {title: round(figures[server][title] / raw[title], 3) for title in PATHS} for server in SERVERS
    }
    recorded = ratios if args.record else json.loads(RECORDED.read_text())

    worse, better = [], []
    print(f"{'':34} {'instructions':>12} {'of raw':>8} {'recorded':>8} {'change':>8}")
    for server in SERVERS:
        for title in PATHS:
            ratio, was = ratios[server][title], recorded[server][title]
            change = ratio / was - 1
            print(f"{server:18} {title:15} {figures[server][title]:12,.0f} {ratio:8.3f} {was:8.3f} {change:+8.1%}")
            if change > TOLERANCE:
                worse.append(f"{server}, {title}")
            elif change < -TOLERANCE:
                better.append(f"{server}, {title}")
    if args.record:
        RECORDED.write_text(json.dumps(ratios, indent=4) + "\n")
        return print(f"recorded in {RECORDED.name}")
    if better:
        print(f"fewer than recorded; keep it with benches/guard.py --record: {'; '.join(better)}")
    if worse:
        sys.exit(
            f"more instructions than recorded: {'; '.join(worse)}\n"
            "Find them with benches/instructions.py --annotate ours. If they are worth it, run\n"
            "benches/guard.py --record and say in the commit what they are for."
        )


if __name__ == "__main__":
    main()
