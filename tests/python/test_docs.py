"""docs/security.md: every test and file that it names to hold a promise is there."""

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
