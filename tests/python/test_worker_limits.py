"""Workers that have done enough, or taken too much, are replaced without losing a request."""

from __future__ import annotations

import os
import re
import signal
import threading
from pathlib import Path

import pytest
from test_reload import children, load

from harness import APPS, Starter, wait_until


def test_after_so_many_requests(start: Starter) -> None:
    site = start.site("greedy", "-w", "2", "--max-requests", "20", "--max-requests-jitter", "5")
    site.spile.wait_for_log("ready")
    seen: set[str] = set()

    def several() -> bool:
        answer = site.get("/pid")
        assert answer.status == 200
        seen.add(answer.text)
        return len(seen) >= 5

    wait_until(several, "five workers to have served")
    assert "has left: max-requests" in site.spile.log
    assert "ERROR" not in site.spile.log


def test_no_request_is_lost_when_workers_are_replaced(start: Starter) -> None:
    site = start.site("greedy", "-w", "2", "-t", "2", "--max-requests", "50")
    site.spile.wait_for_log("ready")
    with load(site, "/pid") as wrong:
        wait_until(
            lambda: site.spile.log.count("max-requests") >= 8, "eight workers to be replaced"
        )
    assert not wrong


#: Its mold says nothing of a worker before that has answered a request, so the last it may.
LATE = """
import os, time
from greedy import application

def wait():
    while not os.path.exists("answered"):
        time.sleep(0.01)

os.register_at_fork(after_in_parent=wait)
"""


def test_one_that_had_enough_before_it_was_known_to_serve(start: Starter, tmp_path: Path) -> None:
    (tmp_path / "late.py").write_text(LATE)
    arguments = ("--max-requests", "1", "--pythonpath", str(APPS))
    site = start.site("late:application", *arguments, cwd=tmp_path)
    first = site.get("/pid").text
    (tmp_path / "answered").touch()
    wait_until(lambda: site.get("/pid").text != first, "another worker to serve")
    site.spile.wait_for_log(f"(process {first}) has left: max-requests")


def test_for_its_memory(start: Starter) -> None:
    site = start.site("greedy", "--max-rss", "150", "--max-rss-kill", "1000")
    before = site.get("/pid").text
    assert site.get("/grow?150").text == before
    wait_until(lambda: site.get("/pid").text != before, "another worker to serve")
    site.spile.wait_for_log(f"(process {before}) has left: max-rss")
    assert re.search(
        rf"\(process {before}\) uses \d+ MiB, above --max-rss 150: it is replaced", site.spile.log
    )


def test_a_hard_limit_kills(start: Starter) -> None:
    site = start.site("greedy", "--max-rss-kill", "150")
    before = site.get("/pid").text
    site.get("/grow?200")
    wait_until(lambda: site.get("/pid").text != before, "another worker to serve")
    site.spile.wait_for_log(f"(process {before}) uses")
    site.spile.wait_for_log("it is killed")


def test_for_its_age(start: Starter) -> None:
    site = start.site("greedy", "--max-worker-lifetime", "0.5")
    site.spile.wait_for_log("ready")
    before = site.get("/pid").text
    with load(site, "/pid") as wrong:
        site.spile.wait_for_log(f"(process {before}) has left: lifetime")
    assert not wrong


def test_the_log_names_the_request_that_killed_a_worker(start: Starter) -> None:
    site = start.site("greedy")
    assert site.get("/crash").status == 502
    site.spile.wait_for_log("another starts at once")
    assert re.search(
        r"worker 1 \(process \d+\) was killed by signal 11 \(SIGSEGV\).* running GET /crash for \d",
        site.spile.log,
    )
    assert site.get("/pid").status == 200


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_worker_that_is_told_to_leave_by_hand_is_replaced(start: Starter, number: int) -> None:
    site = start.site("greedy", "-w", "2")
    site.spile.wait_for_log("ready")
    with load(site, "/pid") as wrong:
        pid = int(site.get("/pid").text)
        os.kill(pid, number)
        site.spile.wait_for_log(f"(process {pid})")
        (mold,) = children(site.spile.pid)
        wait_until(lambda: len(set(children(mold)) - {pid}) == 2, "another worker")
    assert not wrong


def test_one_more_and_one_fewer(start: Starter) -> None:
    site = start.site("greedy")
    site.spile.wait_for_log("ready")
    (mold,) = children(site.spile.pid)
    with load(site, "/pid") as wrong:
        for number, expected in [
            (signal.SIGTTIN, 2),
            (signal.SIGTTIN, 3),
            (signal.SIGTTOU, 2),
            (signal.SIGTTOU, 1),
            (signal.SIGTTOU, 1),
        ]:
            site.spile.signal(number)
            wait_until(lambda: len(children(mold)) == expected, f"{expected} workers")  # noqa: B023
    assert not wrong


def test_workers_follow_the_load(start: Starter) -> None:
    site = start.site("greedy", "--workers-min", "1", "--workers-max", "3")
    site.spile.wait_for_log("ready")
    (mold,) = children(site.spile.pid)
    assert len(children(mold)) == 1
    stop = threading.Event()

    def ask() -> None:
        while not stop.is_set():
            site.get("/busy?0.2")

    clients = [threading.Thread(target=ask) for _ in range(4)]
    for client in clients:
        client.start()
    try:
        wait_until(lambda: len(children(mold)) == 3, "three workers", patience=30)
    finally:
        stop.set()
        for client in clients:
            client.join()
