"""HUP: the applications are imported anew, and nobody who asks meanwhile notices."""

from __future__ import annotations

import signal
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from harness import Site, Spile, Starter, fetch, run_spile, wait_until
from harness.certificates import usual
from harness.process import kill
from harness.workers import stats

APP = """
import os, time

NAME = {name!r}

def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    if environ["PATH_INFO"] == "/hold":
        open("held", "w").close()
        while not os.path.exists("let-go"):
            time.sleep(0.01)
    return [f"{{NAME}} {{os.getpid()}}".encode()]
"""


def write(folder: Path, name: str) -> None:
    (folder / "app.py").write_text(APP.format(name=name))


@pytest.fixture
def project(tmp_path: Path) -> Path:
    write(tmp_path, "old")
    return tmp_path


def name_and_pid(spile: Spile) -> tuple[str, int]:
    name, pid = spile.ask("/").text.split()
    return name, int(pid)


def reload(spile: Spile) -> str:
    """Sends HUP and waits for its outcome, which is returned as the log has it."""
    since = len(spile.log)
    spile.signal(signal.SIGHUP)

    def over() -> bool:
        said = spile.log[since:]
        return "reloaded in" in said or "the reload has failed" in said

    wait_until(over, "the reload to end")
    return spile.log[since:]


@contextmanager
def load(site: Site, path: str = "/") -> Iterator[list[str]]:
    """Two clients that ask all the time. What went wrong is in the list at the end."""
    wrong: list[str] = []
    stop = threading.Event()

    def ask() -> None:
        while not stop.is_set():
            try:
                answer = fetch(site.port(), path)
                if answer.status != 200 or not answer.complete:
                    wrong.append(f"{answer.status} {answer.text[:100]}")
            except OSError as error:
                wrong.append(repr(error))

    clients = [threading.Thread(target=ask) for _ in range(2)]
    for client in clients:
        client.start()
    try:
        yield wrong
    finally:
        stop.set()
        for client in clients:
            client.join()


def test_new_code_serves_and_the_old_workers_are_gone(start: Starter, project: Path) -> None:
    spile = start.spile("app", "-w", "2", cwd=project)
    spile.wait_for_log("ready")
    before = spile.family() - {spile.pid}
    write(project, "new")
    reload(spile)
    assert name_and_pid(spile)[0] == "new"
    wait_until(lambda: not before & spile.family(), "the old mold and its workers to end")
    assert len(spile.family()) == 4, "a master, a mold, two workers"


def test_no_request_is_lost(start: Starter, project: Path) -> None:
    site = start.site("app", "-w", "2", cwd=project)
    site.spile.wait_for_log("ready")
    with load(site) as wrong:
        for _ in range(5):
            assert "reloaded in" in reload(site.spile)
    assert not wrong


def test_a_running_request_is_finished_by_the_old_worker(start: Starter, project: Path) -> None:
    site = start.site("app", cwd=project)
    site.spile.wait_for_log("ready")
    answers: list[str] = []
    client = threading.Thread(target=lambda: answers.append(site.get("/hold").text))
    client.start()
    wait_until((project / "held").exists, "the request to begin")
    write(project, "new")
    reload(site.spile)
    assert site.get("/").text.startswith("new ")
    (project / "let-go").touch()
    client.join()
    assert answers[0].startswith("old ")


def test_code_that_cannot_be_imported_changes_nothing(start: Starter, project: Path) -> None:
    site = start.site("app", "-w", "2", cwd=project)
    site.spile.wait_for_log("ready")
    (project / "app.py").write_text("import no_such_module_anywhere\n")
    with load(site) as wrong:
        said = reload(site.spile)
    assert not wrong
    assert "no_such_module_anywhere" in said
    assert "Traceback" in said
    assert "the old workers go on" in said
    write(project, "new")
    assert "reloaded in" in reload(site.spile)
    assert site.get("/").text.startswith("new ")


def test_a_warm_up_that_fails_changes_nothing(start: Starter, project: Path) -> None:
    """Django imports its URLs with the first request: a mistake there fails no import."""
    spile = start.spile("app", "--warmup", "/", cwd=project)
    spile.wait_for_log("ready")
    broken = "def application(environ, start_response):\n    raise RuntimeError('no such view')\n"
    (project / "app.py").write_text(broken)
    said = reload(spile)
    assert "warm-up: GET / failed" in said
    assert "no such view" in said
    assert "the old workers go on" in said
    (project / "app.py").write_text(
        "def application(environ, start_response):\n"
        "    start_response('503 Not Yet', [])\n"
        "    return []\n"
    )
    assert "GET / was answered with 503 Not Yet" in reload(spile)
    assert name_and_pid(spile)[0] == "old"
    write(project, "new")
    assert "reloaded in" in reload(spile)


def test_spile_reload_waits_for_the_end_and_says_it(start: Starter, project: Path) -> None:
    spile = start.spile("app", "--control", "control", cwd=project)
    spile.wait_for_log("ready")
    write(project, "new")
    done = run_spile("reload", "--control", "control", cwd=project)
    assert (done.status, done.err) == (0, "")
    assert name_and_pid(spile)[0] == "new"
    (project / "app.py").write_text("1 / 0\n")
    failed = run_spile("reload", "--control", "control", cwd=project)
    assert failed.status == 1
    assert "importing `app` failed: ZeroDivisionError: division by zero" in failed.err
    assert name_and_pid(spile)[0] == "new"


def test_reloads_that_come_together_are_done_one_after_another(
    start: Starter, project: Path
) -> None:
    spile = start.spile("app", cwd=project)
    spile.wait_for_log("ready")
    for number in range(10):
        write(project, f"new{number}")
        spile.signal(signal.SIGHUP)
    wait_until(lambda: name_and_pid(spile)[0] == "new9", "the last code to serve")
    wait_until(lambda: len(spile.family()) == 3, "the others to be gone")


def test_the_configuration_is_read_again(start: Starter, project: Path) -> None:
    config = project / "spile.toml"
    config.write_text('app = "app"\nworkers = 1\n')
    spile = start.spile("--config", str(config), cwd=project)
    spile.wait_for_log("ready")
    config.write_text('app = "app"\nworkers = 3\n')
    reload(spile)
    wait_until(lambda: len(spile.family()) == 5, "three workers, a mold and the master")
    config.write_text('app = "app"\nworkers = "several"\n')
    said = reload(spile)
    assert "line 2, workers: `several`" in said
    assert "the old workers go on" in said
    assert name_and_pid(spile)[0] == "old"


def test_sockets_come_and_go_with_the_configuration(start: Starter, project: Path) -> None:
    config, one, two = (project / name for name in ("spile.toml", "one.sock", "two.sock"))
    config.write_text(f'app = "app"\nsocket = "{one}"\n')
    spile = start.spile("--config", str(config), cwd=project, socket=None, address=str(one))
    spile.wait_for_log("ready")
    config.write_text(f'app = "app"\nsocket = ["{one}", "{two}"]\n')
    reload(spile)
    for path in (one, two):
        spile.address = str(path)
        assert name_and_pid(spile)[0] == "old"
    config.write_text(f'app = "app"\nsocket = "{two}"\n')
    reload(spile)
    assert name_and_pid(spile)[0] == "old"
    assert not one.exists()


@pytest.mark.parametrize("app", ["app", "hello://"])
def test_sockets_that_stay_get_what_the_configuration_gives_them(
    start: Starter, project: Path, app: str
) -> None:
    config, path = project / "spile.toml", project / "one.sock"
    given = f'app = "{app}"\nsocket = "{path}"\n'
    config.write_text(given + "socket-mode = 0o600\nbacklog = 7\n")
    spile = start.spile("--config", str(config), cwd=project, socket=None, address=str(path))
    spile.wait_for_log("ready")
    made = path.stat()
    assert (stat.S_IMODE(made.st_mode), backlog_of(spile)) == (0o600, 7)
    config.write_text(given + "socket-mode = 0o666\nbacklog = 9\n")
    spile.reload()
    assert (stat.S_IMODE(path.stat().st_mode), backlog_of(spile)) == (0o666, 9)
    assert path.stat().st_ino == made.st_ino, "nobody has to connect anew"
    # What an operator has changed since is left.
    path.chmod(0o660)
    config.write_text(given + "socket-mode = 0o666\nbacklog = 8\n")
    spile.reload()
    assert (stat.S_IMODE(path.stat().st_mode), backlog_of(spile)) == (0o660, 8)
    config.write_text(given + "backlog = 6\n")
    spile.reload()
    assert "--socket-mode has changed, but" in spile.log


def test_a_reload_that_fails_leaves_the_sockets_as_they_are(start: Starter, project: Path) -> None:
    config, path = project / "spile.toml", project / "one.sock"
    given = f'app = "app"\nsocket = "{path}"\n'
    config.write_text(given + "socket-mode = 0o600\n")
    spile = start.spile("--config", str(config), cwd=project, socket=None, address=str(path))
    spile.wait_for_log("ready")
    config.write_text(given + "socket-mode = 0o666\n")
    (project / "app.py").write_text("1 / 0\n")
    assert "the reload has failed" in reload(spile)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    write(project, "new")
    assert "--socket-mode has changed" in reload(spile)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666


def backlog_of(spile: Spile) -> int:
    (listener,) = stats(spile)["sockets"]
    return int(listener["queue_limit"])


def test_what_takes_a_restart_is_named(start: Starter, project: Path) -> None:
    config = project / "spile.toml"
    config.write_text('app = "app"\n')
    spile = start.spile("--config", str(config), cwd=project)
    spile.wait_for_log("ready")
    config.write_text(f'app = "app"\npidfile = "{project}/pid"\n')
    for _ in range(2):
        assert "--pidfile has changed: that takes a restart" in reload(spile)
    config.write_text('app = "app"\n')
    assert "has changed" not in reload(spile)


@pytest.mark.parametrize(
    ("option", "value"),
    [("read-timeout", "5"), ("max-body", "7"), ("mount", '["/x=echo://"]'), ("tls-cert", "")],
)
def test_without_python_what_takes_a_restart_is_named(
    start: Starter, project: Path, option: str, value: str
) -> None:
    config = project / "spile.toml"
    config.write_text("")
    spile = start.spile("hello://", "--config", str(config), cwd=project)
    if option == "tls-cert":
        made = usual()
        config.write_text(f'tls-cert = "{made.cert}"\ntls-key = "{made.key}"\n')
    else:
        config.write_text(f"{option} = {value}\n")
    finished = spile.control("reload")
    assert finished.status == 1
    assert f"nothing was reloaded: --{option} stays as it was" in finished.err
    assert f"--{option} has changed: that takes a restart" in spile.log


def test_the_molds_death_costs_nothing(start: Starter, project: Path) -> None:
    site = start.site("app", "-w", "2", cwd=project)
    site.spile.wait_for_log("ready")
    (mold,) = children(site.spile.pid)
    write(project, "new")
    with load(site) as wrong:
        kill(mold, signal.SIGKILL)
        site.spile.wait_for_log("ready again")
    assert not wrong
    assert f"the mold (process {mold}) was killed by signal 9" in site.spile.log
    assert site.get("/").text.startswith("new ")
    wait_until(lambda: len(site.spile.family()) == 4, "the old workers to end")


def test_a_worker_that_dies_without_a_mold_is_replaced_with_the_next_one(
    start: Starter, project: Path
) -> None:
    spile = start.spile("app", "-w", "2", cwd=project)
    spile.wait_for_log("ready")
    (mold,) = children(spile.pid)
    worker = children(mold)[0]
    kill(mold, signal.SIGKILL)
    kill(worker, signal.SIGKILL)
    spile.wait_for_log("ready again")
    assert name_and_pid(spile)[0] == "old"
    wait_until(lambda: len(spile.family()) == 4, "two new workers")


def children(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return [int(child) for task in tasks for child in (task / "children").read_text().split()]
