#!/usr/bin/env bash
# Compares spile with other servers: make bench. It expects what `make build load` leaves.
#
#   SERVERS=spile,uwsgi,... CASE=NAME,... benches/compare/run.sh [--rounds N] [--seconds N] [--out FOLDER] [--scale]
#
# The others are installed into a virtual environment of their own, target/bench, with the interpreter of .venv.
# shellcheck source-path=SCRIPTDIR
set -euo pipefail
# shellcheck source=../../scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../../scripts/lib.sh"

: "${SERVERS:=spile,uwsgi,gunicorn,granian,bjoern}"
: "${CASE:=}"
here=$root/benches/compare
export BENCH_PEERS=$root/target/bench

main() {
    need_nginx
    need_wrk
    need_venv
    install_peers
    if [[ $here/floor.c -nt $BENCH_PEERS/floor ]]; then
        cc -O2 -Wall -Wextra -o "$BENCH_PEERS/floor" "$here/floor.c"
    fi
    cd "$root"
    if is_asked_for axum; then
        need_cargo
        cargo build --release --quiet --example hello
    fi
    PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=tests/python \
        exec "$venv/bin/python" "$here/compare.py" --servers "$SERVERS" --case "$CASE" "$@"
}

# Whether a case of that kind is run.
is_asked_for() {
    [[ -z $CASE || $CASE == *$1* ]]
}

install_peers() {
    local peer served=$venv venv=$BENCH_PEERS
    export PYTHON=$served/bin/python
    mkdir -p "${BENCH_PEERS%/*}"
    need_venv
    if is_asked_for flask || is_asked_for django; then
        need_venv "$here/requirements.txt"
    fi
    need_python_headers
    for peer in ${SERVERS//,/ }; do
        [[ -e $here/peers/$peer.txt ]] || continue
        # Its rows say that it is missing.
        (
            [[ $peer != bjoern ]] || need_libev
            need_venv "$here/peers/$peer.txt"
        ) || say "going on without $peer"
    done
}

main "$@"
