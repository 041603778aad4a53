#!/usr/bin/env bash
# Compares spile with uWSGI and prints the table of docs/reliability.md: make reliability.
#
#   benches/reliability/run.sh [--rounds N] [--requests N] [--rate N] [--reloads N] [--kills N] [--only NAME]
#
# uWSGI is installed into a virtual environment of its own below target/, and uses the interpreter and the
# packages of .venv, as spile does.
# shellcheck source-path=SCRIPTDIR
set -euo pipefail
# shellcheck source=../../scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../../scripts/lib.sh"

need_nginx
need_venv "$root/tests/requirements.txt"
need_uwsgi
cd "$root"
PYTHONPATH=tests/python:tests/apps exec "$venv/bin/python" benches/reliability/compare.py --uwsgi "$UWSGI" "$@"
