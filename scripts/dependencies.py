#!/usr/bin/env python3
"""Holds docs/dependencies.md against the crates that spile is built from.

    scripts/dependencies.py         fails if a crate that has unsafe code, or runs at build time, is
                                    not in that file, or if one that is there is gone or does
                                    something else
    scripts/dependencies.py --list  prints what was found, as lines of the table

Of every crate of Cargo.lock and fuzz/Cargo.lock that is compiled for Linux, tests included, the
source in cargo's registry is read. Versions are not compared: an update that changes
nothing of this needs no change there.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
NOTES = ROOT / "docs/dependencies.md"
WORKSPACES = (ROOT / "Cargo.toml", ROOT / "fuzz/Cargo.toml")
#: Where spile runs. What a crate does elsewhere is not looked at.
TARGET = "x86_64-unknown-linux-gnu"

#: A crate in the table: its name in backquotes, then what it does.
ROW = re.compile(r"^\| `([^`]+)` \| ([^|]*) \|")

#: What the words of the second column say.
UNSAFE, BUILD, MACRO = "unsafe", "build script", "macro"


@dataclass
class Crate:
    """A crate, in one version or more."""

    versions: set[str] = field(default_factory=set)
    ways: set[str] = field(default_factory=set)

    @property
    def described(self) -> str:
        return ", ".join(way for way in (BUILD, MACRO, UNSAFE) if way in self.ways)


def main() -> int:
    crates = found()
    noticed = {name: crate for name, crate in sorted(crates.items()) if crate.ways}
    if "--list" in sys.argv[1:]:
        for name, crate in noticed.items():
            print(f"| `{name}` | {crate.described} |")
        return 0
    noted = {match[1]: match[2].strip() for match in map(ROW.match, NOTES.open()) if match}
    wrong = [
        *(f"{name} is not in it: {noticed[name].described}" for name in noticed.keys() - noted),
        *(f"{name} is in it, and needed no more" for name in noted.keys() - noticed.keys()),
        *(
            f"{name}: it says `{noted[name]}`, and the source says `{noticed[name].described}`"
            for name in noted.keys() & noticed.keys()
            if noted[name] != noticed[name].described
        ),
    ]
    if not wrong:
        return 0
    print(f"{NOTES.relative_to(ROOT)} does not fit Cargo.lock:", *sorted(wrong), sep="\n  ")
    print("hint: say in that file why it is here, who keeps it, and what its unsafe code is for")
    return 1


def found() -> dict[str, Crate]:
    """The crates by name, and what each does."""
    crates: dict[str, Crate] = {}
    for manifest in WORKSPACES:
        for package in compiled(manifest):
            if package["source"] is not None:
                crate = crates.setdefault(package["name"], Crate())
                crate.versions.add(package["version"])
                crate.ways |= ways(package)
    return crates


def compiled(manifest: Path) -> list[dict]:
    """The packages that a build on Linux compiles, with all features."""
    # The metadata has more: what a feature could ask for, and none does.
    tree = cargo("tree", manifest, f"--target={TARGET}", "--workspace", "--prefix=none")
    needed = {tuple(line.split()[:2]) for line in tree.splitlines()}
    document = json.loads(
        cargo("metadata", manifest, f"--filter-platform={TARGET}", "--format-version=1")
    )
    packages = document["packages"]
    return [it for it in packages if (it["name"], f"v{it['version']}") in needed]


def cargo(command: str, manifest: Path, *options: str) -> str:
    command_line = ["cargo", command, f"--manifest-path={manifest}", "--locked", "--all-features"]
    finished = subprocess.run([*command_line, *options], check=False, stdout=subprocess.PIPE)
    if finished.returncode != 0:
        sys.exit(f"cargo {command} has failed for {manifest.relative_to(ROOT)}, as it says above")
    return finished.stdout.decode()


def ways(package: dict) -> set[str]:
    """What a package does that a reader should know of."""
    kinds = {kind for target in package["targets"] for kind in target["kind"]}
    names = {"custom-build": BUILD, "proc-macro": MACRO}
    result = {names[kind] for kind in kinds & names.keys()}
    source = Path(package["manifest_path"]).parent / "src"
    if any(is_unsafe(path.read_text("utf-8", "replace")) for path in source.rglob("*.rs")):
        result.add(UNSAFE)
    return result


#: Comments, strings and characters, which may hold the word.
PROSE = re.compile(
    r"""//[^\n]* | /\*.*?\*/ | r(\#*)".*?"\1 | "(?:\\.|[^"\\])*" | '(?:\\.|[^'\\])'""",
    re.DOTALL | re.VERBOSE,
)
#: Blocks, functions, implementations; not `forbid(unsafe_code)`, nor `unsafe(no_mangle)`.
WORD = re.compile(r"\bunsafe\s*(?:\{|fn\b|impl\b|trait\b|extern\b)")


def is_unsafe(source: str) -> bool:
    return bool(WORD.search(PROSE.sub('""', source)))


if __name__ == "__main__":
    sys.exit(main())
