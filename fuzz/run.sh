#!/bin/sh
# Runs every fuzz target for a number of seconds: fuzz/run.sh [SECONDS], 10 if not given.
#
# Exit status: 0 nothing was found, or there is no nightly toolchain to look with; else non-zero.
# It builds as cargo-fuzz does, which then need not be installed; `cargo fuzz run TARGET` works too.
set -eu

seconds=${1:-10}
cd "$(dirname "$0")"

if ! rustup toolchain list 2>/dev/null | grep -q '^nightly'; then
    echo "fuzz: SKIPPED: no nightly toolchain (rustup toolchain install nightly)"
    exit 0
fi
if ! command -v c++ >/dev/null; then
    echo "fuzz: SKIPPED: no C++ compiler to build libFuzzer with (apt-get install g++)"
    exit 0
fi

target_dir=${CARGO_TARGET_DIR:-$PWD/target}
host=$(rustc +nightly --version --verbose | sed -n 's/^host: //p')

# Coverage counters and compare hooks for libFuzzer, address sanitizer, debug assertions.
# With --target they are for the code under test only, not for build scripts.
RUSTFLAGS="--cfg fuzzing -Cpasses=sancov-module \
-Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
-Cllvm-args=-sanitizer-coverage-pc-table \
-Cllvm-args=-sanitizer-coverage-trace-compares \
-Zsanitizer=address -Cdebug-assertions -Ccodegen-units=1" \
    cargo +nightly build --quiet --release --bins --examples --target "$host" \
    --target-dir "$target_dir"
built=$target_dir/$host/release

# Fresh seeds, beside what earlier runs found.
corpus=$target_dir/corpus
"$built/examples/seeds" "$corpus/decode"

runs=0
for source in fuzz_targets/*.rs; do
    name=$(basename "$source" .rs)
    mkdir -p "$corpus/$name" "artifacts/$name"
    echo "fuzz: $name for $seconds s"
    # A finding is written to artifacts/, printed, and ends this script with libFuzzer's status.
    "$built/$name" -max_total_time="$seconds" -max_len=4096 -timeout=10 -rss_limit_mb=2048 \
        -print_final_stats=1 -verbosity=0 -artifact_prefix="artifacts/$name/" "$corpus/$name"
    runs=$((runs + 1))
done
echo "fuzz: $runs target(s) run, nothing found"
