#!/usr/bin/env bash
# Measures which lines and regions of the Rust code the tests run: make coverage.
#
#   scripts/coverage.sh [PYTEST ARGUMENT...]    scripts/coverage.sh -k input, say, for some of the Python tests
#
# The Rust tests and a wheel are built with counters, below target/coverage. The report is there afterwards:
# summary.txt for each folder, and html/ for each line. Neither dependencies nor the code in Python are counted.
#
# Each process maps its counters from a file that all processes of one program share (LLVM's continuous mode). So what a
# worker has run counts as well when it was forked, was killed, or ended by _exit. Two processes that count one region
# at the same time may lose an increment: how often a line ran is an estimate, that it ran is certain.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

out=$root/target/coverage

main() {
    cd "$root"
    need_cargo
    need_llvm
    need_venv
    PYTHON=$venv/bin/python venv=$out/venv need_venv "$root/tests/requirements.txt"
    count_from_zero
    build_with_counters
    local status=0
    run_rust_tests || status=$?
    run_python_tests "$@" || status=$?
    report
    ((status == 0)) || fail "tests failed (see above): the report is of what they ran"
}

# Servers run as other users too.
count_from_zero() {
    rm -rf "$out/counts"
    install -d -m 1777 "$out/counts"
    # %m is another number for each program and library, and %c the continuous mode.
    export LLVM_PROFILE_FILE=$out/counts/%m%c.profraw
}

# The crates of the workspace get counters, and everything is built quickly.
build_with_counters() {
    cat >"$out/rustc" <<'TEXT'
#!/bin/sh
exec "$@" -Cinstrument-coverage -Cllvm-args=-runtime-counter-relocation
TEXT
    chmod +x "$out/rustc"
    export RUSTC_WORKSPACE_WRAPPER=$out/rustc CARGO_TARGET_DIR=$out/build CARGO_INCREMENTAL=0
    export CARGO_PROFILE_{DEV,TEST,RELEASE}_DEBUG=none
    export CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_OPT_LEVEL=1 CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16
    say "building the wheel and the Rust tests with counters"
    cargo build --release --quiet --package load
    "$out/venv/bin/python" -m pip install --quiet --disable-pip-version-check --force-reinstall --no-deps .
    cargo test --workspace --lib --bins --tests --no-run --quiet --message-format=json |
        sed -n 's/.*"executable":"\([^"]*\)".*/\1/p' >"$out/programs"
    ls "$out"/venv/lib/python*/site-packages/spile/_spile*.so >>"$out/programs"
    # The first process that runs makes the file: later ones may be other users'.
    "$out/venv/bin/spile" --version
    chmod a+rw "$out"/counts/*
}

run_rust_tests() {
    cargo test --workspace --quiet --lib --bins --tests
}

run_python_tests() {
    SPILE_BIN=$out/venv/bin/spile "$out/venv/bin/python" -m pytest -q -n 4 "$@"
}

report() {
    local objects=() program
    while read -r program; do
        objects+=(--object "$program")
    done <"$out/programs"
    "$LLVM_PROFDATA" merge --sparse --output "$out/all.profdata" "$out"/counts/*.profraw
    local of=(--instr-profile "$out/all.profdata" "${objects[@]}" --sources "$root/src" "$root/python/src")
    "$LLVM_COV" export --skip-functions --skip-expansions "${of[@]}" >"$out/all.json"
    "$LLVM_COV" show --format html --output-dir "$out/html" "${of[@]}" >/dev/null
    "$venv/bin/python" scripts/coverage.py "$out/all.json" | tee "$out/summary.txt"
    say "each line: $out/html/index.html"
}

main "$@"
