#!/usr/bin/env bash
# Runs the tests of what has unsafe code, and of what uses it, under the address and leak sanitizers: the scoreboard,
# the server with all its threads, the decoder. It stands in for Miri where that cannot go.
#
# The thread sanitizer needs a standard library built for it (component rust-src): it is not run.
#
# Exit status: 0 nothing was found, or there is no nightly toolchain; else non-zero.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

if ! rustc +nightly --version >/dev/null 2>&1; then
    echo "sanitize: SKIPPED: no nightly toolchain (rustup toolchain install nightly)"
    exit 0
fi

host=$(rustc +nightly --version --verbose | sed -n 's/^host: //p')
target_dir=${CARGO_TARGET_DIR:-$PWD/target}/sanitize
# A recorder of metrics has to live for ever: those tests leak theirs.
suppressions=$(mktemp)
trap 'rm -f "$suppressions"' EXIT
echo leak:server::metrics >"$suppressions"
export LSAN_OPTIONS=suppressions=$suppressions:print_suppressions=0

# With --target it is for the tests only, not for build scripts.
run() {
    RUSTFLAGS=-Zsanitizer=address cargo +nightly test --quiet --target "$host" --target-dir "$target_dir" "$@"
}

run --features cli --lib -- protocol:: app:: server:: supervisor::stats::scoreboard
run --features cli --test server --test app_properties --test protocol_properties
echo "sanitize: nothing was found"
