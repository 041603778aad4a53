"""docs/security.md names tests that are there, docs/limits.md has the numbers of the code."""

from __future__ import annotations

import re

import pytest

from harness.spile import ROOT

SECURITY = (ROOT / "docs/security.md").read_text("utf-8")

#: `path`, `path::name`, or `::name` for another one in the file that was named before.
NAMED = re.compile(r"`((?:src|tests|fuzz|python|scripts|protocol-spec)/[\w/.-]+)?((?:::\w+)*)`")


def named() -> list[str]:
    """The names in order, each with its file."""
    found, file = [], ""
    for match in NAMED.finditer(SECURITY):
        if not match[0].strip("`"):
            continue
        file = match[1] or file
        found.append(file + match[2])
    return found


@pytest.mark.parametrize("name", sorted(set(named())))
def test_a_test_that_holds_a_promise_is_there(name: str) -> None:
    file, *parts = name.split("::")
    path = ROOT / file
    assert path.exists(), f"docs/security.md names {file}"
    if parts:
        definition = rf"^\s*(async )?(def|fn|mod) {parts[-1]}\b"
        assert re.search(definition, path.read_text("utf-8"), re.M), f"no {parts[-1]} in {file}"


def test_every_row_names_what_holds_it() -> None:
    head = ""
    for line in SECURITY.splitlines():
        if not line.startswith("| "):
            head = ""
            continue
        cells = [cell.strip() for cell in line.strip("| ").split(" | ")]
        head = head or cells[0]
        if head in ("promise", "fault") and cells[0] not in (head, "---"):
            assert "`" in cells[-1], line


LIMITS = (ROOT / "docs/limits.md").read_text("utf-8")

#: A row: the limit, its value, its option, and its name and file in the code.
LIMIT = re.compile(r"^\| (.+?) \| (.*?) \| (?:`(--[\w-]+)` )?\| `(\w+)` in `([\w/.]+)` \|$", re.M)

UNITS = {
    **{"": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30},
    **{"s": 1, "ms": 1e-3, "µs": 1e-6},
}
DURATIONS = {"from_secs": 1, "from_millis": 1e-3, "from_micros": 1e-6}


def documented(value: str) -> float:
    """The number that a cell says; 0 is an option's word for no limit."""
    if value.startswith("any "):
        return 0
    number, _, unit = value.partition(" ")
    return int(number) * UNITS[unit]


def in_the_code(name: str, file: str) -> float:
    """The number of a constant, or of a field in a `Default`."""
    source = (ROOT / file).read_text("utf-8")
    kind = rf"const {name}: \w+ =" if name.isupper() else rf"^ {{12}}{name}:"
    found = re.search(rf"{kind} (.+?)[;,]$", source, re.M)
    assert found, f"no {name} in {file}"
    value = re.sub(r"if cfg!\(fuzzing\) \{ \d+ \} else \{ (\d+) \}", r"\1", found[1])
    if value == "Duration::ZERO":
        return 0
    call = re.fullmatch(r"Duration::(\w+)\((.+)\)", value)
    scale, value = (DURATIONS[call[1]], call[2]) if call else (1, value)
    number = 1
    for factor in value.replace("_", "").split(" * "):
        base, _, shift = factor.partition(" << ")
        number *= int(base) << int(shift or 0)
    return number * scale


@pytest.mark.parametrize("row", LIMIT.findall(LIMITS), ids=lambda row: f"{row[4]}:{row[3]}")
def test_a_limit_is_as_the_table_says(row: tuple[str, ...]) -> None:
    _, value, option, name, file = row
    assert documented(value) == pytest.approx(in_the_code(name, file))
    if option:
        assert option.lstrip("-").replace("-", "_") == name


def test_every_limit_with_a_number_is_compared() -> None:
    rows = [line for line in LIMITS.splitlines() if line.startswith("| ")][2:]
    assert [row for row in rows if not LIMIT.match(row)] == [
        "| who may connect over TCP | everybody | `--allow-from` | |"
    ]


def test_a_rust_program_has_the_same_defaults() -> None:
    for name, option in {
        "vars": "max_vars",
        "in_flight": "max_in_flight",
        "read_timeout": "read_timeout",
        "graceful_timeout": "graceful_timeout",
    }.items():
        of_program = in_the_code(option, "src/config/mod.rs")
        assert in_the_code(name, "src/server/limits.rs") == of_program, name
