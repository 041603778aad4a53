"""Runs one case: starts its servers behind one nginx, and loads them in turn, round after round."""

from __future__ import annotations

import contextlib
import dataclasses
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from cases import Case
from front import Front, Upstream
from gauge import Load, MeasurementError, Seen, cpu_seconds, pss_mib
from servers import KINDS, Server, Work, failure_of

from harness import DISTRIBUTION_PARAMS, Connection, fetch

#: What can go wrong with a server without being the end of the run.
FAILURES = (AssertionError, OSError, MeasurementError)


@dataclass(frozen=True)
class Plan:
    """How long everything is measured."""

    rounds: int
    #: Of each server in each round.
    seconds: int


@dataclass
class Row:
    """What one server did in a case."""

    server: str
    #: What tables call it, if not as the server.
    name: str = ""
    #: How it was started.
    command: str = ""
    #: Why there are no figures.
    failure: str = ""
    #: Something that a reader has to know.
    note: str = ""
    seen: list[Seen] = field(default_factory=list)
    #: Microseconds of processor time a request, a figure a round: the server's, and nginx's.
    cpu_us: list[float] = field(default_factory=list)
    nginx_cpu_us: list[float] = field(default_factory=list)
    #: MiB of all its processes, after the last round.
    pss_mib: float = 0.0

    def document(self) -> dict[str, Any]:
        """Medians over the rounds, and each round's processor time."""
        name = self.name or KINDS[self.server].name
        known: dict[str, Any] = {"server": self.server, "name": name}
        if self.command:
            known["command"] = self.command
        if self.note:
            known["note"] = self.note
        if self.failure:
            return {**known, "failure": self.failure}
        if not self.seen:
            return known
        return {
            **known,
            "cpu_us": round(median(self.cpu_us), 3),
            "cpu_us_of_rounds": [round(one, 3) for one in self.cpu_us],
            "nginx_cpu_us": round(median(self.nginx_cpu_us), 3),
            "requests_per_second": round(median(one.rate for one in self.seen), 1),
            "p50_ms": round(median(one.p50 for one in self.seen), 3),
            "p99_ms": round(median(one.p99 for one in self.seen), 3),
            "p999_ms": round(median(one.p999 for one in self.seen), 3),
            "errors": sum(one.errors for one in self.seen),
            "requests": round(sum(one.requests for one in self.seen)),
            "pss_mib": round(self.pss_mib, 1),
        }


def run(case: Case, keys: Sequence[str], plan: Plan) -> dict[str, Any]:
    """The rows of a case, and the rate of its load if that was paced."""
    with started(case, keys) as stage:
        load = case.load
        if case.part_of_full is not None and stage.servers:
            rate = stage.full_rate(plan) * case.part_of_full
            load = dataclasses.replace(load, rate=round(rate))
        for key in [*stage.servers]:
            stage.attempt(key, lambda key=key: stage.load(key, load, 1))
        for _ in range(plan.rounds):
            for key in [*stage.servers]:
                stage.attempt(key, lambda key=key: stage.measure(key, load, plan.seconds))
        for key in [*stage.servers]:
            stage.attempt(key, lambda key=key: stage.weigh(key))
        return {
            "rows": [row.document() for row in stage.rows.values()],
            **({"rate": load.rate} if load.rate else {}),
        }


class Stage:
    """The servers of a case, and the nginx before them."""

    def __init__(self, case: Case, front: Front, servers: dict[str, Server]) -> None:
        self.case = case
        self.front = front
        #: Those that work.
        self.servers = servers
        self.rows: dict[str, Row] = {}

    def load(self, key: str, load: Load, seconds: int) -> Seen:
        return load.run(self.front.port(key), self.case.path, seconds)

    def full_rate(self, plan: Plan) -> float:
        """Requests a second that the server which is held against can answer."""
        key = self.case.against if self.case.against in self.servers else next(iter(self.servers))
        seen = self.load(key, dataclasses.replace(self.case.load, rate=None), plan.seconds)
        return seen.rate

    def measure(self, key: str, load: Load, seconds: int, row: Row | None = None) -> None:
        """One round of one server."""
        row = row or self.rows[key]
        # Asked anew: a server may have replaced its processes.
        family, front = self.servers[key].family(), self.front.family()
        before, front_before = cpu_seconds(family), cpu_seconds(front)
        seen = self.load(key, load, seconds)
        spent, front_spent = cpu_seconds(family) - before, cpu_seconds(front) - front_before
        if not seen.requests:
            raise MeasurementError(f"no request was answered, {seen.errors} failed")
        row.seen.append(seen)
        row.cpu_us.append(spent * 1e6 / seen.requests)
        row.nginx_cpu_us.append(front_spent * 1e6 / seen.requests)
        say(
            f"  {row.server}: {row.cpu_us[-1]:.2f} us a request, {seen.rate:.0f} requests/s, "
            f"p99 {seen.p99:.2f} ms, {seen.errors} errors"
        )

    def weigh(self, key: str) -> None:
        self.rows[key].pss_mib = pss_mib(self.servers[key].family())

    def attempt(self, key: str, step: Any) -> None:
        """A step of one server; when it fails that server is out."""
        try:
            step()
        except FAILURES as error:
            self.rows[key].failure = failure_of(error)
            self.servers.pop(key).destroy()
            say(f"  {key}: {self.rows[key].failure}")


@contextlib.contextmanager
def started(case: Case, keys: Sequence[str]) -> Iterator[Stage]:
    """The servers of a case, each of which has given the right answer once."""
    say(f"{case.name}: {', '.join(keys)}")
    rows = {key: Row(key) for key in keys}
    servers: dict[str, Server] = {}
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="spile-bench-")))
        work = with_file(case, folder)
        for key in keys:
            try:
                if key == "floor":
                    write_response(case, folder, servers)
                server = Server(KINDS[key], work, folder)
                stack.callback(server.destroy)
                rows[key].command = server.shown()
                servers[key] = server.wait_ready()
            except FAILURES as error:
                rows[key].failure = failure_of(error)
                say(f"  {key}: {rows[key].failure}")
        front = Front(folder, upstreams(case, servers))
        stack.callback(front.destroy)
        stage = Stage(case, front.wait_ready(), servers)
        stage.rows = rows
        for key in [*servers]:
            stage.attempt(key, lambda key=key: check_answer(case, front.port(key)))
        yield stage


def with_file(case: Case, folder: Path) -> Work:
    """The work, with the file that it is about."""
    if not case.file:
        return case.work
    path = folder / "file"
    with path.open("wb") as file:
        piece = bytes(range(256)) * 4096
        for _ in range(case.file // len(piece)):
            file.write(piece)
    return dataclasses.replace(case.work, environment={"BENCH_FILE": str(path)})


def write_response(case: Case, folder: Path, servers: Mapping[str, Server]) -> None:
    """The floor sends the very bytes that the server does which it is compared with."""
    if not servers:
        raise MeasurementError("there is no server whose answer it could send")
    first = next(iter(servers.values()))
    with Connection(str(first.socket)) as connection:
        received, _ = connection.request(case.path).read_to_end()
    (folder / "response").write_bytes(received)


def upstreams(case: Case, servers: Mapping[str, Server]) -> dict[str, Upstream]:
    return {
        key: Upstream(
            server.socket, server.kind.protocol, case.directives, case.params or DISTRIBUTION_PARAMS
        )
        for key, server in servers.items()
    }


def check_answer(case: Case, port: int) -> None:
    """The right answer, from every server: what is compared is the same."""
    method = "GET" if case.post is None else "POST"
    answer = fetch(port, case.path, method, body=case.post, timeout=60)
    wanted = case.answer
    right = len(answer.body) == wanted if isinstance(wanted, int) else answer.body == wanted
    if answer.status != 200 or not right:
        raise MeasurementError(
            f"status {answer.status} and {len(answer.body)} bytes: {answer.text[:100]!r}"
        )


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
