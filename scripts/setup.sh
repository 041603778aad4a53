#!/usr/bin/env bash
# Installs what is missing on this machine for the demo or the tests, and says so.
#
#   scripts/setup.sh [nginx] [curl] [wrk] [systemd] [faketime] [valgrind] [cargo] [venv] [REQUIREMENTS.txt...]
#
# venv makes .venv; each *.txt is a pip requirements file for it (and implies venv).
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

for need; do
    case $need in
        nginx | curl | wrk | systemd | faketime | valgrind | cargo | venv) "need_$need" ;;
        *.txt) need_venv "$need" ;;
        *) fail "setup.sh: $need: not one of nginx, curl, wrk, systemd, faketime, valgrind, cargo, venv or a requirements file (*.txt)" ;;
    esac
done
