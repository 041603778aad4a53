"""Requests under load, through nginx, while processes are reloaded, replaced and killed.

Each test has a short version; the long ones run with `make soak`.
"""

from __future__ import annotations

import random
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Callable

import pytest

from harness import Report, Site, Starter, wait_until
from harness.process import kill

WORKERS = 3
THREADS = 2

#: A failure belongs to a kill when the request was running then, give or take so many seconds:
#: the kernel, nginx and the load generator each have to notice.
MARGIN = 0.5

soak = [pytest.mark.soak, pytest.mark.timeout(900)]


@pytest.fixture
def site(start: Starter) -> Site:
    return start.site("reliable:application", "--workers", str(WORKERS), "--threads", str(THREADS))


def wait_for_all_workers(site: Site, but: frozenset[int] = frozenset()) -> set[int]:
    """The workers, when there are as many as there should be and none is one of `but`."""

    def complete() -> set[int]:
        pids = site.spile.worker_pids()
        return pids if len(pids) >= WORKERS and not pids & but else set()

    # One that died young is started again after a pause.
    return wait_until(complete, "all workers to run", patience=60)


def assert_nothing_lost(report: Report) -> None:
    assert report.answered > 0
    assert report.lost == 0, str(report)


def assert_lost_at_most_in_hand(report: Report, kills: list[float]) -> None:
    """No more than the workers were answering when they were killed, and nothing at other times."""
    assert report.answered > 0
    assert kills
    assert report.lost <= len(kills) * THREADS, f"{len(kills)} kills: {report}"
    unexplained = [f for f in report.failures if f not in report.lost_at(kills, MARGIN)]
    assert not unexplained, f"{unexplained} at none of {kills}"
    # nginx's word for a worker that went away in the middle of a request.
    assert set(report.document["failed"]) <= {"status 502", "incomplete"}, str(report)


class Repeated(threading.Thread):
    """Does something again and again beside the test, until `finish`."""

    def __init__(self, act: Callable[[], None], pause: Callable[[], float]) -> None:
        super().__init__()
        self._act = act
        self._pause = pause
        self._end = threading.Event()
        self._error: BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            while not self._end.wait(self._pause()):
                self._act()
        except BaseException as error:
            self._error = error

    def finish(self) -> None:
        self._end.set()
        self.join()
        if self._error:
            raise self._error


class Killer:
    """Kills processes with -9 and remembers when."""

    def __init__(self, choose: Callable[[], set[int]]) -> None:
        self._choose = choose
        self.times: list[float] = []

    def __call__(self) -> None:
        pids = self._choose()
        if pids:
            self.times.append(time.time())
            kill(random.choice(sorted(pids)), signal.SIGKILL)


@contextmanager
def at_random(act: Callable[[], None], between: tuple[float, float]) -> Iterator[None]:
    repeated = Repeated(act, lambda: random.uniform(*between))
    try:
        yield
    finally:
        repeated.finish()


def last(seconds: float) -> None:
    """Lets the load, and what happens beside it, go on for so long."""
    threading.Event().wait(seconds)


# Reload.


@pytest.mark.parametrize(
    "times", [pytest.param(5, id="5 times"), pytest.param(100, id="100 times", marks=soak)]
)
def test_a_reload_loses_nothing(start: Starter, site: Site, times: int) -> None:
    load = start.load(site.port())
    for _ in range(times):
        before = site.spile.worker_pids()
        site.spile.reload()
        # They finish what they have, and nobody waits for that.
        wait_until(lambda: not before & site.spile.worker_pids(), "the old workers to end")  # noqa: B023
    assert_nothing_lost(load.stop())


def test_requests_are_answered_while_the_application_is_imported_anew(start: Starter) -> None:
    import_seconds = 3.0
    site = start.site(
        *("reliable:application", "--workers", str(WORKERS)),
        env={"RELIABLE_IMPORT_SECONDS": str(import_seconds)},
    )
    wait_for_all_workers(site)
    load = start.load(site.port())
    site.spile.reload()
    report = load.stop()
    assert_nothing_lost(report)
    assert report.longest_wait < import_seconds - 1, str(report)


def test_connections_that_are_not_kept_are_served_during_a_reload(
    start: Starter, site: Site
) -> None:
    load = start.load(site.port(), "--close")
    for _ in range(3):
        site.spile.reload()
    assert_nothing_lost(load.stop())


# Death.


@pytest.mark.parametrize(
    "seconds", [pytest.param(4, id="4 s"), pytest.param(60, id="1 min", marks=soak)]
)
def test_killed_workers_lose_what_they_had_in_hand(
    start: Starter, site: Site, seconds: float
) -> None:
    wait_for_all_workers(site)
    killer = Killer(site.spile.worker_pids)
    load = start.load(site.port())
    with at_random(killer, between=(0.1, 0.8)):
        last(seconds)
    report = load.stop()
    assert_lost_at_most_in_hand(report, killer.times)
    wait_for_all_workers(site)


@pytest.mark.parametrize(
    "seconds", [pytest.param(4, id="4 s"), pytest.param(60, id="1 min", marks=soak)]
)
def test_workers_are_killed_while_reloads_go_on(start: Starter, site: Site, seconds: float) -> None:
    wait_for_all_workers(site)
    killer = Killer(site.spile.worker_pids)
    load = start.load(site.port())
    with at_random(killer, between=(0.1, 0.8)), at_random(site.spile.reload, between=(0.0, 0.2)):
        last(seconds)
    report = load.stop()
    assert_lost_at_most_in_hand(report, killer.times)
    site.spile.reload()
    wait_for_all_workers(site)


@pytest.mark.parametrize(
    ("seconds", "between"),
    [
        pytest.param(3, (0.5, 1.0), id="3 s"),
        pytest.param(60, (0.1, 6.0), id="1 min", marks=soak),
    ],
)
def test_a_killed_mold_loses_nothing(
    start: Starter, site: Site, seconds: float, between: tuple[float, float]
) -> None:
    wait_for_all_workers(site)
    killer = Killer(site.spile.mold_pids)
    load = start.load(site.port())
    with at_random(killer, between=between):
        last(seconds)
    report = load.stop()
    assert killer.times
    assert_nothing_lost(report)


def test_a_killed_master_leaves_nobody_behind_under_load(start: Starter, site: Site) -> None:
    wait_for_all_workers(site)
    load = start.load(site.port())
    killed = time.time()
    site.spile.signal(signal.SIGKILL)
    site.spile.wait()
    wait_until(lambda: not site.spile.family(), "mold and workers to follow the master")
    report = load.stop()
    assert all(failure.began + failure.seconds > killed for failure in report.failures)


@pytest.mark.parametrize("path", ["/crash", "/exit?status=0", "/exit?status=3"])
def test_an_application_that_ends_its_worker_costs_no_other_request(
    start: Starter, path: str
) -> None:
    """gunicorn stops altogether when a worker exits with status 3."""
    site = start.site("reliable:application", "--workers", str(WORKERS))
    wait_for_all_workers(site)
    load = start.load(site.port())
    for _ in range(3):
        assert site.get(path).status == 502
    assert_nothing_lost(load.stop())
    wait_for_all_workers(site)


# Limits.


def test_workers_that_are_replaced_after_so_many_requests_lose_nothing(start: Starter) -> None:
    site = start.site(
        *("reliable:application", "--workers", str(WORKERS), "--threads", str(THREADS)),
        *("--max-requests", "50", "--max-requests-jitter", "20"),
    )
    before = frozenset(wait_for_all_workers(site))
    load = start.load(site.port())
    wait_for_all_workers(site, but=before)
    assert_nothing_lost(load.stop())


def test_a_worker_that_grows_is_replaced_without_loss(start: Starter) -> None:
    site = start.site("reliable:application", "--workers", "2", "--max-rss", "200")
    load = start.load(site.port(), rate=100)
    grown = int(site.get("/grow?mb=250").text)
    wait_until(lambda: grown not in site.spile.family(), "the worker to be replaced")
    assert_nothing_lost(load.stop())


@pytest.mark.parametrize("view", ["spin", "hang"])
def test_a_request_that_hangs_costs_no_other_request(start: Starter, view: str) -> None:
    """What runs Python gets an exception; what never returns to Python costs its worker."""
    site = start.site("reliable:application", "--workers", "2", "--request-timeout", "1")
    load = start.load(site.port(), rate=100)
    assert site.get(f"/{view}").status == 504
    assert_nothing_lost(load.stop())
    assert f"in {view}" in site.spile.log
