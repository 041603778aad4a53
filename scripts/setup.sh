#!/usr/bin/env bash
# Installs what is missing on this machine for the demo or the tests, and says so.
#
#   scripts/setup.sh WHAT...
#
# WHAT is the rest of a function's name need_WHAT in lib.sh, such as nginx, cargo or venv, which makes .venv; or a pip
# requirements file, *.txt, for .venv.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

for what; do
    case $what in
        *.txt) need_venv "$what" ;;
        *)
            declare -F "need_$what" >/dev/null ||
                fail "$what: neither a *.txt nor one of $(compgen -A function need_ | sed s/need_// | xargs)"
            "need_$what"
            ;;
    esac
done
