"""Runs the tests of other projects against spile behind nginx, and judges the outcome.

    run.py [--plain | --validated] [SUITE...]

Each suite runs twice: as it is, and with every application inside wsgiref.validate. A test that
fails has to be explained in expected.toml; so does, the other way round, one that is explained
there have to fail. The exit status is 1 when that is not so.

The sources of the suites are below target/conformance, where `make conformance` has made the
environment that this runs in; nothing of them is in the tree.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Sequence

from expected import Judgement
from running import CACHE, Run
from sdist import unpacked
from suites import SUITES, Suite

#: Half of them wait, for servers that start and for time-outs.
AT_ONCE = 2


def main() -> int:
    options = arguments()
    # What was started is ended on the way out.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    CACHE.mkdir(parents=True, exist_ok=True)
    chosen = [suite for suite in SUITES if suite.name in options.suites or not options.suites]
    judgements = list(run_all(chosen, options.modes).values())
    print(table(sorted(judgements, key=lambda judgement: judgement.name)))
    return 0 if all(judgement.good for judgement in judgements) else 1


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("suites", nargs="*", metavar="SUITE", help="only these")
    modes = parser.add_mutually_exclusive_group()
    modes.add_argument("--plain", dest="modes", action="store_const", const=[False])
    modes.add_argument("--validated", dest="modes", action="store_const", const=[True])
    parser.set_defaults(modes=[False, True])
    options = parser.parse_args()
    unknown = set(options.suites) - {suite.name for suite in SUITES}
    if unknown:
        known = ", ".join(suite.name for suite in SUITES)
        parser.error(f"no suite {', '.join(sorted(unknown))}: there are {known}")
    return options


def run_all(suites: Sequence[Suite], modes: Sequence[bool]) -> dict[str, Judgement]:
    """Runs each suite in each mode, two at a time, and judges them."""
    waiting = [(suite, unpacked(suite.package, CACHE), mode) for suite in suites for mode in modes]
    running: list[Run] = []
    judgements = {}
    try:
        while waiting or running:
            while waiting and len(running) < AT_ONCE:
                running.append(Run(*waiting.pop(0)))
                print(f"conformance: {running[-1].name}", file=sys.stderr)
            for run in [run for run in running if run.over]:
                running.remove(run)
                judgements[run.name] = judgement = run.finish()
                print(judgement.details(), end="", flush=True)
            time.sleep(0.1)
    finally:
        for run in running:
            run.end()
    return judgements


def table(judgements: list[Judgement]) -> str:
    """What became of all of them."""
    rows = [("suite", "version", "passed", "explained", "failed", "skipped", "seconds")]
    rows += [judgement.row() for judgement in judgements]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        texts = [
            cell.ljust(width) if column < 2 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths))
        ]
        lines.append("  ".join(texts).rstrip())
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
