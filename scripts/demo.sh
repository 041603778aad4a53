#!/usr/bin/env bash
# Flask, Django and an axum program behind a real nginx, on this machine: make demo.
#
#   DEMO_PORT=8080   the port on 127.0.0.1
#   DEMO_ONCE=1      start everything, request every page, print the results, stop; fails if one failed
#
# Installs what is missing. Everything that runs keeps its files in one temporary directory, which goes
# when the demo stops: Ctrl-C or TERM.
# shellcheck source-path=SCRIPTDIR
set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

DEMO_ONCE=${DEMO_ONCE:-}
port=${DEMO_PORT:-8080}
url=http://127.0.0.1:$port
apps=$root/examples/demo
asked_to_stop=$((${#DEMO_ONCE} > 0 ? 130 : 0)) # the exit status
START_DEADLINE=60 # seconds
STOP_DEADLINE=15  # seconds

main() {
    check_port
    need_curl
    need_nginx
    need_cargo
    need_venv "$apps/requirements.txt"
    build
    make_directory
    prepare_django
    start_all
    await_answers
    if [[ -n $DEMO_ONCE ]]; then
        # shellcheck source=demo-checks.sh
        . "$root/scripts/demo-checks.sh"
        run_checks
    else
        print_addresses
        await_a_death
    fi
}

check_port() {
    if [[ ! $port =~ ^[1-9][0-9]{0,4}$ ]] || ((port > 65535)); then
        fail "DEMO_PORT=$port: not a port (1 to 65535)"
    fi
    if (: <>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
        fail "port $port of 127.0.0.1 is in use: choose another, DEMO_PORT=$((port == 65535 ? 8080 : port + 1)) make demo"
    fi
}

build() {
    say "building spile and the axum example"
    "${MAKE:-make}" --no-print-directory -C "$root" build
    # Not for speed: it is built without optimisation, which is quick.
    locked cargo build --example axum --manifest-path "$root/Cargo.toml"
    [[ -x $venv/bin/spile ]] || fail "make build left no $venv/bin/spile"
}

make_directory() {
    dir=$(mktemp -d "${TMPDIR:-/tmp}/spile-demo.XXXXXX")
    trap stop_all EXIT
    # To be asked to stop is a good end, but not for checks that did not get to theirs.
    trap 'exit "$asked_to_stop"' INT TERM HUP
    # A unix socket's path has room for 107 bytes.
    ((${#dir} <= 90)) || fail "$dir is too long a path for unix sockets: set TMPDIR to a shorter one"
}

prepare_django() {
    say "preparing Django in $dir"
    export DEMO_DIR=$dir
    export PYTHONPYCACHEPREFIX=$dir/pycache
    django migrate
    django collectstatic --noinput
    DJANGO_SUPERUSER_PASSWORD=demo django createsuperuser --noinput --username demo --email demo@example.org
}

django() {
    "$venv/bin/python" "$apps/manage.py" "$@" >"$dir/manage.log" 2>&1 || {
        tail -n 20 "$dir/manage.log" >&2
        fail "manage.py $1 failed"
    }
}

# The processes by name, in the order they started.
names=()
declare -A pids

# start NAME COMMAND...: in a session of its own, so that Ctrl-C reaches this script alone, which then stops
# them in order, and so that no child of theirs can be overlooked.
start() {
    local name=$1
    shift
    setsid "$@" </dev/null >"$dir/$name.log" 2>&1 &
    pids[$name]=$!
    names+=("$name")
}

start_all() {
    start spile "$venv/bin/spile" serve \
        --socket "unix:$dir/python.sock" \
        --mount /flask=flask_demo:app \
        --mount /django=django_demo.wsgi:application \
        --mount /=landing:application \
        --workers 2 \
        --chdir "$apps"
    start axum "${CARGO_TARGET_DIR:-$root/target}/debug/examples/axum" "unix:$dir/rust.sock"
    start_nginx
}

start_nginx() {
    local configuration directives="daemon off;" options=()
    configuration=$(<"$root/nginx/demo.conf.template")
    configuration=${configuration//@PORT@/"$port"}
    printf '%s\n' "${configuration//@DIR@/"$dir"}" >"$dir/nginx.conf"
    cp "$root/nginx/uwsgi_params" "$dir/"
    # Root's nginx would run its workers as another user, who may not enter the directory.
    if [[ $(id -u) == 0 ]]; then
        directives+=" user $(id -un) $(id -gn);"
    fi
    # Before it reads a configuration, nginx complains of a log that only root may open.
    if "$NGINX" -h 2>&1 | grep -q -e '^ *-e '; then
        options=(-e stderr)
    fi
    start nginx "$NGINX" "${options[@]}" -p "$dir" -c "$dir/nginx.conf" -g "$directives"
}

await_answers() {
    local deadline=$((SECONDS + START_DEADLINE)) path
    for path in / /rust/; do
        until curl -sf -o /dev/null --max-time 5 "$url$path"; do
            report_deaths
            if ((SECONDS >= deadline)); then
                show_logs
                fail "no answer from $url$path within $START_DEADLINE s"
            fi
            sleep 0.1
        done
    done
    # An answer could have come from whoever else took the port.
    report_deaths
}

print_addresses() {
    cat <<TEXT

  $url/                what reached the application
  $url/flask/          Flask
  $url/django/         Django, and its admin below: demo / demo
  $url/django/admin/
  $url/rust/           axum

  Logs: $dir/*.log
  Ctrl-C stops it all.

TEXT
}

await_a_death() {
    wait -n || true
    report_deaths
}

# Ends the script if one of the processes has ended.
report_deaths() {
    local name status
    for name in "${names[@]}"; do
        kill -0 "${pids[$name]}" 2>/dev/null && continue
        status=0
        wait "${pids[$name]}" 2>/dev/null || status=$?
        if [[ $name == nginx ]] && grep -q 'bind() to .* failed (98' "$dir/nginx.log"; then
            fail "port $port of 127.0.0.1 is in use: choose another with DEMO_PORT"
        fi
        show_log "$name"
        fail "$name ended by itself with status $status; the end of its log is above"
    done
}

show_logs() {
    local name
    for name in "${names[@]}"; do
        show_log "$name"
    done
}

show_log() {
    printf -- '--- %s.log\n' "$1" >&2
    tail -n 20 "$dir/$1.log" >&2
}

# Stops nginx first, so that it never asks a spile that has gone.
stop_all() {
    local status=$? index
    trap '' INT TERM HUP
    for ((index = ${#names[@]} - 1; index >= 0; index--)); do
        stop "${names[index]}" || status=1
    done
    rm -rf "$dir"
    [[ -n $DEMO_ONCE || $status != 0 ]] || say "stopped"
    exit "$status"
}

# A session is also a process group: it is empty when the process and all that it started have ended.
stop() {
    local name=$1 group=${pids[$1]} deadline=$((SECONDS + STOP_DEADLINE)) running=true status=0
    kill -TERM "$group" 2>/dev/null || running=false
    while kill -0 -- "-$group" 2>/dev/null; do
        if ((SECONDS >= deadline)); then
            say "$name did not stop within $STOP_DEADLINE s: killed"
            kill -KILL -- "-$group" 2>/dev/null || true
            return 1
        fi
        sleep 0.05
    done
    wait "$group" 2>/dev/null || status=$?
    # One that had ended before was spoken of then.
    if $running && ((status != 0)); then
        show_log "$name"
        say "$name was asked to stop and ended with status $status"
        return 1
    fi
}

main
