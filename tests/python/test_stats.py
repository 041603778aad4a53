"""The control socket, and `spile stats` and `spile reload`, which ask it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import stat
import threading
from pathlib import Path

import pytest

from harness import Site, Spile, Starter, run_spile, wait_until
from harness.net import connect, exchange
from harness.waiting import PATIENCE
from harness.workers import stats


@pytest.fixture(scope="module")
def hello(start_once: Starter) -> Spile:
    return start_once.spile("hello://", "--mount", "/echo=echo://")


def control_sockets(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_socket() and path.suffix != ".sock"]


def test_the_document_says_what_is_served_and_where(hello: Spile) -> None:
    finished = hello.control("stats")
    assert (finished.status, finished.err) == (0, "")
    assert finished.out.count(b"\n") == 1
    stats = json.loads(finished.out)
    assert stats["master"]["pid"] == hello.pid
    assert stats["master"]["state"] == "serving"
    assert [socket["address"] for socket in stats["sockets"]] == [hello.uwsgi_pass]
    assert {mount["path"]: mount["app"] for mount in stats["mounts"]} == {
        "/": "hello://",
        "/echo": "echo://",
    }


def test_there_is_nothing_to_reload_without_python(hello: Spile) -> None:
    finished = hello.control("reload")
    assert (finished.status, finished.out) == (1, b"")
    assert "none of the applications is Python" in finished.err
    assert "hint: " in finished.err


def test_the_socket_is_for_its_owner_alone(hello: Spile) -> None:
    (socket,) = control_sockets(hello.folder)
    assert stat.S_IMODE(os.stat(socket).st_mode) == 0o600


@pytest.mark.parametrize(
    "said", [b"\n", b"GET / HTTP/1.0\r\n\r\n", b'{"command":"stop"}\n', b"\xff" * 50_000]
)
def test_garbage_harms_nobody(hello: Spile, said: bytes) -> None:
    (socket,) = control_sockets(hello.folder)
    with connect(str(socket)) as silent:
        answer, _ = exchange(str(socket), said)
        assert json.loads(answer)["error"]["hint"]
        assert hello.control("stats").status == 0
        silent.close()


def test_it_is_found_by_whatever_the_server_was_started_with(
    start: Starter, tmp_path: Path
) -> None:
    folder = start.folder()
    (folder / "spile.toml").write_text('app = "hello://"\nsocket = "app.sock"\n')

    def asked(spile: Spile, *arguments: str, **env: str) -> int:
        finished = run_spile(
            "stats", *arguments, cwd=folder, env={"XDG_RUNTIME_DIR": str(spile.folder), **env}
        )
        assert finished.status == 0, finished.err
        return json.loads(finished.out)["master"]["pid"]

    socket = str(folder / "app.sock")
    spile = start.spile("--config", "spile.toml", socket=None, address=socket, cwd=folder)
    for arguments in (["--config", "spile.toml"], ["--socket", "app.sock"], ["-s", socket]):
        assert asked(spile, *arguments) == spile.pid
    assert asked(spile, SPILE_SOCKET=f"unix:{socket}") == spile.pid

    beside = start.spile("hello://", "--pidfile", str(folder / "a.pid"))
    assert asked(beside, "--pidfile", "a.pid") == beside.pid
    assert (folder / "a.pid.control").is_socket()

    chosen = start.spile("hello://", "--control", str(folder / "c"))
    assert asked(chosen, "--control", "c") == chosen.pid
    spile.stop()
    assert control_sockets(spile.folder) == []


def test_a_socket_of_a_server_that_was_killed_is_replaced(start: Starter) -> None:
    folder = start.folder()
    arguments = ["hello://", "--control", str(folder / "c")]
    start.spile(*arguments).destroy()
    assert (folder / "c").is_socket()
    spile = start.spile(*arguments)
    finished = run_spile("stats", "--control", str(folder / "c"), cwd=folder)
    assert json.loads(finished.out)["master"]["pid"] == spile.pid

    second = run_spile("serve", *arguments, "--socket", "b.sock", cwd=folder)
    assert second.status == 1
    assert f"in use by process {spile.pid}" in second.err
    assert "another --control" in second.err


def test_no_place_for_a_socket_is_a_warning(start: Starter) -> None:
    folder = start.folder()
    (folder / "spile").write_text("in the way")
    spile = start.spile("hello://", env={"XDG_RUNTIME_DIR": str(folder)})
    assert spile.ask("/").status == 200
    assert "no control socket" in spile.log


@pytest.mark.parametrize("command", ["stats", "reload"])
def test_no_server(command: str, tmp_path: Path) -> None:
    finished = run_spile(command, "--pidfile", "none.pid", cwd=tmp_path)
    assert finished.status == 1
    assert f"{tmp_path}/none.pid.control" in finished.err
    assert "hint: " in finished.err
    assert run_spile(command, "--socket", "nowhere", cwd=tmp_path).status == 2


def requests(spile: Spile) -> dict[str, dict[str, int]]:
    """The answered requests of each mount by class, those that there are none of left out."""
    mounts = stats(spile)["mounts"]
    return {
        mount["path"]: {name: count for name, count in mount["requests"].items() if count}
        for mount in mounts
    }


def hold(site: Site, path: Path) -> threading.Thread:
    """Has a worker run a request until `path`.gate exists."""
    client = threading.Thread(
        target=lambda: site.get(f"/hold?started={path}.started&gate={path}.gate")
    )
    client.start()
    wait_until(Path(f"{path}.started").exists, "the request to run")
    return client


def test_requests_are_counted_by_mount_and_class(start: Starter) -> None:
    site = start.site("held", "--mount", "/flask=flask_app:app", "-w", "2", "-t", "2")
    for path, status in [
        *[("/pid", 200)] * 5,
        ("/raise", 500),
        ("/flask/hello/you", 200),
        ("/flask/login/you", 302),
        ("/flask/none", 404),
        ("/flask/none", 404),
    ]:
        assert site.get(path).status == status
    # The last byte of an answer is out a moment before it is counted.
    wait_until(lambda: stats(site.spile)["totals"]["requests"] == 10, "ten requests")
    assert requests(site.spile) == {
        "/": {"2xx": 5, "5xx": 1},
        "/flask": {"2xx": 1, "3xx": 1, "4xx": 2},
    }
    document = stats(site.spile)
    assert document["totals"]["errors"] == 1
    assert sum(worker["requests"] for worker in document["workers"]) == 10
    assert sum(bucket["count"] for bucket in document["latency"]["buckets"]) == 10
    assert document["totals"]["response_bytes"] > 0


def test_a_worker_shows_what_it_runs_and_for_how_long(start: Starter, tmp_path: Path) -> None:
    site = start.site("held", "-w", "2")
    client = hold(site, tmp_path / "a")
    document = stats(site.spile)
    (busy,) = [worker for worker in document["workers"] if worker["running"]]
    (running,) = busy["running"]
    assert running["request"].startswith("GET /hold")
    assert (busy["state"], busy["in_flight"]) == ("busy", 1)
    assert 0 < running["since"] < document["master"]["uptime"]
    assert busy["rss"] > 1 << 20

    def since() -> float:
        (worker,) = [it for it in stats(site.spile)["workers"] if it["pid"] == busy["pid"]]
        return worker["running"][0]["since"]

    wait_until(lambda: since() > running["since"], "the time to go on")
    (tmp_path / "a.gate").touch()
    client.join(PATIENCE)
    wait_until(lambda: stats(site.spile)["totals"]["in_flight"] == 0, "it to be over")
    assert all(not worker["running"] for worker in stats(site.spile)["workers"])


@pytest.mark.parametrize("socket", ["unix", "tcp"])
def test_the_queue_is_what_nobody_has_accepted(start: Starter, tmp_path: Path, socket: str) -> None:
    site = start.site("held", "--backlog", "64", socket=socket)
    client = hold(site, tmp_path / "a")
    with contextlib.ExitStack() as stack:
        for _ in range(5):
            stack.enter_context(connect(site.spile.address))
        (queue,) = stats(site.spile)["sockets"]
        assert queue == {"address": queue["address"], "queue": 5, "queue_limit": 64}
    (tmp_path / "a.gate").touch()
    client.join(PATIENCE)
    wait_until(lambda: stats(site.spile)["sockets"][0]["queue"] == 0, "an empty queue")


def test_why_workers_were_replaced(start: Starter) -> None:
    site = start.site("held")

    def restarts() -> dict[str, int]:
        return {k: v for k, v in stats(site.spile)["totals"]["restarts"].items() if v}

    site.get("/exit?status=3")
    wait_until(lambda: restarts() == {"exited": 1}, "the first restart")
    assert site.get("/pid").status == 200
    site.get("/crash")
    wait_until(lambda: restarts() == {"exited": 1, "killed": 1}, "the second restart")
    assert site.get("/pid").status == 200

    def place() -> list[tuple[int, str]]:
        workers = stats(site.spile)["workers"]
        return [(worker["respawns"], worker["last_respawn"]) for worker in workers]

    # A worker may serve before the master has heard of it.
    wait_until(lambda: place() == [(2, "killed")], "the third worker")


def test_nothing_is_forgotten_with_a_dead_worker_or_at_a_reload(start: Starter) -> None:
    site = start.site("held", "-w", "2")

    def ask(times: int) -> None:
        for _ in range(times):
            assert site.get("/pid").status == 200

    def counted() -> int:
        totals = stats(site.spile)["totals"]["requests"]
        assert totals == sum(sum(classes.values()) for classes in requests(site.spile).values())
        return totals

    ask(10)
    wait_until(lambda: counted() == 10, "ten requests")
    for worker in stats(site.spile)["workers"]:
        os.kill(worker["pid"], signal.SIGKILL)
    wait_until(
        lambda: stats(site.spile)["totals"]["restarts"].get("killed") == 2,
        "two workers to be killed",
    )
    assert counted() == 10
    ask(5)
    wait_until(lambda: counted() == 15, "five more")
    assert site.spile.control("reload").status == 0
    document = stats(site.spile)
    assert (document["master"]["generation"], document["master"]["reloads"]) == (2, 1)
    ask(5)
    wait_until(lambda: counted() == 20, "another five")


def test_it_answers_while_a_reload_goes_on(start: Starter, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(
        "import os, time\n"
        "while os.path.exists('wait'):\n"
        "    time.sleep(0.01)\n"
        "def application(environ, start_response):\n"
        "    start_response('200 OK', [])\n"
        "    return [b'served']\n"
    )
    site = start.site("app", cwd=tmp_path)
    assert site.get("/").text == "served"
    (tmp_path / "wait").touch()
    site.spile.signal(signal.SIGHUP)

    def state() -> str:
        return stats(site.spile)["master"]["state"]

    wait_until(lambda: state() == "reloading", "the reload to begin")
    assert site.get("/").text == "served"
    before = stats(site.spile)
    assert before["totals"]["requests"] >= 1
    (tmp_path / "wait").unlink()
    wait_until(lambda: state() == "serving", "the reload to end")
    after = stats(site.spile)["master"]
    assert (after["generation"], after["reloads"], after["reloads_failed"]) == (2, 1, 0)
    assert after["mold"] != before["master"]["mold"]


def test_it_is_beside_the_pid_file_for_its_owner_alone(start: Starter, tmp_path: Path) -> None:
    spile = start.spile("held", "--pidfile", str(tmp_path / "a.pid"), "--umask", "0")
    spile.wait_for_log("ready")
    control = os.stat(tmp_path / "a.pid.control")
    assert (stat.S_IMODE(control.st_mode), control.st_uid) == (0o600, os.geteuid())
