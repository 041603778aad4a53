"""Sums up by folders what llvm-cov exports: coverage.py EXPORT.json; scripts/coverage.sh calls it.

Unit tests, which stand beside the code, are left out.
"""

from __future__ import annotations

import json
import re
import sys
from collections import defaultdict
from itertools import groupby
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent

#: Where the unit tests of a file begin: they are its end.
UNIT_TESTS = re.compile(r"^#\[cfg\(test\)\]\nmod \w+ \{$", re.MULTILINE)

#: Line, column, count, whether it has a count, whether a region begins here, whether it is a gap.
Segment = list[Any]


def main(export: Path) -> None:
    folders: dict[str, Totals] = defaultdict(Totals)
    total = Totals()
    for file in json.loads(export.read_text())["data"][0]["files"]:
        path = Path(file["filename"])
        if path.name.endswith("tests.rs"):
            continue
        counted = Totals.of(file["segments"], end_of_code(path))
        folder = path.relative_to(ROOT).parent
        for name in {"/".join(folder.parts[:depth]) for depth in range(1, len(folder.parts) + 1)}:
            folders[name].add(counted)
        total.add(counted)
    print(f"{'':32} {'lines':>7} missed covered {'regions':>8} missed covered")
    for name, totals in [*sorted(folders.items()), ("total", total)]:
        print(f"{name:32} {totals}")


def end_of_code(path: Path) -> int:
    """The line at which the unit tests of a file begin."""
    text = path.read_text()
    tests = UNIT_TESTS.search(text)
    return text.count("\n", 0, tests.start()) + 1 if tests else sys.maxsize


class Totals:
    """Lines and regions, and how many of them have not run."""

    def __init__(self) -> None:
        self.lines = self.missed_lines = self.regions = self.missed_regions = 0

    @classmethod
    def of(cls, segments: list[Segment], end: int) -> Totals:
        self = cls()
        for segment in segments:
            if segment[0] < end and begins_region(segment):
                self.regions += 1
                self.missed_regions += segment[2] == 0
        for count in counts_of_lines(segments, end):
            self.lines += 1
            self.missed_lines += count == 0
        return self

    def add(self, other: Totals) -> None:
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)

    def __str__(self) -> str:
        lines = covered(self.lines, self.missed_lines)
        return f"{lines} {covered(self.regions, self.missed_regions):>23}"


def covered(all: int, missed: int) -> str:
    share = f"{100 * (all - missed) / all:6.1f}%" if all else f"{'-':>7}"
    return f"{all:7} {missed:6} {share}"


def begins_region(segment: Segment) -> bool:
    _, _, _, has_count, is_entry, is_gap = segment
    return has_count and is_entry and not is_gap


def counts_of_lines(segments: list[Segment], end: int) -> list[int]:
    """How often each line that has code has run, by llvm-cov's own rules (LineCoverageStats)."""
    counts = []
    wrapped: Segment | None = None
    by_line = {line: list(group) for line, group in groupby(segments, key=lambda it: it[0])}
    last = min(max(by_line, default=0), end - 1)
    for line in range(1, last + 1):
        here = by_line.get(line, [])
        begun = [it for it in here if begins_region(it)]
        is_skipped = bool(here) and not here[0][3] and here[0][4]
        if any(it[3] and it[4] for it in here) or (not is_skipped and wrapped and wrapped[3]):
            counts.append(max([wrapped[2] if wrapped else 0, *(it[2] for it in begun)]))
        wrapped = here[-1] if here else wrapped
    return counts


if __name__ == "__main__":
    main(Path(sys.argv[1]))
