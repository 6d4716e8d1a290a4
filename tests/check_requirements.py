#!/usr/bin/env python3
"""Compares REQUIREMENTS.md with the tests that cite its IDs.

Fails when a row marked `tested` is cited by no test, when a comment cites an ID that has no row, when a row is
malformed, and when a test is ignored: a promise that is not run is not kept. `--uncited` only lists the rows that no
test cites.

A test cites an ID by naming it in a comment. Comments count in files that hold nothing but tests, and in other Rust
files inside a module under `#[cfg(test)]`, which stands at the end of its file.
"""

import argparse
import pathlib
import re
import sys

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent

ID = re.compile(r"(?<![\w-])[A-Z]-\d\d(?![\w-])")
ROW = re.compile(r"^\|\s*(?P<id>[A-Z]-\d\d)\s*\|(?P<cells>.*)\|\s*$")
STATUSES = ("tested", "planned")

# `#[cfg(test)] mod name;` and `#[cfg(all(test, ...))] mod name {`, other attributes allowed between.
TEST_MODULE = re.compile(
    r"^[ \t]*#\[cfg\((?:test|all\([^\]]*\btest\b[^\]]*\))\)\]\s*(?:#\[[^\]]*\]\s*)*(?:pub(?:\([^)]*\))?\s+)?"
    r"mod\s+(?P<name>\w+)\s*(?P<open>[;{])",
    re.MULTILINE,
)
IGNORED = re.compile(r"^\s*#\[(?:ignore\b|cfg_attr\([^\]]*\bignore\b)")

RUST_GLOBS = ("crates/*/src/**/*.rs", "crates/*/tests/**/*.rs", "tests/src/**/*.rs", "tests/tests/**/*.rs")
SCRIPT_GLOBS = (
    "tests/browser/**/*.mjs",
    "tests/browser/**/*.js",
    "tests/autobahn/**/*.py",
)


def files(globs):
    for pattern in globs:
        for path in sorted(ROOT.glob(pattern)):
            if path.is_file() and "node_modules" not in path.parts:
                yield path


def requirements(problems):
    """The rows of REQUIREMENTS.md: ID -> status."""
    rows = {}
    for number, line in enumerate((HERE / "REQUIREMENTS.md").read_text().splitlines(), 1):
        match = ROW.match(line)
        if not match:
            if re.match(r"^\|\s*[A-Z]-", line):
                problems.append(f"REQUIREMENTS.md:{number}: not a row of four cells")
            continue
        cells = [cell.strip() for cell in match["cells"].split("|")]
        if len(cells) != 3 or not all(cells) or cells[2] not in STATUSES:
            problems.append(f"REQUIREMENTS.md:{number}: {match['id']} needs rule, source, and `tested` or `planned`")
        elif match["id"] in rows:
            problems.append(f"REQUIREMENTS.md:{number}: {match['id']} is there twice")
        else:
            rows[match["id"]] = cells[2]
    return rows


def test_files():
    """Rust files that are test modules because the module that declares them says so."""
    found = set()
    for path in files(RUST_GLOBS):
        base = path.parent if path.stem in ("mod", "lib", "main") else path.parent / path.stem
        for match in TEST_MODULE.finditer(path.read_text()):
            if match["open"] == ";":
                found.add(base / f"{match['name']}.rs")
                folder = base / match["name"]
                found.update(folder.glob("**/*.rs"))
    return found


def first_test_line(path, text, whole):
    """The number of the first line that belongs to tests; None when there is none."""
    relative = path.relative_to(ROOT).parts
    if whole or (relative[0] == "crates" and relative[2] == "tests") or relative[:2] == ("tests", "tests"):
        return 1
    for match in TEST_MODULE.finditer(text):
        if match["open"] == "{":
            return text.count("\n", 0, match.start()) + 1
    return None


def comment(line, marker):
    at = line.find(marker)
    return line[at:] if at >= 0 else ""


def citations(rows, problems):
    """Where tests cite: ID -> places. Unknown IDs and ignored tests are added to the problems."""
    cited = {}
    whole = test_files()
    for path in files(RUST_GLOBS + SCRIPT_GLOBS):
        text = path.read_text()
        rust = path.suffix == ".rs"
        first = first_test_line(path, text, path in whole) if rust else 1
        marker = "#" if path.suffix == ".py" else "//"
        for number, line in enumerate(text.splitlines(), 1):
            place = f"{path.relative_to(ROOT)}:{number}"
            if rust and IGNORED.match(line):
                problems.append(f"{place}: an ignored test")
            for cited_id in ID.findall(comment(line, marker)):
                if cited_id not in rows:
                    problems.append(f"{place}: {cited_id} is not in REQUIREMENTS.md")
                elif first is not None and number >= first:
                    cited.setdefault(cited_id, []).append(place)
    return cited


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--uncited", action="store_true", help="only list the rows that no test cites, and end well")
    arguments = parser.parse_args()

    problems = []
    rows = requirements(problems)
    cited = citations(rows, problems)
    if arguments.uncited:
        for row in rows:
            if row not in cited:
                print(row, rows[row])
        return 0

    if not rows:
        problems.append("REQUIREMENTS.md: no rows")
    tested = [row for row in rows if rows[row] == "tested"]
    missing = [row for row in tested if row not in cited]
    for row in missing:
        problems.append(f"{row} is marked as tested and no test cites it")
    for problem in problems:
        print(problem)
    early = [row for row in rows if rows[row] == "planned" and row in cited]
    if early:
        print(f"planned, and cited by tests already: {', '.join(early)}")
    print(f"{len(rows)} requirements, {len(tested)} of them tested")
    print(f"{len(tested) - len(missing)} passed, {len(problems)} failed")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
