#!/usr/bin/env bash
# Builds target/release/spile and installs the wheel into .venv, each only when a source has changed.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

main() {
    need_cargo
    cd "$root"
    cargo build --release --quiet --features cli,top
    if [[ ! -x $venv/bin/spile || -n $(find "${sources[@]}" -type f ! -name '*.pyc' -newer "$stamp" -print -quit 2>&1) ]]; then
        say "building the wheel into .venv"
        # The moment before: what changes while it is built is newer.
        touch "$stamp.begun"
        "$venv/bin/python" -m pip install --quiet --disable-pip-version-check .
        mv "$stamp.begun" "$stamp"
    fi
}

stamp=$venv/.wheel
sources=(Cargo.toml Cargo.lock pyproject.toml README.md src python)

# Two runs may share the tree.
exec 9<"$root/scripts/build.sh"
flock 9
main
