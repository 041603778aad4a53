"""What the processes of a spile take, over time."""

from __future__ import annotations

import statistics
import threading
import time
from dataclasses import dataclass

from harness.faults import descriptors
from harness.process import pss_kib, status_kib
from harness.spile import Spile
from harness.workers import mold_of, stats


@dataclass(frozen=True)
class Vitals:
    """One process at one moment; memory in KiB."""

    rss: int
    pss: int
    descriptors: int

    @classmethod
    def of(cls, pid: int) -> Vitals | None:
        """None when it ends just now."""
        try:
            return cls(status_kib(pid, "VmRSS"), pss_kib(pid), descriptors(pid))
        except (OSError, KeyError):
            return None


@dataclass(frozen=True)
class Sample:
    """All processes at one moment."""

    #: Seconds since the first.
    at: float
    master: Vitals
    mold: Vitals | None
    #: By process.
    workers: dict[int, Vitals]


class Watch(threading.Thread):
    """Takes a sample in every so many seconds until `finish`."""

    def __init__(self, spile: Spile, every: float) -> None:
        super().__init__(daemon=True)
        self._spile = spile
        self._every = every
        self._end = threading.Event()
        self.began = time.monotonic()
        self.samples: list[Sample] = []
        self.start()

    def run(self) -> None:
        while not self._end.wait(self._every):
            self.sample()

    def sample(self) -> None:
        master = Vitals.of(self._spile.pid)
        assert master
        workers = {pid: Vitals.of(pid) for pid in self._spile.worker_pids()}
        try:
            mold = Vitals.of(mold_of(self._spile))
        except (AssertionError, OSError, IndexError):
            mold = None
        alive = {pid: vitals for pid, vitals in workers.items() if vitals}
        at = time.monotonic() - self.began
        self.samples.append(Sample(at, master, mold, alive))

    def finish(self) -> None:
        self._end.set()
        self.join()
        self.sample()

    def near(self, at: float) -> Sample:
        """The sample nearest to a time."""
        return min(self.samples, key=lambda sample: abs(sample.at - at))

    def gone(self, lasting: set[int], begin: float = 0.625) -> set[int]:
        """The processes that a sample from then on does not have."""
        return {pid for it in self.between(begin, 1) for pid in lasting - it.workers.keys()}

    def between(self, begin: float, end: float) -> list[Sample]:
        """The samples of a part of all the time, from 0 to 1."""
        whole = self.samples[-1].at
        return [sample for sample in self.samples if begin <= sample.at / whole <= end]


@dataclass(frozen=True)
class Growth:
    """What a process took in two parts of the time: the medians, and what is let pass as noise."""

    what: str
    before: float
    after: float
    noise: float

    @property
    def is_too_much(self) -> bool:
        return self.after > self.before + self.noise

    def __str__(self) -> str:
        return f"{self.what}: {self.before:,.0f}, then {self.after:,.0f} (noise {self.noise:,.0f})"


def growth(watch: Watch, lasting: set[int]) -> list[Growth]:
    """What the master, and the workers that have lived since the middle, took more at the end.

    Of the master, the last quarter is set against the second; of the workers, the last eighth but
    one and the last against those that follow the middle, the first of which is their warm-up.
    """
    found = []
    early, late = watch.between(0.25, 0.5), watch.between(0.75, 1)
    for what, get, noise in [
        ("RSS of the master, KiB", lambda it: it.master.rss, 1024),
        ("descriptors of the master", lambda it: it.master.descriptors, 3),
    ]:
        before = statistics.median(map(get, early))
        found.append(Growth(what, before, statistics.median(map(get, late)), noise))
    early, late = watch.between(0.625, 0.75), watch.between(0.875, 1)
    for pid in sorted(lasting):
        for what, name, least, part in [
            (f"RSS of worker {pid}, KiB", "rss", 1024, 0.03),
            (f"descriptors of worker {pid}", "descriptors", 10, 0),
        ]:
            values = [
                statistics.median(getattr(it.workers[pid], name) for it in samples)
                for samples in (early, late)
            ]
            noise = least + part * values[0]
            found.append(Growth(what, *values, noise))
    return found


def workers_by_place(spile: Spile) -> dict[int, int]:
    """The process that serves in each place, by the place's number."""
    return {it["number"]: it["pid"] for it in stats(spile)["workers"] if it["state"] != "leaving"}
