"""What a request costs: spile beside other servers, behind the same nginx, in the same minutes.

Run by run.sh, which installs what is needed. Prints the table of README.md, and leaves that, all
figures and a plot in a folder.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import re
import resource
import shlex
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import idle
import measure
import scale
from cases import CASES, Case
from gauge import machine, version_of
from plot import lines, ratios
from report import judged, page, summary
from scale import STUDIES
from servers import KINDS

from harness import nginx
from harness.spile import ROOT

#: Where the results of all cases and servers go, and those of some of them.
RESULTS = ROOT / "benches/results"
SOME_RESULTS = ROOT / "target/bench/results"


def main() -> None:
    options = parse_options()
    # Interrupted from the keyboard or not: what was started is ended.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    raise_file_limit()
    documents = [json.loads(path.read_text("utf-8")) for path in options.render]
    if options.scale:
        scale_up(options)
        return
    if documents:
        document = together(documents)
    else:
        document = {**circumstances(options), "cases": []}
        for case in map(CASES.get, options.case):
            keys = [key for key in case.servers if key in options.servers]
            if keys:
                document["cases"].append(judged(case, run(case, keys, options)))
    write(document, options.out)
    if options.readme:
        put_into_readme(summary(document))
    print(summary(document))
    print(f"{options.out}: latest.md, latest.json, latest.svg", file=sys.stderr)


def together(documents: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Runs of some cases each, as if they had been one."""
    if len(documents) == 1:
        return documents[0]
    first = documents[0]
    command = re.sub(r" CASE=\S+", "", first["command"])
    cases = [case for document in documents for case in document["cases"]]
    return {**first, "command": command, "how": ", a case at a time", "cases": cases}


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3, help="of each server in a round")
    parser.add_argument(
        "--case", type=known([*CASES, *STUDIES]), default="", help="only these, by commas"
    )
    parser.add_argument("--servers", type=known(KINDS), default="", help="only these")
    parser.add_argument("--out", type=lambda path: Path(path).absolute(), help="folder for results")
    parser.add_argument("--scale", action="store_true", help="how costs grow, instead")
    parser.add_argument(
        "--render",
        type=Path,
        nargs="+",
        default=[],
        help="instead of a run: put these latest.json together",
    )
    parser.add_argument("--readme", action="store_true", help="also put the table into README.md")
    options = parser.parse_args()
    # The floor is always there.
    missing = set(PEERS) - set(options.servers or PEERS)
    options.servers = [key for key, kind in KINDS.items() if (kind.form_of or key) not in missing]
    complete = not missing and not options.case
    all_cases = STUDIES if options.scale else CASES
    options.case = [name for name in options.case or all_cases if name in all_cases]
    options.out = options.out or (RESULTS if complete else SOME_RESULTS)
    return options


#: What SERVERS= chooses from.
PEERS = ("spile", "uwsgi", "gunicorn", "granian", "bjoern")


def known(names: Any) -> Any:
    """A list of some of these names."""

    def parse(text: str) -> list[str]:
        given = [name for name in text.split(",") if name]
        for name in given:
            if name not in names:
                raise argparse.ArgumentTypeError(f"{name}: not one of {', '.join(names)}")
        return given

    return parse


def scale_up(options: argparse.Namespace) -> None:
    """Each study with a plot and a document of its own."""
    options.out.mkdir(parents=True, exist_ok=True)
    plan = measure.Plan(options.rounds, options.seconds)
    for study in map(STUDIES.get, options.case):
        keys = [key for key in study.servers if key in options.servers]
        document = {**circumstances(options), **scale.run(study, keys, plan)}
        path = options.out / study.name
        path.with_suffix(".json").write_text(json.dumps(document, indent=1) + "\n", "utf-8")
        path.with_suffix(".svg").write_text(lines(document), "utf-8")
        print(f"{path}.svg, and .json")


def run(case: Case, keys: Sequence[str], options: argparse.Namespace) -> dict[str, Any]:
    plan = measure.Plan(options.rounds, options.seconds)
    runs = {"cpu": measure.run, "memory": idle.run_memory, "p99": idle.run_load}
    return runs[case.figure](case, keys, plan)


def circumstances(options: argparse.Namespace) -> dict[str, Any]:
    """Everything that the figures depend on."""
    return {
        "date": datetime.date.today().isoformat(),
        "command": command(),
        "rounds": options.rounds,
        "seconds": options.seconds,
        "machine": machine(),
        "versions": versions(options.servers),
    }


def command() -> str:
    """As it was typed: make keeps what was given on its command line in MAKEFLAGS."""
    if "MAKELEVEL" not in os.environ:
        return shlex.join(sys.argv).replace(f"{ROOT}/", "")
    given = os.environ.get("MAKEFLAGS", "").partition("-- ")[2]
    return " ".join(["make bench", *shlex.split(given)])


def versions(servers: Sequence[str]) -> dict[str, str]:
    found = {
        "CPython": "{}.{}.{}".format(*sys.version_info),
        "nginx": version_of([nginx.executable() or "nginx", "-v"]),
        "wrk": version_of(["wrk", "-v"]),
    }
    for key in PEERS:
        if key in servers:
            found[key] = KINDS[key].program_version()
    return found


def raise_file_limit() -> None:
    """Every connection is a file, here and in the servers. More would only cost uWSGI memory."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = 65536 if hard == resource.RLIM_INFINITY else min(hard, 65536)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def write(document: dict[str, Any], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "latest.json").write_text(json.dumps(document, indent=1) + "\n", "utf-8")
    (folder / "latest.md").write_text(page(document), "utf-8")
    (folder / "latest.svg").write_text(ratios(document), "utf-8")


def put_into_readme(table: str) -> None:
    """Between two comments that nobody sees."""
    path = ROOT / "README.md"
    begin, end = "<!-- make bench -->\n", "<!-- /make bench -->"
    before, found, rest = path.read_text("utf-8").partition(begin)
    _, found_too, after = rest.partition(end)
    if not (found and found_too):
        sys.exit(f"README.md: there is no {begin.strip()} or no {end} after it")
    path.write_text(f"{before}{begin}{table}{end}{after}", "utf-8")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
