#!/usr/bin/env bash
# `make conformance`: an environment for the tests of others in target/conformance, then run.py.
#
#   run.sh [--plain | --validated] [SUITE...]
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=../../scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../../scripts/lib.sh"

served=$venv
suites=$root/target/conformance/venv

main() {
    "$served/bin/python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' ||
        fail "the tests of others need Python 3.10 or newer, .venv has $("$served/bin/python" --version): choose another with PYTHON=..."
    find_nginx || fail "no nginx: run scripts/setup.sh nginx"
    mkdir -p "$root/target/conformance"
    PYTHON=$served/bin/python venv=$suites need_venv "$root/tests/conformance/requirements.txt"
    link_spile
    "$suites/bin/python" "$root/tests/conformance/run.py" "$@"
}

# The package as `make build` has left it in .venv: it is built for the same interpreter.
link_spile() {
    local from to
    from=$(site_packages "$served")
    to=$(site_packages "$suites")
    rm -rf "$to"/spile "$to"/spile-*.dist-info
    ln -s "$from"/spile "$from"/spile-*.dist-info "$to/"
}

site_packages() {
    "$1/bin/python" -c 'import sysconfig; print(sysconfig.get_path("platlib"))'
}

main "$@"
