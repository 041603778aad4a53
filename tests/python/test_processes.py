"""Master, mold and workers: who starts, who dies, who is replaced, how it all ends."""

from __future__ import annotations

import json
import os
import pwd
import re
import signal
import socket
import stat
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Callable

import pytest

from harness import APPS, Answer, Connection, Spile, Starter, run_spile, wait_until
from harness.net import accepts
from harness.process import kill


def workers(spile: Spile, count: int) -> set[int]:
    """The pids of all workers, each of which must have served."""
    seen: set[int] = set()

    def all_seen() -> bool:
        with ThreadPoolExecutor(2 * count) as pool:
            answers = pool.map(lambda _: spile.ask("/pid?pause=0.02").text, range(2 * count))
            seen.update(int(text.split()[0]) for text in answers)
        alive = spile.family()
        seen.intersection_update(alive)
        return len(seen) >= count

    wait_until(all_seen, f"{count} workers to serve")
    return seen


class Held:
    """A request that the application answers only after `release`."""

    def __init__(self, spile: Spile, folder: Path, view: str) -> None:
        self._gate = folder / "gate"
        started = folder / "started"
        self._pool = ThreadPoolExecutor(1)
        self._answer: Future[Answer] = self._pool.submit(
            spile.ask, f"/{view}?started={started}&gate={self._gate}"
        )
        wait_until(started.exists, "the application to begin the request")

    def release(self) -> Answer:
        self._gate.touch()
        return self._answer.result()

    def close(self) -> None:
        self._gate.touch()
        self._pool.shutdown()


@pytest.fixture
def hold(tmp_path: Path) -> Iterator[Callable[..., Held]]:
    requests: list[Held] = []

    def start(spile: Spile, view: str = "hold") -> Held:
        folder = tmp_path / str(len(requests))
        folder.mkdir()
        requests.append(Held(spile, folder, view))
        return requests[-1]

    yield start
    for request in requests:
        request.close()


# Who runs what.


def test_workers_are_not_the_master(start: Starter) -> None:
    spile = start.spile("held:application", "-w", "3")
    pids = workers(spile, 3)
    assert len(pids) == 3
    assert spile.pid not in pids


def test_the_application_is_imported_once_and_not_by_the_master(start: Starter) -> None:
    """The mold imports it, and the workers are its children."""
    spile = start.spile("held:application", "-w", "3")
    workers(spile, 3)
    told = {tuple(spile.ask("/pid").text.split()[1:]) for _ in range(20)}
    assert len(told) == 1
    parent, imported_by = told.pop()
    assert parent == imported_by != str(spile.pid)


def test_built_in_applications_need_no_other_process(start: Starter) -> None:
    spile = start.spile(
        "hello://", "--mount", "/echo=echo://", "--mount", f"/files=static://{APPS}"
    )
    assert spile.ask("/").status == 200
    assert b"/echo/x" in spile.ask("/echo/x").body
    assert spile.ask("/files/static/hello.txt").text == "a static file\n"
    assert spile.ask("/files/../../Cargo.toml").status in (400, 403, 404)
    assert spile.family() == {spile.pid}


def test_a_busy_worker_takes_no_request_from_an_idle_one(
    start: Starter, hold: Callable[..., Held]
) -> None:
    spile = start.spile("held:application", "-w", "2")
    workers(spile, 2)
    request = hold(spile)
    for _ in range(30):
        with Connection(spile.address, timeout=5) as connection:
            assert connection.request("/pid").answer().status == 200
    assert request.release().complete


# Workers that die.


def wait_for_replacement(spile: Spile, dead: int, count: int) -> set[int]:
    wait_until(lambda: dead not in spile.family(), "the worker to die")
    pids = workers(spile, count)
    assert dead not in pids
    return pids


def wait_for_line(spile: Spile, *patterns: str) -> None:
    """Waits for a line of the log in which each pattern is found."""

    def found() -> bool:
        lines = spile.log.splitlines()
        return any(all(re.search(p, line, re.IGNORECASE) for p in patterns) for line in lines)

    wait_until(found, f"a line with {patterns} in the log:\n{spile.log}")


def test_a_killed_worker_is_replaced_and_the_log_names_the_signal(start: Starter) -> None:
    spile = start.spile("held:application", "-w", "3")
    pids = workers(spile, 3)
    dead = min(pids)
    kill(dead, signal.SIGKILL)
    after = wait_for_replacement(spile, dead, 3)
    assert pids - {dead} < after
    wait_for_line(spile, rf"\b{dead}\b", r"SIGKILL|signal:? 9")


def test_a_crashed_worker_is_replaced_and_the_log_names_the_signal(start: Starter) -> None:
    site = start.site("held:application")
    (dead,) = workers(site.spile, 1)
    assert site.get("/crash").status == 502
    wait_for_replacement(site.spile, dead, 1)
    wait_for_line(site.spile, rf"\b{dead}\b", r"SIGSEGV|signal:? 11")


def test_a_worker_that_the_application_ends_is_replaced(start: Starter) -> None:
    site = start.site("held:application")
    (dead,) = workers(site.spile, 1)
    assert site.get("/exit?status=37").status == 502
    wait_for_replacement(site.spile, dead, 1)
    wait_for_line(site.spile, rf"\b{dead}\b", r"\b37\b")


def test_requests_wait_while_a_worker_is_replaced(start: Starter) -> None:
    """The master keeps the socket: a connection made meanwhile is served by the next worker."""
    site = start.site("held:application")
    for _ in range(3):
        site.get("/exit?status=1")
        assert site.get("/pid").status == 200


def test_a_worker_that_cannot_start_is_tried_again_more_and_more_slowly(
    start: Starter, tmp_path: Path
) -> None:
    marks = tmp_path / "marks"
    spile = start.spile("held:application", env={"TEST_DIE_AFTER_FORK": str(marks)})
    spile.wait_for_log("ready")
    marks.touch()
    (worker,) = workers(spile, 1)
    kill(worker, signal.SIGKILL)

    def times() -> list[float]:
        return [float(line) for line in marks.read_text().split()]

    wait_until(lambda: len(times()) >= 5, "five tries to start a worker", patience=60)
    first, *_, last = [after - before for before, after in zip(times(), times()[1:])]
    assert last > 2 * first
    assert last > 0.1


def test_requests_survive_the_molds_death_or_nobody_does(start: Starter) -> None:
    spile = start.spile("held:application", "-w", "2")
    pids = workers(spile, 2)
    (mold,) = spile.family() - pids - {spile.pid}
    kill(mold, signal.SIGKILL)
    wait_until(lambda: mold not in spile.family(), "the mold to die")
    spile.signal(signal.SIGTERM)
    spile.wait()
    wait_until(lambda: not spile.family(), "the last process to end")


# The end.


def assert_gone(spile: Spile) -> None:
    assert spile.wait() == 0
    wait_until(lambda: not spile.family(), "the last process to end")
    assert not os.path.exists(str(spile.address))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
def test_an_idle_spile_stops(start: Starter, number: signal.Signals) -> None:
    spile = start.spile("held:application", "-w", "3")
    workers(spile, 3)
    spile.signal(number)
    assert_gone(spile)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_spile_that_only_just_started_stops(start: Starter, number: signal.Signals) -> None:
    spile = start.spile("held:application", "-w", "3")
    spile.signal(number)
    assert_gone(spile)


@pytest.mark.parametrize("view", ["hold", "stream"])
def test_term_lets_running_requests_finish(
    start: Starter, hold: Callable[..., Held], view: str
) -> None:
    spile = start.spile("held:application", "-w", "2", "-t", "2")
    running = [hold(spile, view), hold(spile, view)]
    spile.signal(signal.SIGTERM)
    wait_until(lambda: not accepts(spile.address), "the socket to be closed")
    assert spile.returncode is None
    for request in running:
        answer = request.release()
        assert (answer.status, len(answer.body), answer.complete) == (200, 1_000_000, True)
    assert_gone(spile)


def test_term_does_not_wait_for_ever(start: Starter, hold: Callable[..., Held]) -> None:
    spile = start.spile("held:application", "--graceful-timeout", "1")
    hold(spile)
    spile.signal(signal.SIGTERM)
    assert_gone(spile)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGQUIT])
def test_int_and_quit_do_not_wait_for_requests(
    start: Starter, hold: Callable[..., Held], number: signal.Signals
) -> None:
    spile = start.spile("held:application", "-w", "2", "--graceful-timeout", "600")
    hold(spile)
    spile.signal(number)
    assert_gone(spile)


def test_silent_clients_do_not_delay_the_stop(start: Starter) -> None:
    spile = start.spile("held:application", "--graceful-timeout", "600")
    silent = [spile.connect() for _ in range(10)]
    spile.ask("/pid")
    spile.signal(signal.SIGTERM)
    assert_gone(spile)
    for connection in silent:
        connection.close()


@pytest.mark.parametrize("busy", [False, True], ids=["idle", "busy"])
def test_killing_the_master_leaves_no_orphan(
    start: Starter, tmp_path: Path, hold: Callable[..., Held], busy: bool
) -> None:
    spile = start.spile("held:application", "-w", "2", "--graceful-timeout", "1")
    pids = workers(spile, 2)
    assert pids < spile.family()
    if busy:
        hold(spile)
    spile.signal(signal.SIGKILL)
    assert spile.wait() == -signal.SIGKILL
    wait_until(lambda: not spile.family(), "mold and workers to follow the master")


# Sockets.


def test_a_stale_unix_socket_is_replaced(start: Starter) -> None:
    path = start.folder() / "app.sock"
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))
    assert path.is_socket()
    spile = start.spile(
        "held:application", "--socket", f"unix:{path}", socket=None, address=str(path)
    )
    assert spile.ask("/pid").status == 200


def test_a_live_unix_socket_is_an_error_that_names_its_owner(start: Starter) -> None:
    first = start.spile("held:application")
    second = run_spile("serve", "held:application", "--socket", f"unix:{first.address}", cwd=APPS)
    assert second.status in (1, 2)
    assert str(first.address) in second.err
    assert re.search(rf"\b{first.pid}\b", second.err), second.err
    assert first.ask("/pid").status == 200


def test_a_tcp_port_in_use_is_an_error(start: Starter) -> None:
    first = start.spile("held:application", socket="tcp")
    address = "{}:{}".format(*first.address)
    second = run_spile("serve", "held:application", "--socket", address, cwd=APPS)
    assert second.status in (1, 2)
    assert address in second.err or str(first.address[1]) in second.err
    assert first.ask("/pid").status == 200


def test_a_file_that_is_no_socket_is_left_alone(start: Starter) -> None:
    path = start.folder() / "app.sock"
    path.write_text("precious")
    finished = run_spile("serve", "held:application", "--socket", f"unix:{path}", cwd=APPS)
    assert finished.status in (1, 2)
    assert str(path) in finished.err
    assert path.read_text() == "precious"


def test_another_spiles_socket_is_not_removed_at_the_end(start: Starter) -> None:
    """A socket file that was replaced meanwhile belongs to somebody else."""
    spile = start.spile("held:application")
    path = Path(str(spile.address))
    path.unlink()
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        spile.stop()
        assert path.is_socket()


@pytest.mark.parametrize("mode", ["600", "660", "666"])
def test_socket_mode(start: Starter, mode: str) -> None:
    spile = start.spile("held:application", "--socket-mode", mode)
    assert stat.S_IMODE(os.stat(str(spile.address)).st_mode) == int(mode, 8)


@pytest.mark.parametrize(
    ("options", "mode"),
    [
        ("--umask 022", "755"),
        ("--umask 077 --socket-owner :0", "700"),
        ("--umask 007", ""),
        ("--umask 022 --socket-mode 600", ""),
        ("--umask 022 --socket-owner daemon", ""),
    ],
)
def test_a_socket_that_only_its_owner_may_connect_to_is_told(
    start: Starter, options: str, mode: str
) -> None:
    """nginx answers 502, and its own log says more than spile's."""
    if "owner" in options and os.geteuid() != 0:
        pytest.skip("only root gives files away")
    spile = start.spile("hello://", *options.split())
    finished = run_spile("check", "hello://", *options.split(), "--socket", "s.sock", cwd=APPS)
    for said, address in [(spile.log, spile.address), (finished.out.decode(), "s.sock")]:
        lines = [line for line in said.splitlines() if "may connect; " in line]
        assert len(lines) == bool(mode), said
        for line in lines:
            user = pwd.getpwuid(os.geteuid()).pw_name
            assert f"unix:{address}: its mode is {mode}: only {user}" in line
            assert "--socket-mode 660 and --socket-owner :GROUP" in line
    assert finished.status == 0, finished.err


def test_several_sockets(start: Starter) -> None:
    second = str(start.folder() / "second.sock")
    spile = start.spile("held:application", "--socket", second, socket="tcp")
    assert spile.ask("/pid").status == 200
    with Connection(second) as connection:
        assert connection.request("/pid").answer().status == 200
    spile.stop()
    assert not os.path.exists(second)


def test_a_short_relative_path_is_taken_from_where_spile_was_started(start: Starter) -> None:
    folder = start.folder()
    spile = start.spile(
        "held:application",
        *("--chdir", str(APPS), "--socket", "app.sock"),
        cwd=folder,
        socket=None,
        address=str(folder / "app.sock"),
    )
    assert spile.ask("/pid").status == 200


# What is written down.


def test_pidfile(start: Starter) -> None:
    path = start.folder() / "spile.pid"
    spile = start.spile("held:application", "--pidfile", str(path))
    spile.ask("/pid")
    assert path.read_text().strip() == str(spile.pid)
    spile.stop()
    assert not path.exists()


def test_the_start_is_described_line_by_line(start: Starter) -> None:
    spile = start.spile("environ:application", "--mount", "/held=held:application", "-w", "2")
    process = spile.ask("/").json()["process"]
    version = run_spile("--version", cwd=APPS).out.decode().split()[1]
    wait_for_line(spile, rf"spile.*{re.escape(version)}")
    wait_for_line(spile, re.escape(f"unix:{spile.address}"))
    wait_for_line(spile, "environ:application")
    wait_for_line(spile, r"/held\b", "held:application")
    wait_for_line(spile, r"workers?\b", r"\b2\b")
    wait_for_line(spile, "python", re.escape(process["version"]))
    wait_for_line(spile, re.escape(process["prefix"]))


@pytest.fixture
def access_log(start: Starter) -> Path:
    return start.folder() / "access.log"


def wait_for_lines(path: Path, count: int) -> list[str]:
    def lines() -> list[str]:
        return path.read_text().splitlines() if path.exists() else []

    wait_until(lambda: len(lines()) >= count, f"{count} lines in {path}")
    assert len(lines()) == count
    return lines()


def test_access_log_to_a_file(start: Starter, access_log: Path) -> None:
    spile = start.spile("held:application", "--access-log", str(access_log))
    spile.ask("/pid?x=1", REMOTE_ADDR="192.0.2.7")
    spile.ask("/errors", "POST", b"body")
    spile.ask("/raise")
    first, second, third = wait_for_lines(access_log, 3)
    for part in ("192.0.2.7", "GET", "/pid?x=1", "200"):
        assert part in first
    for part in ("POST", "/errors", "200"):
        assert part in second
    assert "500" in third


def test_access_log_to_standard_output(start: Starter) -> None:
    spile = start.spile("held:application", "--access-log", "-")
    spile.ask("/pid?found=1")
    wait_for_line(spile, "GET", re.escape("/pid?found=1"), "200")


def test_no_access_log_unless_asked_for(start: Starter) -> None:
    spile = start.spile("held:application")
    spile.ask("/pid?found=1")
    spile.stop()
    assert "/pid?found=1" not in spile.log


def test_a_client_cannot_write_its_own_log_lines(start: Starter, access_log: Path) -> None:
    spile = start.spile("held:application", "--access-log", str(access_log))
    spile.ask("/pid", REQUEST_URI="/\nforged line", REMOTE_USER="x\r\nforged user")
    wait_for_lines(access_log, 1)


def test_an_exception_cannot_look_like_a_line_of_the_log(start: Starter, tmp_path: Path) -> None:
    """Its text may come from a client."""
    (tmp_path / "forger.py").write_text(
        "def application(environ, start_response):\n"
        "    raise ValueError('no date: ' + environ['QUERY_STRING'])\n"
    )
    spile = start.spile("forger", cwd=tmp_path)
    forged = "2026-01-01T00:00:00.000000Z [master 1]  INFO forged"
    assert spile.ask("/", QUERY_STRING=f"x\n{forged}\r{forged}").status == 500
    assert "ValueError: no date: x" in spile.wait_for_log("INFO forged")
    assert not [line for line in spile.log.splitlines() if line.startswith(forged)]


def test_json_logs(start: Starter, access_log: Path) -> None:
    spile = start.spile("held:application", "--log-format", "json", "--access-log", str(access_log))
    spile.ask("/pid?x=1")
    spile.ask("/errors")
    assert spile.ask("/raise").status == 500
    with Connection(spile.address) as connection:
        connection.send(b"GET / HTTP/1.1\r\n\r\n")
        connection.read_to_end()
    spile.stop()
    events = [json.loads(line) for line in spile.log.splitlines() if line]
    texts = [json.dumps(event) for event in events]
    for said in ("from the application", "raised in a page", "Traceback"):
        assert any(said in text for text in texts), said
    accesses = [json.loads(line) for line in access_log.read_text().splitlines()]
    assert "/pid?x=1" in json.dumps(accesses[0])
    assert 200 in accesses[0].values() or "200" in accesses[0].values()


WITHOUT_AN_END = """
def application(environ, start_response):
    errors = environ["wsgi.errors"]
    if environ["PATH_INFO"] == "/dots":
        for _ in range(200_000):
            errors.write(".")
    elif environ["PATH_INFO"] == "/lines":
        errors.write("one of many\\n" * 10_000 + "z" * 20_000_000)
    else:
        errors.write("nothing comes after this")
    start_response("200 OK", [])
    return []
"""


def test_text_without_a_newline_is_in_a_json_log(start: Starter, tmp_path: Path) -> None:
    (tmp_path / "dotted.py").write_text(WITHOUT_AN_END)
    spile = start.spile("dotted", "--log-format", "json", cwd=tmp_path)
    spile.ask("/dots")
    spile.wait_for_log("." * 1000)
    begun = time.monotonic()
    assert spile.ask("/lines").status == 200
    assert time.monotonic() - begun < 10
    spile.wait_for_log("z" * 1000)
    spile.ask("/tail")
    spile.stop()
    said = [json.loads(line) for line in spile.log.splitlines()]
    texts = [line["message"] for line in said if line.get("source") == "wsgi.errors"]
    assert "".join(texts).count(".") == 200_000
    assert sum(text.endswith("one of many") for text in texts) == 10_000
    assert texts[-1] == "nothing comes after this"


# Where options come from.


def test_a_configuration_file(start: Starter) -> None:
    folder = start.folder()
    path = folder / "app.sock"
    config = folder / "spile.toml"
    config.write_text(
        f"""
        app = "environ:application"
        socket = ["unix:{path}"]
        chdir = "{APPS}"
        workers = 2
        threads = 3
        socket-mode = 0o600
        [mount]
        "/held" = "held:application"
        [env]
        TEST_FROM_FILE = "yes"
        """
    )
    spile = start.spile("--config", str(config), cwd=folder, socket=None, address=str(path))
    shown = spile.ask("/").json()
    assert (shown["multiprocess"], shown["multithread"]) == (True, True)
    assert shown["process"]["environment"]["TEST_FROM_FILE"] == "yes"
    assert spile.ask("/held/pid").status == 200
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_variable_overrides_the_file_and_the_command_line_both(start: Starter) -> None:
    config = start.folder() / "spile.toml"
    config.write_text("workers = 2\nthreads = 2\n")

    def shown(*arguments: str, **env: str) -> tuple[bool, bool]:
        spile = start.spile("environ:application", "-c", str(config), *arguments, env=env)
        seen = spile.ask("/").json()
        return seen["multiprocess"], seen["multithread"]

    assert shown() == (True, True)
    assert shown(SPILE_WORKERS="1") == (False, True)
    assert shown("--workers", "2", SPILE_WORKERS="1", SPILE_THREADS="1") == (True, False)
    assert shown("-w", "1", "-t", "1") == (False, False)


def test_everything_may_come_from_variables(start: Starter) -> None:
    path = str(start.folder() / "app.sock")
    env = {
        "SPILE_APP": "environ:application",
        "SPILE_SOCKET": path,
        "SPILE_ENV": "TEST_A=1,TEST_B=2",
        "SPILE_CHDIR": str(APPS),
    }
    spile = start.spile(socket=None, address=path, env=env, cwd=start.folder())
    environment = spile.ask("/").json()["process"]["environment"]
    assert (environment["TEST_A"], environment["TEST_B"]) == ("1", "2")


def test_a_mistake_in_the_file_is_named_with_its_line(tmp_path: Path) -> None:
    config = tmp_path / "spile.toml"
    config.write_text('workers = 2\nwrokers = 3\nthreads = "many"\n')
    finished = run_spile("serve", "held:application", "--config", str(config), cwd=APPS)
    assert finished.status == 2
    assert "spile.toml, line 2" in finished.err
    assert "wrokers" in finished.err
    assert "spile.toml, line 3" in finished.err
    assert "many" in finished.err
