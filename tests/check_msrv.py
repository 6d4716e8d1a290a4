#!/usr/bin/env python3
"""Checks the oldest Rust that the published crates promise against what their dependencies ask for.

Every package in the tree of normal and build dependencies of a published crate, all features on and on every
platform, must declare no `rust-version` above that of the crate. Dependencies of tests, examples and benchmarks may
ask for more. That the crates' own code keeps to the promise is clippy's `incompatible_msrv` and the build with that
very version in the workflow.
"""

import collections
import json
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]


def version(text):
    """`1.88` and `1.88.0` as numbers that compare."""
    parts = [int(part) for part in text.split("-")[0].split(".")]
    return tuple(parts + [0] * (3 - len(parts)))


def tree(root, nodes):
    """The IDs of the packages that are built for `root`, itself included, with the path that leads to each."""
    paths = {root: []}
    waiting = collections.deque([root])
    while waiting:
        current = waiting.popleft()
        for dependency in nodes[current]["deps"]:
            kinds = {kind["kind"] for kind in dependency["dep_kinds"]}
            if kinds != {"dev"} and dependency["pkg"] not in paths:
                paths[dependency["pkg"]] = [*paths[current], dependency["name"]]
                waiting.append(dependency["pkg"])
    return paths


def main():
    command = ["cargo", "metadata", "--format-version", "1", "--all-features", "--locked"]
    metadata = json.loads(subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout)
    packages = {package["id"]: package for package in metadata["packages"]}
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    published = [packages[member] for member in metadata["workspace_members"] if packages[member]["publish"] != []]

    passed = failed = 0
    for crate in published:
        if not crate["rust_version"]:
            failed += 1
            print(f"{crate['name']} declares no rust-version")
            continue
        for dependency, path in tree(crate["id"], nodes).items():
            package = packages[dependency]
            asked = package["rust_version"]
            if asked and version(asked) > version(crate["rust_version"]):
                failed += 1
                print(
                    f"{crate['name']} promises Rust {crate['rust_version']}, but {package['name']} "
                    f"{package['version']} asks for {asked} ({' > '.join(path)})"
                )
            else:
                passed += 1
    if not published:
        failed += 1
        print("no published crate was found")
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
