#!/usr/bin/env bash
# Runs the unit tests that Miri can run: what is pure, and of the unsafe code what needs no mapping and no interpreter.
#
# Of the modules with unsafe code it runs server/descriptor.rs and server/stream.rs. It cannot run
# supervisor/stats/scoreboard/memory.rs, which maps a memfd that processes share, nor python/src/interrupt.rs and
# python/src/wsgi/text.rs, which call CPython. scripts/sanitize.sh and tests/python/test_dev_mode.py look at these.
#
# Exit status: 0 nothing was found, or Miri is not installed; else non-zero.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

if ! said=$(cargo +nightly miri --version 2>&1); then
    echo "miri: SKIPPED: $(head -n 1 <<<"$said") (rustup +nightly component add miri rust-src)"
    exit 0
fi

# Sockets and the clock are the machine's own.
export MIRIFLAGS="-Zmiri-disable-isolation ${MIRIFLAGS:-}"
cargo +nightly miri test --lib -- \
    protocol:: app::environ app::response app::router server::net::descriptor server::net::stream
