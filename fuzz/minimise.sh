#!/usr/bin/env bash
# Chooses the corpus of the tree anew: fuzz/minimise.sh [FILES], after fuzz/run.sh.
#
# Of everything that runs have found, the fewest small inputs that reach the same code; at most FILES a target, 50 if
# not said, of 512 bytes at most.
set -euo pipefail

most=${1:-50}
cd "$(dirname "${BASH_SOURCE[0]}")"
target_dir=${CARGO_TARGET_DIR:-$PWD/target}
host=$(rustc +nightly --version --verbose | sed -n 's/^host: //p')

for source in fuzz_targets/*.rs; do
    name=$(basename "$source" .rs)
    chosen=$(mktemp -d)
    small=$(mktemp -d)
    mkdir -p "corpus/$name"
    find "$target_dir/corpus/$name" "corpus/$name" -type f -size -513c -exec cp -t "$small" {} +
    "$target_dir/$host/release/$name" -set_cover_merge=1 -verbosity=0 "$chosen" "$small" 2>/dev/null
    rm -r "corpus/$name"
    mkdir "corpus/$name"
    # libFuzzer names an input by its hash; the largest reach the most.
    find "$chosen" -type f -printf '%s %p\n' |
        sort -rn | awk -v most="$most" 'NR <= most { print $2 }' |
        xargs -r cp -t "corpus/$name"
    rm -r "$chosen" "$small"
    echo "$name: $(find "corpus/$name" -type f | wc -l) inputs, $(du -sb "corpus/$name" | cut -f1) bytes"
done
