#!/usr/bin/env bash
# Checks that spile and its wheel compile with the oldest compiler that Cargo.toml promises (rust-version): make msrv.
#
# That compiler is rustup's, if it is installed; or rustc on PATH, if it is of that version; or else that of Debian 13,
# which this unpacks by apt into target/msrv and runs from there: the system stays as it is.
#
# Exit status: 0 it compiles, or no such compiler can be had here; else non-zero.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

out=$root/target/msrv
suite=trixie
keys=/usr/share/keyrings/debian-archive-keyring.gpg

main() {
    cd "$root"
    need_cargo
    promised=$(sed -n 's/^rust-version = "\(.*\)"$/\1/p' Cargo.toml)
    if ! find_compiler; then
        say "SKIPPED: no Rust $promised: rustup toolchain install $promised"
        return
    fi
    say "checking with $("$compiler" --version)"
    RUSTC=$compiler CARGO_TARGET_DIR=$out/build \
        cargo check --quiet --locked --package spile-python
}

find_compiler() {
    compiler=$(rustup which --toolchain "$promised" rustc 2>/dev/null) && is_promised && return
    compiler=rustc
    is_promised && return
    compiler=$out/rustc
    is_promised && return
    [[ $(uname -m) == x86_64 && -e $keys ]] && command -v apt-get dpkg-deb >/dev/null || return
    unpack_debian
    is_promised
}

is_promised() {
    [[ $("$compiler" --version 2>/dev/null) == "rustc $promised."* ]]
}

# Its libraries are newer than this system's may be: it runs by its own dynamic loader.
unpack_debian() {
    say "unpacking Debian's rustc ($suite) into ${out#"$root/"}"
    rm -rf "$out"
    mkdir -p "$out"/{lists/partial,cache/archives/partial,packages,root}
    echo "deb [signed-by=$keys] http://deb.debian.org/debian $suite main" >"$out/sources.list"
    touch "$out/status"
    apt_of_suite apt-get -qq update
    local names
    mapfile -t names < <(apt_of_suite apt-cache depends --recurse --no-recommends --no-suggests --no-conflicts \
        --no-breaks --no-replaces --no-enhances libstd-rust-dev | grep '^[a-z0-9]')
    (cd "$out/packages" && apt_of_suite apt-get -qq download rustc "${names[@]}")
    local package
    for package in "$out"/packages/*.deb; do
        dpkg-deb --extract "$package" "$out/root"
    done
    cat >"$out/rustc" <<TEXT
#!/bin/sh
exec "$out/root/usr/lib64/ld-linux-x86-64.so.2" --library-path "$out/root/usr/lib/x86_64-linux-gnu" \\
    "$out/root/usr/bin/rustc" --sysroot "$out/root/usr" "\$@"
TEXT
    chmod +x "$out/rustc"
    rm -rf "$out"/{lists,cache,packages}
}

apt_of_suite() {
    "$1" -o Dir::Etc::sourcelist="$out/sources.list" -o Dir::Etc::sourceparts=- -o Dir::State::lists="$out/lists" \
        -o Dir::State::status="$out/status" -o Dir::Cache="$out/cache" -o APT::Sandbox::User=root "${@:2}"
}

main "$@"
