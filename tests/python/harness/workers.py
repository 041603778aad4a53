"""Which processes of a spile are what, seen from outside."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import Any

from harness.spile import Spile
from harness.waiting import wait_until


def answers(spile: Spile, count: int = 1, path: str = "/") -> dict[int, dict[str, Any]]:
    """What each of so many workers answers, by pid; the application says it as `served_by`."""
    seen: dict[int, dict[str, Any]] = {}

    def all_seen() -> bool:
        # Requests at the same time go to several workers.
        connections = [spile.connect() for _ in range(2 * count)]
        for connection in connections:
            connection.request(path)
        for connection in connections:
            said = json.loads(connection.answer().body)
            seen[said["served_by"]] = said
            connection.close()
        return len(seen) >= count

    wait_until(all_seen, f"{count} workers to serve")
    return seen


def mold_of(spile: Spile) -> int:
    """The master's child; the workers are children of it."""
    for pid in spile.family() - {spile.pid}:
        parent = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        if parent == spile.pid:
            return pid
    raise AssertionError("there is no mold")


def stats(spile: Spile) -> dict[str, Any]:
    """What `spile stats` prints."""
    finished = spile.control("stats")
    assert finished.status == 0, finished.err
    document: dict[str, Any] = json.loads(finished.out)
    return document


def wait_until_closed(spile: Spile, path: Path) -> None:
    """Waits until no process of it has this file open."""

    def is_open_in(pid: int) -> bool:
        # Processes end and descriptors are closed meanwhile.
        with contextlib.suppress(OSError):
            for descriptor in Path(f"/proc/{pid}/fd").iterdir():
                with contextlib.suppress(OSError):
                    if os.readlink(descriptor) == str(path):
                        return True
        return False

    wait_until(lambda: not any(map(is_open_in, spile.family())), f"{path} to be closed")
