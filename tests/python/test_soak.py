"""Mixed traffic for minutes or an hour, with reloads and kills: nothing grows, nothing is lost.

`make soak` runs it for four minutes, `make soak MINUTES=60` for an hour. In the first half of the
time the application is reloaded, workers and molds are killed and requests hang in C; in the second
half only one of the workers is killed again and again, so that the others grow old.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from typing import Callable

import pytest

from harness import Report, Site, Starter, visitors, wait_until
from harness.process import kill
from harness.visitors import Lost, Visitors
from harness.vitals import Growth, Sample, Watch, growth, workers_by_place
from harness.workers import mold_of, stats

MINUTES = float(os.environ.get("SOAK_MINUTES", 4))

WORKERS = 3
THREADS = 2
#: The only place whose worker is killed in the second half.
SACRIFICED = 3

#: Seconds of one request before it is interrupted.
REQUEST_TIMEOUT = 5

#: The kernel, nginx and the clients each have to notice a kill: seconds.
MARGIN = 1.0


class Disturbances:
    """What goes wrong, and when; times are seconds since 1970."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self.reloads = 0
        self.worker_kills: list[float] = []
        self.mold_kills: list[float] = []
        self._due: dict[Callable[[], None], float] = {}

    def last(self, seconds: float, acts: dict[Callable[[], None], float]) -> None:
        """For so long, does each of these once in so many seconds."""
        end = time.monotonic() + seconds
        due = {act: time.monotonic() + pause for act, pause in acts.items()}
        while time.monotonic() < end:
            act = min(due, key=due.__getitem__)
            time.sleep(max(0.0, min(due[act], end) - time.monotonic()))
            if due[act] <= time.monotonic() < end:
                act()
                due[act] = time.monotonic() + acts[act] * random.uniform(0.7, 1.3)

    def reload(self) -> None:
        self._site.spile.reload()
        self.reloads += 1

    def kill_worker(self) -> None:
        self._kill(random.choice(list(workers_by_place(self._site.spile).values())))

    def kill_one_worker(self) -> None:
        pid = workers_by_place(self._site.spile).get(SACRIFICED)
        if pid:
            self._kill(pid)

    def _kill(self, pid: int) -> None:
        self.worker_kills.append(time.time())
        kill(pid, signal.SIGKILL)

    def kill_mold(self) -> None:
        self.mold_kills.append(time.time())
        kill(mold_of(self._site.spile), signal.SIGKILL)

    def reopen_logs(self) -> None:
        self._site.spile.signal(signal.SIGUSR1)


@pytest.mark.soak
@pytest.mark.timeout(int(MINUTES * 60) + 300)
def test_mixed_traffic(start: Starter, capsys: pytest.CaptureFixture[str]) -> None:
    folder = start.folder()
    site = start.site(
        *("mixed:application", "--workers", str(WORKERS), "--threads", str(THREADS)),
        *("--request-timeout", str(REQUEST_TIMEOUT), "--access-log", f"{folder}/access.log"),
        servers={"unbuffered": ["uwsgi_buffering off;", "uwsgi_request_buffering off;"]},
    )
    site.spile.wait_for_log("ready")
    seconds = MINUTES * 60
    limit = seconds + 120
    loads = [
        start.load(site.port(), rate=120, limit=limit),
        start.load(site.port(), "--close", "--size", "100000", rate=30, limit=limit),
    ]
    guests = Visitors(site)
    guests.begin("form", visitors.form, every=0.2)
    guests.begin("upload", visitors.upload, every=0.5)
    guests.begin("download", visitors.download, every=0.5)
    guests.begin("stream", visitors.stream, every=0.5)
    guests.begin("abort", visitors.abort, every=0.5)
    guests.begin("error", visitors.error, every=1)
    guests.begin("wrong packet", visitors.wrong, every=1)
    guests.begin("slow client", visitors.slow, every=1, count=5)
    guests.begin("silent client", visitors.silent, every=0.5, count=5)
    guests.begin("interrupted", visitors.spin, every=20)
    bad = Visitors(site)
    bad.begin("hanging in C", visitors.hang, every=45)
    watch = Watch(site.spile, every=max(2.0, seconds / 400))
    disturbances = Disturbances(site)
    disturbances.last(
        seconds / 2 - 10,
        {
            disturbances.reload: 30,
            disturbances.kill_worker: 20,
            disturbances.kill_mold: 75,
            disturbances.reopen_logs: 60,
        },
    )
    bad.finish()
    disturbances.reload()
    lasting = {pid for number, pid in workers_by_place(site.spile).items() if number != SACRIFICED}
    disturbances.last(seconds / 2, {disturbances.kill_one_worker: 20, disturbances.reopen_logs: 60})
    guests.finish()
    reports = [load.stop() for load in loads]
    watch.finish()
    wait_until(lambda: stats(site.spile)["totals"]["in_flight"] == 0, "all connections to end")
    totals = stats(site.spile)["totals"]
    gone = watch.gone(lasting)
    grown = growth(watch, lasting - gone)
    outcome = Outcome(reports, [guests, bad], disturbances)
    with capsys.disabled():
        print(closing_table(outcome, watch, grown, totals))
    assert not outcome.unexplained, outcome.unexplained
    assert all(report.answered > 0 for report in reports)
    assert len(outcome.explained) <= outcome.most_in_hand
    named = [f"process {pid}" for pid in gone]
    log = site.spile.log.splitlines()
    assert not gone, [line for line in log if any(name in line for name in named)]
    too_much = [str(it) for it in grown if it.is_too_much]
    assert not too_much, too_much


class Outcome:
    """What became of the requests."""

    def __init__(
        self, reports: list[Report], guests: list[Visitors], disturbances: Disturbances
    ) -> None:
        self.disturbances = disturbances
        self.asked: Counter[str] = Counter()
        for who in guests:
            self.asked.update(who.asked)
        self.asked["load"] = sum(report.requests for report in reports)
        lost = [one for who in guests for one in who.lost]
        for report in reports:
            lost += [
                Lost("load", it.kind, it.began, it.began + it.seconds) for it in report.failures
            ]
        kills = disturbances.worker_kills
        self.explained = [
            it
            for it in lost
            if any(it.began - MARGIN <= when <= it.ended + MARGIN for when in kills)
        ]
        self.unexplained = [it for it in lost if it not in self.explained]
        #: A worker has a request in each thread, and what its slow clients send and take.
        self.most_in_hand = len(kills) * (THREADS + 6)


def closing_table(
    outcome: Outcome, watch: Watch, grown: list[Growth], totals: dict[str, object]
) -> str:
    did = outcome.disturbances
    lines = ["", "", "| requests | asked | lost with a killed worker | lost otherwise |"]
    lines.append("| --- | ---: | ---: | ---: |")
    explained = Counter(it.kind for it in outcome.explained)
    unexplained = Counter(it.kind for it in outcome.unexplained)
    for kind, asked in sorted(outcome.asked.items()):
        lines.append(f"| {kind} | {asked} | {explained[kind]} | {unexplained[kind]} |")
    asked = sum(outcome.asked.values())
    lines.append(f"| all | {asked} | {sum(explained.values())} | {sum(unexplained.values())} |")
    lines += [
        "",
        f"{did.reloads} reloads, {len(did.worker_kills)} workers and {len(did.mold_kills)} molds "
        f"killed; restarts {totals['restarts']}, lines lost of the access log "
        f"{totals['access_log_dropped']}",
        "",
        "| minute | master RSS | mold PSS | PSS of all workers | descriptors of the master "
        "| of the workers |",
    ]
    lines.append("| ---: | ---: | ---: | ---: | ---: | ---: |")
    whole = watch.samples[-1].at
    moments = [60.0, *(minute * 60.0 for minute in range(5, 1000, 5)), whole]
    if whole < 600:
        moments = [minute * 60.0 for minute in range(1, 10)] + [whole]
    for at in sorted({min(moment, whole) for moment in moments}):
        lines.append(row(watch.near(at)))
    lines += ["", "growth:", *(f"  {it}" for it in grown), ""]
    return "\n".join(lines)


def row(sample: Sample) -> str:
    """Memory in MiB."""
    workers = sample.workers.values()
    return (
        f"| {sample.at / 60:.0f} | {sample.master.rss / 1024:.1f} "
        f"| {sample.mold.pss / 1024 if sample.mold else 0:.1f} "
        f"| {sum(it.pss for it in workers) / 1024:.1f} ({len(workers)}) "
        f"| {sample.master.descriptors} | {sum(it.descriptors for it in workers)} |"
    )
