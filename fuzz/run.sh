#!/usr/bin/env bash
# Runs the fuzz targets, two at a time: fuzz/run.sh [SECONDS [TARGET...]], each for 10 s, and all, if not said. With 0
# seconds it only builds them.
#
# It ends with a table, and with status 1 if anything was found or a target did not run. Without a nightly toolchain
# there is nothing to look with: it says SKIPPED, and ends with 0. It builds as cargo-fuzz does, which then need not be
# installed; `cargo +nightly fuzz run TARGET` works too.
set -euo pipefail

seconds=${1:-10}
shift || true
cd "$(dirname "${BASH_SOURCE[0]}")"
targets=("$@")
if [ ${#targets[@]} = 0 ]; then
    mapfile -t targets < <(cd fuzz_targets && printf '%s\n' *.rs | sed 's/\.rs$//')
fi

if ! rustc +nightly --version >/dev/null 2>&1; then
    echo "fuzz: SKIPPED: no nightly toolchain (rustup toolchain install nightly)"
    exit 0
fi
if ! command -v c++ >/dev/null; then
    echo "fuzz: no C++ compiler to build libFuzzer with (apt-get install g++)" >&2
    exit 1
fi

target_dir=${CARGO_TARGET_DIR:-$PWD/target}
host=$(rustc +nightly --version --verbose | sed -n 's/^host: //p')
built=$target_dir/$host/release
# What grows: a run goes on where the last one ended.
corpus=$target_dir/corpus
logs=$target_dir/logs

# Coverage counters and compare hooks for libFuzzer, address sanitizer, debug assertions.
# With --target they are for the code under test only, not for build scripts.
RUSTFLAGS="--cfg fuzzing -Cpasses=sancov-module \
-Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
-Cllvm-args=-sanitizer-coverage-pc-table \
-Cllvm-args=-sanitizer-coverage-trace-compares \
-Zsanitizer=address -Cdebug-assertions -Ccodegen-units=1" \
    cargo +nightly build --quiet --release --bins --examples --target "$host" --target-dir "$target_dir"
"$built/examples/seeds" "$corpus"
mkdir -p "$logs"
if [ "$seconds" = 0 ]; then
    echo "fuzz: built: ${targets[*]}"
    exit 0
fi

# One target: the seeds and the corpus of the tree are read, what is new goes to the first directory.
fuzz() {
    local name=$1
    mkdir -p "$corpus/$name" "corpus/$name" "artifacts/$name"
    "$built/$name" -max_total_time="$seconds" -max_len=4096 -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 \
        -artifact_prefix="artifacts/$name/" "$corpus/$name" "corpus/$name" >"$logs/$name.log" 2>&1
}

echo "fuzz: ${targets[*]}: $seconds s each, two at a time"
failed=()
for ((first = 0; first < ${#targets[@]}; first += 2)); do
    pids=()
    pair=("${targets[@]:first:2}")
    for name in "${pair[@]}"; do
        fuzz "$name" &
        pids+=($!)
    done
    for number in "${!pids[@]}"; do
        wait "${pids[number]}" || failed+=("${pair[number]}")
    done
done

printf '%-12s %12s %8s %8s %10s %8s\n' target executions per\ s edges features corpus
for name in "${targets[@]}"; do
    log=$logs/$name.log
    # "#123 DONE   cov: 480 ft: 1292 corp: 92/31Kb ... exec/s: 21183 rss: 468Mb"
    last=$(grep -a '^#[0-9].* cov: ' "$log" | tail -1)
    field() { sed -n "s|.* $1: \([0-9]*\).*|\1|p" <<<"$last"; }
    executions=$(sed -n 's/^stat::number_of_executed_units: //p' "$log")
    printf '%-12s %12s %8s %8s %10s %8s\n' "$name" "${executions:-?}" "$(field exec/s)" "$(field cov)" "$(field ft)" "$(field corp)"
done

for name in "${failed[@]}"; do
    echo
    echo "fuzz: $name failed; fuzz/artifacts/$name has the input, $logs/$name.log the rest:"
    grep -a -m1 -A3 'panicked at\|ERROR: ' "$logs/$name.log" || tail -n 20 "$logs/$name.log"
done
[ ${#failed[@]} = 0 ] || exit 1
echo "fuzz: ${#targets[@]} targets ran, nothing was found"
