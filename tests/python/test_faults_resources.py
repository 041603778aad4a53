"""No descriptors, no memory, no room on a disk: what fails, what is said, and what goes on."""

from __future__ import annotations

import contextlib
import resource
import signal
import socket
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from harness import Connection, Site, Spile, Starter, environ_for, packet, wait_until
from harness.faults import (
    SmallDisk,
    cpu_seconds,
    descriptors,
    with_descriptors,
    with_memory,
    without_descriptors,
)
from harness.process import kill, status_kib
from harness.workers import mold_of

NONE_LEFT = "no connection can be accepted"


def started(start: Starter, *arguments: str, workers: int = 1) -> Spile:
    """A spile whose workers serve."""
    spile = start.spile("faulty:application", "-w", str(workers), *arguments)
    spile.wait_for_log("ready")
    return spile


def only_worker(spile: Spile) -> int:
    return int(spile.ask("/pid").text)


# Descriptors.


@pytest.mark.parametrize("threads", ["1", "4", "40"])
def test_accepting_rests_without_descriptors_says_so_once_and_goes_on(
    start: Starter, threads: str
) -> None:
    spile = started(start, "-t", threads)
    worker = only_worker(spile)
    with contextlib.ExitStack() as clients:
        with with_descriptors(worker, spare=10):
            silent = [clients.enter_context(spile.connect()) for _ in range(40)]
            spile.wait_for_log(NONE_LEFT)
            before = cpu_seconds(worker)
            time.sleep(1)
            assert cpu_seconds(worker) - before < 0.2
            # Who got in is served, and makes room for another.
            assert silent[0].request("/pid").answer().text == str(worker)
        for connection in silent[1:]:
            assert connection.request("/pid").answer().text == str(worker)
    spile.wait_for_log("connections are accepted again")
    assert spile.log.count(NONE_LEFT) == 1
    assert "LimitNOFILE" in spile.log


def test_silent_clients_leave_the_application_descriptors(start: Starter) -> None:
    launcher = ["sh", "-c", 'ulimit -n 200 && exec "$@"', "sh"]
    spile = start.spile("faulty:application", launcher=launcher)
    spile.wait_for_log("ready")
    worker = only_worker(spile)
    with contextlib.ExitStack() as clients:
        silent = [clients.enter_context(spile.connect()) for _ in range(300)]
        spile.wait_for_log("150 connections are held, as many as may be")
        assert silent[0].request("/file").answer().status == 200
        assert silent[299].request("/pid") is silent[299]
        for connection in silent[1:299]:
            connection.close()
        assert silent[299].answer().text == str(worker)
    assert NONE_LEFT not in spile.log


def test_the_same_without_python(start: Starter) -> None:
    spile = start.spile("hello://")
    spile.wait_for_log("ready")
    assert spile.ask("/").status == 200
    with contextlib.ExitStack() as clients:
        with with_descriptors(spile.pid, spare=10):
            silent = [clients.enter_context(spile.connect()) for _ in range(40)]
            spile.wait_for_log(NONE_LEFT)
            before = cpu_seconds(spile.pid)
            time.sleep(1)
            assert cpu_seconds(spile.pid) - before < 0.2
        for connection in silent:
            assert connection.request("/").answer().status == 200
    spile.wait_for_log("connections are accepted again")
    assert spile.log.count(NONE_LEFT) == 1


#: Bytes of an upload that goes into a file, as it is longer than half of the memory for bodies.
FILE = 40_000_000


def test_an_application_and_an_upload_without_descriptors(start: Starter) -> None:
    spile = started(start)
    worker = only_worker(spile)
    before = descriptors(worker)
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(spile.connect()) for _ in range(3)]
        wait_until(lambda: descriptors(worker) == before + 3, "the connections to be accepted")
        with without_descriptors(worker):
            assert clients[0].request("/file").answer().status == 500
            head = environ_for("/length", "POST", CONTENT_LENGTH=str(FILE))
            clients[1].send(packet(head))
            with contextlib.suppress(OSError):
                clients[1].send(b"x" * 1_900_000)
            assert clients[1].answer().status == 507
        assert clients[2].request("/file").answer().status == 200
    assert spile.ask("/length", "POST", b"x" * 2_000_000).text == "2000000"
    assert "cannot be kept in a temporary file: Too many open files" in spile.log


def test_a_mold_without_descriptors_forks_when_it_has_some(start: Starter) -> None:
    spile = started(start, workers=2)
    mold = mold_of(spile)
    with without_descriptors(mold):
        kill(min(spile.worker_pids()), signal.SIGKILL)
        spile.wait_for_log("a worker cannot be forked: Too many open files")
        assert spile.ask("/pid").status == 200
    wait_until(lambda: len(spile.worker_pids()) == 2, "another worker")
    assert mold_of(spile) == mold


def test_a_reload_whose_workers_cannot_be_forked_fails_and_the_old_ones_go_on(
    start: Starter,
) -> None:
    spile = started(start, workers=30)
    first = spile.worker_pids()
    _, hard = resource.prlimit(spile.pid, resource.RLIMIT_NOFILE)
    # For the next mold, which holds one for each worker.
    limits = resource.prlimit(spile.pid, resource.RLIMIT_NOFILE, (34, hard))
    finished = spile.control("reload")
    assert finished.status == 1
    assert "error: a worker cannot be forked: Too many open files" in finished.err
    assert "a worker cannot be forked: Too many open files" in spile.log
    assert "the reload has failed, and the old workers go on" in spile.log
    wait_until(lambda: spile.worker_pids() == first, "the new workers to leave")
    resource.prlimit(spile.pid, resource.RLIMIT_NOFILE, limits)
    spile.reload()
    assert not spile.worker_pids() & first


def test_a_master_without_descriptors_goes_on(start: Starter) -> None:
    spile = started(start)
    first = only_worker(spile)
    with without_descriptors(spile.pid):
        spile.signal(signal.SIGHUP)
        spile.wait_for_log("the reload has failed, and the old workers go on")
        spile.signal(signal.SIGUSR2)
        spile.wait_for_log("a new master cannot be started, and this one goes on")
        assert only_worker(spile) == first
        kill(first, signal.SIGKILL)
        wait_until(lambda: spile.ask("/pid").text != str(first), "another worker to serve")
        before = cpu_seconds(spile.pid)
        with contextlib.ExitStack() as clients:
            # At the control socket nobody is answered, and nothing spins.
            for _ in range(3):
                client = clients.enter_context(socket.socket(socket.AF_UNIX))
                client.connect(str(next(spile.folder.glob("spile/*"))))
            time.sleep(1)
        assert cpu_seconds(spile.pid) - before < 0.2
    spile.reload()


def test_workers_that_get_too_few_descriptors_to_serve_say_what_to_raise(start: Starter) -> None:
    launcher = ["sh", "-c", 'ulimit -n 22 && exec "$@"', "sh"]
    spile = start.spile("faulty:application", launcher=launcher)
    assert spile.wait() == 1
    assert "a worker cannot start: " in spile.log
    assert "hint: raise the limit of open files (LimitNOFILE= in a unit, ulimit -n)" in spile.log


# Memory.


def test_an_application_without_memory_answers_500_and_the_next_request_is_served(
    start: Starter,
) -> None:
    spile = started(start)
    worker = only_worker(spile)
    with with_memory(worker, mib=32):
        assert spile.ask("/memory?200").status == 500
        assert only_worker(spile) == worker
        assert spile.ask("/memory?8").status == 200
    assert "MemoryError" in spile.log


def test_a_worker_with_no_memory_at_all_costs_nobody_else(start: Starter) -> None:
    """Whatever it does, its place is filled, and the others serve meanwhile."""
    spile = started(start, workers=2)
    starved = min(spile.worker_pids())
    with with_memory(starved, mib=0):
        with ThreadPoolExecutor(8) as pool:

            def ask(_: int) -> str:
                with contextlib.suppress(OSError, AssertionError):
                    return spile.ask("/length", "POST", b"x" * 60_000).text
                return "broken"

            outcomes = list(pool.map(ask, range(100)))
        assert outcomes.count("60000") > 20
        kill(starved, signal.SIGKILL)
    wait_until(lambda: len(spile.worker_pids()) == 2, "another worker")
    assert only_worker(spile) != starved


def test_an_end_by_the_kernel_is_named_and_costs_one_request(start: Starter) -> None:
    """The kernel kills with -9 for want of memory: who reads the log wants to be told."""
    site = start.site("faulty:application", "-w", "2")
    site.spile.wait_for_log("ready")
    assert site.get("/half_then?kill").complete is False
    site.spile.wait_for_log("was killed by signal 9 (SIGKILL), running GET /half_then?kill")
    assert "the kernel has for want of memory" in site.spile.log
    assert site.get("/pid").status == 200


def test_no_hint_of_the_kernel_where_the_master_kills(start: Starter) -> None:
    spile = started(start, "--max-rss-kill", "200")
    with contextlib.suppress(AssertionError, OSError):
        spile.ask("/memory?400")
    assert "for want of memory" not in spile.log


# Disks.


@pytest.fixture
def disk(start: Starter) -> SmallDisk:
    return SmallDisk(start.folder(), "4m")


def on_disk(start: Starter, disk: SmallDisk, *arguments: str) -> Site:
    """A site of one worker, whose temporary files are on the small disk."""
    spile = start.spile(
        *("faulty:application", *arguments),
        env={"TMPDIR": str(disk.folder)},
        launcher=disk.launcher,
    )
    spile.wait_for_log("ready")
    return Site(spile, start.nginx(spile))


def test_an_upload_for_which_there_is_no_room_is_a_507(start: Starter, disk: SmallDisk) -> None:
    site = on_disk(start, disk)
    free = disk.free(site.spile)
    answer = site.post("/length", b"x" * FILE)
    assert answer.status == 507
    assert "No space left" not in answer.text
    site.spile.wait_for_log("cannot be kept in a temporary file: No space left on device")
    assert "free space where TMPDIR points" in site.spile.log
    # In memory there is room, and where it was full there is again.
    assert site.post("/length", b"x" * 10_000).text == "10000"
    assert site.post("/length", b"x" * 2_000_000).text == "2000000"
    wait_until(lambda: disk.free(site.spile) == free, "the temporary files to be gone")


def test_others_are_served_while_uploads_fill_the_disk(start: Starter) -> None:
    spile = on_disk(start, SmallDisk(start.folder(), "100m")).spile
    head = packet(environ_for("/length", "POST", CONTENT_LENGTH=str(FILE)))
    with contextlib.ExitStack() as stack:
        uploads = [stack.enter_context(spile.connect()) for _ in range(4)]
        for upload in uploads:
            upload.send(head)
            with contextlib.suppress(OSError):
                upload.send(b"x" * (FILE - 100_000))
        wait_until(lambda: "No space left" in spile.log, "the disk to be full")
        assert spile.ask("/pid").status == 200
        statuses = sorted(finish(upload, 100_000) for upload in uploads)
    # As many as there is room for, and the others know.
    assert set(statuses) == {200, 507}, spile.log


def finish(upload: Connection, rest: int) -> int:
    with contextlib.suppress(OSError):
        upload.send(b"x" * rest)
    return upload.answer().status


def test_a_slow_reader_for_whom_there_is_no_room_is_cut_off(
    start: Starter, disk: SmallDisk
) -> None:
    site = on_disk(start, disk)
    free = disk.free(site.spile)
    with site.spile.connect() as slow:
        slow.request("/large?32")
        site.spile.wait_for_log("No space left on device")
        assert site.get("/pid").status == 200
        received, end = slow.read_to_end()
    assert len(received) < 32 << 20
    assert end == "reset"
    wait_until(lambda: disk.free(site.spile) == free, "the temporary file to be gone")


def test_a_full_disk_costs_lines_of_the_access_log_but_no_request(
    start: Starter, disk: SmallDisk
) -> None:
    log = disk.folder / "access.log"
    spile = on_disk(start, disk, "--access-log", str(log)).spile
    written = disk.path(spile, "access.log")
    assert spile.ask("/pid?before").status == 200
    wait_until(lambda: "before" in written.read_text(), "a line")
    filler = disk.fill(spile)
    worker = only_worker(spile)
    before = status_kib(worker, "VmRSS")
    for _ in range(300):
        assert spile.ask("/pid", HTTP_USER_AGENT="x" * 10_000).status == 200
    spile.wait_for_log("cannot write to the access log")
    # Else 3 MB would wait.
    assert status_kib(worker, "VmRSS") - before < 2048
    filler.unlink()

    def is_written() -> bool:
        spile.ask("/pid?again")
        return "?again" in written.read_text()

    wait_until(is_written, "lines to be written again")
    spile.wait_for_log("is written again")
    assert spile.log.count("cannot write to the access log") == 1


@pytest.mark.parametrize("threads", ["1", "2"])
def test_a_full_disk_for_standard_error_costs_no_request(start: Starter, threads: str) -> None:
    spile = start.spile(
        *("faulty:application", "-w", "2", "-t", threads, "--request-timeout", "1"),
        launcher=["sh", "-c", 'exec "$@" 2>/dev/full', "sh"],
    )
    for path, status in [("/print?1", 500), ("/raise?SystemExit", 500), ("/pid", 200)]:
        assert spile.ask(path).status in (status, 200)
    first = int(spile.ask("/pid").text)
    spile.reload()
    wait_until(lambda: first not in spile.worker_pids(), "the old workers to leave")
    for pid in spile.worker_pids():
        kill(pid, signal.SIGKILL)
    wait_until(lambda: len(spile.worker_pids()) == 2, "other workers")
    kill(mold_of(spile), signal.SIGKILL)
    wait_until(lambda: len(spile.mold_pids()) == 1, "another mold")
    assert spile.ask("/pid").status == 200
