"""The control socket, and `spile stats` and `spile reload`, which ask it."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

from harness import Spile, Starter, run_spile
from harness.net import connect, exchange


@pytest.fixture(scope="module")
def hello(start_once: Starter) -> Spile:
    return start_once.spile("hello:", "--mount", "/echo=echo:")


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
        "/": "hello:",
        "/echo": "echo:",
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
    (folder / "spile.toml").write_text('app = "hello:"\nsocket = "app.sock"\n')

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

    beside = start.spile("hello:", "--pidfile", str(folder / "a.pid"))
    assert asked(beside, "--pidfile", "a.pid") == beside.pid
    assert (folder / "a.pid.control").is_socket()

    chosen = start.spile("hello:", "--control", str(folder / "c"))
    assert asked(chosen, "--control", "c") == chosen.pid
    spile.stop()
    assert control_sockets(spile.folder) == []


def test_a_socket_of_a_server_that_was_killed_is_replaced(start: Starter) -> None:
    folder = start.folder()
    arguments = ["hello:", "--control", str(folder / "c")]
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
    spile = start.spile("hello:", env={"XDG_RUNTIME_DIR": str(folder)})
    assert spile.ask("/").status == 200
    assert "no control socket" in spile.log


@pytest.mark.parametrize("command", ["stats", "reload"])
def test_no_server(command: str, tmp_path: Path) -> None:
    finished = run_spile(command, "--pidfile", "none.pid", cwd=tmp_path)
    assert finished.status == 1
    assert f"{tmp_path}/none.pid.control" in finished.err
    assert "hint: " in finished.err
    assert run_spile(command, "--socket", "nowhere", cwd=tmp_path).status == 2
