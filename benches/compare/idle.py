"""Silent connections: what they cost in memory, and what they do to a load beside them."""

from __future__ import annotations

import contextlib
import os
import resource
import socket
import time
from collections.abc import Iterator, Sequence
from statistics import median
from typing import Any

from cases import Case
from gauge import pss_mib
from measure import Plan, Row, Stage, say, started
from servers import KINDS

from harness.waiting import wait_until

#: Descriptors of a process that are no connections.
OTHER_FILES = 500
#: Seconds without one more connection, after which the server takes no more.
PATIENCE = 2.0


def run_memory(case: Case, keys: Sequence[str], plan: Plan) -> dict[str, Any]:
    """The growth of a server that has just been started, for each connection that it took.

    Memory of the kernel, which a socket has too, is in nobody's PSS and is not counted.
    """
    count = affordable(case.silent)
    rows = {key: Row(key) for key in keys}
    costs: dict[str, list[float]] = {key: [] for key in keys}
    for _ in range(plan.rounds):
        for key in keys:
            if rows[key].failure or rows[key].note:
                continue
            with started(case, [key]) as stage:
                rows[key].failure = stage.rows[key].failure
                rows[key].command = stage.rows[key].command
                if rows[key].failure:
                    continue
                taken, waiting, cost = growth(stage, key, count)
            if taken < count:
                rows[key].note = (
                    f"holds {taken} of {count:,}; {waiting} wait in its listen queue, and the "
                    "others cannot connect"
                )
            else:
                costs[key].append(cost)
                say(f"  {key}: {cost:.0f} bytes for each of {taken} connections")
    documents = []
    for key, row in rows.items():
        document = row.document()
        if costs[key]:
            cost = document["bytes_per_connection"] = round(median(costs[key]), 1)
            document["note"] = f"{cost:,.0f} bytes for each of {count:,}"
        documents.append(document)
    return {"rows": documents, "connections": count}


def growth(stage: Stage, key: str, count: int) -> tuple[int, int, float]:
    """How many connections the server took, how many wait, and bytes for each that it took."""
    server = stage.servers[key]
    # What a first request loads is no cost of connections.
    stage.load(key, stage.case.load, 1)
    family = server.family()
    before, files = pss_mib(family), descriptors(family)
    with silence(str(server.socket), count, lambda: descriptors(family) - files) as held:
        grown = pss_mib(family) - before
    taken, waiting = held
    return taken, waiting, grown * 2**20 / max(taken, 1)


def run_load(case: Case, keys: Sequence[str], plan: Plan) -> dict[str, Any]:
    """Rounds without and with silent connections, in turn."""
    count = affordable(case.silent)
    (key,) = keys
    with started(case, keys) as stage:
        beside = stage.rows[key]
        alone = Row(case.against, f"{KINDS[key].name} without")
        if not beside.failure:
            stage.attempt(key, lambda: alternate(stage, key, plan, alone, count))
    return {"rows": [beside.document(), alone.document()], "connections": count}


def alternate(stage: Stage, key: str, plan: Plan, alone: Row, count: int) -> None:
    server, load = stage.servers[key], stage.case.load
    beside = stage.rows[key]
    family = server.family()
    stage.load(key, load, 1)
    for _ in range(plan.rounds):
        # Each after a second of load, when what opening the connections did has worn off.
        stage.load(key, load, 1)
        stage.measure(key, load, plan.seconds, alone)
        alone.pss_mib = pss_mib(family)
        files = descriptors(family)
        with silence(
            str(server.socket), count, lambda files=files: descriptors(family) - files
        ) as (taken, _):
            assert taken == count, f"it took only {taken} of {count} connections"
            stage.load(key, load, 1)
            stage.measure(key, load, plan.seconds, beside)
            beside.pss_mib = pss_mib(family)


@contextlib.contextmanager
def silence(path: str, count: int, taken: Any) -> Iterator[tuple[int, int]]:
    """Connections that send nothing: how many of them the server holds, and how many wait."""
    with contextlib.ExitStack() as stack:
        most, since = 0, time.monotonic()
        opened = 0
        while most < count and time.monotonic() - since < PATIENCE:
            while opened < count:
                sock = socket.socket(socket.AF_UNIX)
                sock.setblocking(False)
                try:
                    sock.connect(path)
                except BlockingIOError:
                    # Its queue is full.
                    sock.close()
                    break
                stack.callback(sock.close)
                opened += 1
            if (now := taken()) > most:
                most, since = now, time.monotonic()
            time.sleep(0.002)
        yield min(most, count), opened - min(most, count)
    wait_until(lambda: taken() <= 0, "the server to close the silent connections", patience=60)


def descriptors(pids: set[int]) -> int:
    """Open files of all these processes."""
    return sum(len(os.listdir(f"/proc/{pid}/fd")) for pid in pids)


def affordable(count: int) -> int:
    """As many connections as this machine lets a process have."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return min(count, soft - OTHER_FILES)
