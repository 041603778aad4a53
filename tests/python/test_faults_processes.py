"""Processes that are stopped or end in mid-request, and applications that misbehave."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness import APPS, Answer, Site, Starter, run_spile, wait_until
from harness.net import accepts
from harness.process import kill
from harness.workers import stats


@pytest.fixture
def site(start: Starter) -> Site:
    site = start.site("faulty:application", "-w", "2")
    site.spile.wait_for_log("ready")
    return site


@contextlib.contextmanager
def stopped(pid: int) -> Iterator[None]:
    """SIGSTOP, then SIGCONT."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        kill(pid, signal.SIGCONT)


class Held(threading.Thread):
    """A request that is held by the application until `gate` exists."""

    def __init__(self, site: Site, folder: Path) -> None:
        super().__init__()
        self.gate = folder / "gate"
        self.answer: Answer | None = None
        self._site = site
        self._folder = folder
        self.start()
        wait_until((folder / "started").exists, "the request to begin")

    def run(self) -> None:
        path = f"/hold?started={self._folder}/started&gate={self.gate}"
        self.answer = self._site.get(path)

    def let_go(self) -> Answer:
        self.gate.touch()
        self.join()
        assert self.answer
        return self.answer


def worker_of(held: Held, site: Site) -> int:
    """The worker that holds a request: the one of two that answers nobody else."""
    (other,) = {int(site.get("/pid").text) for _ in range(3)}
    (worker,) = site.spile.worker_pids() - {other}
    return worker


# SIGSTOP.


def test_others_serve_while_a_worker_is_stopped_and_its_requests_wait(
    start: Starter, site: Site, tmp_path: Path
) -> None:
    held = Held(site, tmp_path)
    worker = worker_of(held, site)
    with stopped(worker):
        load = start.load(site.port(), "--plain", "--path", "/pid", rate=100)
        site.spile.wait_for_log(f"(process {worker}) is stopped, running GET /hold?started=")
        assert f"`kill -CONT {worker}` lets it go on" in site.spile.log
        assert load.stop().lost == 0
        held.gate.touch()
        assert held.is_alive()
    site.spile.wait_for_log(f"(process {worker}) goes on")
    assert held.let_go().text == str(worker)


def test_a_request_timeout_ends_a_worker_that_is_stopped(start: Starter, tmp_path: Path) -> None:
    site = start.site("faulty:application", "-w", "2", "--request-timeout", "1")
    site.spile.wait_for_log("ready")
    held = Held(site, tmp_path)
    worker = worker_of(held, site)
    with stopped(worker):
        held.join(20)
        assert held.answer
        assert held.answer.status == 502
        site.spile.wait_for_log("does not react: it is killed, running GET /hold")
    wait_until(lambda: len(site.spile.worker_pids()) == 2, "another worker")


def test_a_stopped_worker_does_not_hold_up_a_stop(start: Starter) -> None:
    spile = start.spile("faulty:application", "-w", "2", "--graceful-timeout", "1")
    spile.wait_for_log("ready")
    os.kill(min(spile.worker_pids()), signal.SIGSTOP)
    spile.signal(signal.SIGTERM)
    # The time-out, two seconds more, and a loaded machine.
    assert spile.wait(patience=10) == 0
    wait_until(lambda: not spile.family(), "the last process to end")


def test_a_stopped_worker_does_not_hold_up_the_code_of_a_reload(start: Starter) -> None:
    site = start.site("faulty:application", "-w", "2", "--graceful-timeout", "1")
    spile = site.spile
    spile.wait_for_log("ready")
    before = spile.worker_pids()
    load = start.load(site.port(), "--plain", "--path", "/pid", rate=100)
    os.kill(min(before), signal.SIGSTOP)
    spile.reload()
    wait_until(lambda: not before & spile.worker_pids(), "the old workers to end")
    assert load.stop().lost == 0


LISTENS_AND_LEAVES = """
import os, socket, sys, time

listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1])
listener.listen()
child = os.fork()
if child:
    print(os.getpid(), child)
else:
    os.close(1)
    time.sleep(600)
"""


def test_a_socket_that_a_dead_process_has_left_is_said_to_be_its_child_s(tmp_path: Path) -> None:
    address = str(tmp_path / "app.sock")
    command = [sys.executable, "-c", LISTENS_AND_LEAVES, address]
    dead, child = map(int, subprocess.check_output(command).split())
    try:
        for verb in ("serve", "check"):
            finished = run_spile(verb, "hello://", "-s", address, cwd=APPS)
            assert finished.status != 0
            assert f"a child of process {dead}, which is gone" in finished.err
    finally:
        kill(child, signal.SIGKILL)


def test_requests_are_served_while_the_master_is_stopped(start: Starter, site: Site) -> None:
    with stopped(site.spile.pid):
        load = start.load(site.port(), "--plain", "--path", "/pid", rate=100)
        kill(min(site.spile.worker_pids()), signal.SIGKILL)
        assert load.stop().lost <= 1
    wait_until(lambda: len(site.spile.worker_pids()) == 2, "another worker")


@contextlib.contextmanager
def frozen(site: Site) -> Iterator[None]:
    """Stops all processes of the server, as a container is paused."""
    family = site.spile.family()
    for pid in family:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in family:
            kill(pid, signal.SIGCONT)


#: Seconds: longer than a time-out of two, and all that follows it until a worker is killed.
PAUSE = 7.5


def test_time_in_which_nobody_ran_is_no_request_s(start: Starter, tmp_path: Path) -> None:
    site = start.site("faulty:application", "--request-timeout", "2")
    site.spile.wait_for_log("ready")
    held = Held(site, tmp_path)
    with frozen(site):
        time.sleep(PAUSE)
    assert held.let_go().status == 200
    assert "takes longer" not in site.spile.log
    assert "killed" not in site.spile.log


def test_time_in_which_nobody_ran_is_not_taken_from_a_graceful_stop(
    start: Starter, tmp_path: Path
) -> None:
    site = start.site("faulty:application", "--graceful-timeout", "2")
    site.spile.wait_for_log("ready")
    held = Held(site, tmp_path)
    site.spile.signal(signal.SIGTERM)
    site.spile.wait_for_log("requests may finish")
    with frozen(site):
        time.sleep(PAUSE - 2)
    assert held.let_go().status == 200
    assert site.spile.wait() == 0
    assert "killed" not in site.spile.log
    assert "cut off" not in site.spile.log


# Ends in the middle of a request.


def test_six_requests_that_kill_their_worker_cost_the_next_one_nothing(start: Starter) -> None:
    site = start.site("faulty:application")
    site.spile.wait_for_log("ready")
    for _ in range(6):
        assert site.get("/segfault").status == 502
    before = time.monotonic()
    assert site.get("/pid").status == 200
    # It took eight seconds, when pauses doubled.
    assert time.monotonic() - before < 4
    assert site.spile.log.count("another starts at once") == 6


def test_requests_that_kill_their_workers_keep_others_from_nothing(start: Starter) -> None:
    site = start.site("faulty:application")
    site.spile.wait_for_log("ready")
    is_over = threading.Event()
    killed = []

    def kill_workers() -> None:
        while not is_over.is_set():
            killed.append(site.get("/segfault").status)

    killer = threading.Thread(target=kill_workers)
    killer.start()
    answered = [time.monotonic()]
    end = answered[0] + 6
    while answered[-1] < end and time.monotonic() < end + 10:
        if site.get("/pid").status == 200:
            answered.append(time.monotonic())
    is_over.set()
    killer.join()
    assert len(killed) > 15
    assert max(later - one for one, later in zip(answered, answered[1:])) < 3
    # A death that is seen only after the stop has a line of its own in any case.
    wait_until(
        lambda: stats(site.spile)["totals"]["restarts"]["killed"] == len(killed),
        "the master to see all deaths",
    )
    site.spile.stop()
    # The log names ten a minute, and counts the others.
    assert site.spile.log.count("running GET /segfault") == 10
    assert f"workers have ended: {len(killed) - 10} more" in site.spile.log


@pytest.mark.parametrize(
    ("path", "how"),
    [
        ("/segfault", "was killed by signal 11 (SIGSEGV)"),
        ("/abort", "was killed by signal 6 (SIGABRT)"),
        ("/exit_in_thread", "exited with status 1"),
    ],
)
def test_an_end_in_mid_request_is_an_error_for_that_request_alone(
    start: Starter, site: Site, path: str, how: str
) -> None:
    load = start.load(site.port(), "--plain", "--path", "/pid", rate=100)
    assert site.get(path).status == 502
    site.spile.wait_for_log(f"{how}, running GET {path}")
    wait_until(lambda: len(site.spile.worker_pids()) == 2, "another worker")
    assert load.stop().lost == 0


@pytest.mark.parametrize("how", ["exit", "kill", "segfault"])
def test_half_a_response_is_never_taken_for_a_whole_one(site: Site, how: str) -> None:
    answer = site.get(f"/half_then?{how}")
    assert not answer.complete or answer.status == 502
    assert site.get("/pid").status == 200


# Applications that do what they should not.


@pytest.mark.parametrize("name", ["SystemExit", "KeyboardInterrupt"])
def test_an_exception_that_ends_programs_ends_no_worker(site: Site, name: str) -> None:
    before = site.spile.worker_pids()
    assert site.get(f"/raise?{name}").status == 500
    assert site.get("/pid").status == 200
    assert site.spile.worker_pids() == before


@pytest.fixture
def single(start: Starter) -> Site:
    site = start.site("faulty:application", "--graceful-timeout", "2")
    site.spile.wait_for_log("ready")
    return site


def assert_lives_on(site: Site) -> None:
    """The same worker serves, is reloaded, and leaves when it is told to."""
    pid = site.get("/pid").text
    assert site.get("/pid").text == pid
    site.spile.reload()
    wait_until(lambda: site.get("/pid").text != pid, "the new worker")
    wait_until(lambda: int(pid) not in site.spile.family(), "the old worker to leave")
    site.spile.stop()
    assert "killed" not in site.spile.log


@pytest.mark.parametrize("fds", [[0], [1], [2], [0, 1, 2]], ids=["0", "1", "2", "all"])
def test_closing_standard_files_costs_the_log_alone(single: Site, fds: list[int]) -> None:
    for fd in fds:
        single.get(f"/close?{fd}")
    # A file opened now may get their numbers, and nothing else may be written into it.
    for _ in range(3):
        assert single.get("/file").text.startswith('"""Applications')
        assert single.get("/raise?SystemExit").status == 500
        assert single.post("/length", b"x" * 2_000_000).text == "2000000"
    assert_lives_on(single)


def test_another_directory_is_the_applications_own_affair(start: Starter) -> None:
    folder = start.folder()
    site = start.site(
        *("faulty:application", "--graceful-timeout", "2", "--access-log", "access.log"),
        *("--pythonpath", str(APPS)),
        cwd=folder,
    )
    site.spile.wait_for_log("ready")
    assert site.get("/chdir").text == "/"
    (folder / "access.log").rename(folder / "access.log.1")
    site.spile.signal(signal.SIGUSR1)
    # Where it was, not where the application is.
    wait_until((folder / "access.log").exists, "the access log to be opened anew")
    assert_lives_on(site)


def test_an_application_that_takes_the_signals_does_not_keep_its_worker(start: Starter) -> None:
    """Its handlers replace the worker's: it cannot be asked to leave, so it is made to."""
    site = start.site("faulty:application", "--graceful-timeout", "1")
    site.spile.wait_for_log("ready")
    pid = int(site.get("/signals").text)
    site.spile.reload()
    wait_until(lambda: pid not in site.spile.family(), "the old worker to be gone")
    assert site.get("/pid").status == 200
    site.get("/signals")
    site.spile.signal(signal.SIGTERM)
    assert site.spile.wait(patience=15) == 0


@pytest.mark.parametrize("kind", ["", "socket:", "eventpoll"])
@pytest.mark.parametrize("view", ["/rob", "/replace"])
def test_a_worker_whose_own_files_are_closed_is_replaced(
    single: Site, view: str, kind: str
) -> None:
    pid = single.get("/pid").text
    single.get(f"{view}?{kind}")

    def is_replaced() -> bool:
        answer = single.get("/pid")
        return answer.status == 200 and answer.text != pid

    wait_until(is_replaced, "another worker to answer")
    # What Rust itself says where debug assertions are on.
    said = "closes descriptors that it has not opened|IO Safety violation"
    assert re.search(said, single.spile.log)
    single.spile.stop()


@pytest.mark.parametrize("view", ["/child", "/fork"])
def test_a_child_that_outlives_its_request_keeps_neither_server_nor_address(
    start: Starter, view: str
) -> None:
    site = start.site("faulty:application", "--graceful-timeout", "2", socket="tcp")
    site.spile.wait_for_log("ready")
    child = int(site.get(view).text)
    try:
        pid = site.get("/pid").text
        site.spile.reload()
        wait_until(lambda: site.get("/pid").text != pid, "the new worker")
        site.spile.signal(signal.SIGTERM)
        assert site.spile.wait() == 0
        wait_until(lambda: site.spile.family() == {child}, "all but the child to end")
        assert not accepts(site.spile.address)
    finally:
        kill(child, signal.SIGKILL)


#: Has a copy of itself go on, from the import and before it serves.
FORKING = """
import os, time, spile
from faulty import application

def copy():
    child = os.fork()
    if not child:
        time.sleep(600)
        os._exit(0)
    with open("pids", "a") as file:
        file.write(f"{child}\\n")

copy()
spile.post_fork(copy)
"""


def test_copies_made_before_anything_is_served_keep_no_address(start: Starter) -> None:
    folder = start.folder()
    (folder / "forking.py").write_text(FORKING)
    spile = start.spile("forking", "--pythonpath", str(APPS), cwd=folder, socket="tcp")
    spile.wait_for_log("ready")
    children = {int(line) for line in (folder / "pids").read_text().split()}
    try:
        assert len(children) == 2
        assert spile.ask("/pid").status == 200
        spile.signal(signal.SIGTERM)
        assert spile.wait() == 0
        wait_until(lambda: spile.family() == children, "all but the children to end")
        assert not accepts(spile.address)
    finally:
        for child in children:
            kill(child, signal.SIGKILL)


@pytest.mark.parametrize("where", ["next", "close", "del"])
@pytest.mark.parametrize("then", ["return", "raise", "exit"])
def test_a_copy_that_comes_back_from_the_application_ends(
    single: Site, where: str, then: str
) -> None:
    before = single.spile.family()
    pid = single.get("/pid").text
    for _ in range(3):
        answer = single.get(f"/copied?{where}-{then}")
        assert (answer.body, answer.complete) == (b"one two", True)
    wait_until(lambda: single.spile.family() == before, "the copies to end")
    assert {single.get("/pid").text for _ in range(10)} == {pid}
    single.spile.stop()
    assert not single.spile.family()
    # A destructor's exceptions end in it.
    assert ("raised by the copy" in single.spile.log) == (then == "raise")


#: Has a copy of itself come back from the import, or from what runs before anything is served.
COMING_BACK = """
import os, sys, spile
from faulty import application as serve

def copy():
    child = os.fork()
    if child:
        with open("ends", "a") as file:
            file.write(f"{os.waitpid(child, 0)[1] >> 8}\\n")
    elif os.environ["THEN"] == "raise":
        raise RuntimeError("raised by the copy")
    elif os.environ["THEN"] == "exit":
        sys.exit(3)

if os.environ["WHERE"] == "import":
    copy()
if os.environ["WHERE"] == "post_fork":
    spile.post_fork(copy)

def application(environ, start_response):
    if "warm-up" in environ.get("HTTP_USER_AGENT", ""):
        copy()
    return serve(environ, start_response)
"""


@pytest.mark.parametrize("where", ["import", "post_fork", "warm-up"])
@pytest.mark.parametrize("then", ["return", "raise", "exit"])
@pytest.mark.parametrize("lazy", [False, True])
def test_a_copy_that_comes_back_before_anything_is_served_ends(
    start: Starter, where: str, then: str, lazy: bool
) -> None:
    folder = start.folder()
    (folder / "back.py").write_text(COMING_BACK)
    spile = start.spile(
        *("back", "--pythonpath", str(APPS), *(["--lazy"] if lazy else [])),
        *(["--warmup", "/pid"] if where == "warm-up" else []),
        cwd=folder,
        env={"WHERE": where, "THEN": then},
    )
    spile.wait_for_log("ready")
    assert {spile.ask("/pid").status for _ in range(5)} == {200}
    assert (folder / "ends").read_text() == {"return": "0\n", "raise": "1\n", "exit": "3\n"}[then]
    assert len(spile.family()) == 3
    assert ("raised by the copy" in spile.log) == (then == "raise")
    assert spile.log.count(" ERROR ") == (then == "raise")
    assert " WARN " not in spile.log
    spile.stop()


@pytest.mark.parametrize("socket", ["unix", "tcp"])
def test_a_copy_of_a_dead_worker_keeps_no_client_waiting(
    start: Starter, tmp_path: Path, socket: str
) -> None:
    site = start.site("faulty:application", socket=socket)
    site.spile.wait_for_log("ready")
    file = tmp_path / "pid"
    try:
        # nginx would wait for a minute.
        assert site.fetch(f"/fork?{file}", timeout=15).status == 502
        assert site.get("/pid").status == 200
    finally:
        kill(int(file.read_text()), signal.SIGKILL)


def test_threads_of_the_application_do_not_keep_its_worker(single: Site) -> None:
    single.get("/threads?20")
    assert_lives_on(single)


def test_endless_lines_on_standard_error_cost_no_request(start: Starter, site: Site) -> None:
    load = start.load(site.port(), "--plain", "--path", "/pid", rate=50)
    assert site.get("/print?20").status == 200
    assert load.stop().lost == 0
