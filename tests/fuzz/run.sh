#!/usr/bin/env bash
# Fuzzes: tests/fuzz/run.sh [SECONDS] [TARGET...]
#
# Each target for SECONDS, 60 by default; all targets by default. Ends at the first fault and says where the
# input is that shows it. Begins with the inputs in corpus/, which are written by hand, and in found.tar.gz, which
# earlier runs found. What it finds itself is kept beside the build, where the next run goes on from; remove
# that folder to begin anew.
#
# Needs rustup's stable Rust and a C++ compiler. cargo-fuzz is installed when it is missing. The sanitizer is
# an unstable option of the compiler, which RUSTC_BOOTSTRAP lets a stable one have.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

seconds=60
if [[ ${1:-} =~ ^[0-9]+$ ]]; then
    seconds=$1
    shift
fi
targets=("$@")
if [ ${#targets[@]} = 0 ]; then
    for file in tests/fuzz/fuzz_targets/*.rs; do
        targets+=("$(basename "$file" .rs)")
    done
fi

command -v cargo-fuzz >/dev/null || cargo install --locked cargo-fuzz
export RUSTC_BOOTSTRAP=1
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target}/fuzz
log=$(mktemp)
trap 'rm -f "$log"' EXIT

if [ ! -e "$CARGO_TARGET_DIR/corpus" ]; then
    mkdir -p "$CARGO_TARGET_DIR/corpus"
    tar -xzf tests/fuzz/found.tar.gz -C "$CARGO_TARGET_DIR/corpus"
fi
cargo fuzz build --fuzz-dir tests/fuzz
printf '%-20s %12s %10s %10s %10s\n' target executions per-second edges corpus
for target in "${targets[@]}"; do
    found=$CARGO_TARGET_DIR/corpus/$target
    faults=$CARGO_TARGET_DIR/faults/$target
    mkdir -p "$found" "$faults"
    # The first folder is the one that is written to.
    if ! cargo fuzz run --fuzz-dir tests/fuzz "$target" "$found" "tests/fuzz/corpus/$target" -- \
        -max_total_time="$seconds" -timeout=10 -rss_limit_mb=1024 -max_len=8192 -print_final_stats=1 \
        -artifact_prefix="$faults/" >"$log" 2>&1; then
        cat "$log" >&2
        exit 1
    fi
    executions=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    each_second=$(sed -n 's/^stat::average_exec_per_sec: *//p' "$log")
    last=$(grep -E '^#[0-9]+.* cov: ' "$log" | tail -n 1)
    edges=$(sed -nE 's/.* cov: ([0-9]+) .*/\1/p' <<<"$last")
    corpus=$(sed -nE 's/.* corp: ([0-9]+)\/.*/\1/p' <<<"$last")
    printf '%-20s %12s %10s %10s %10s\n' "$target" "$executions" "$each_second" "$edges" "$corpus"
done
