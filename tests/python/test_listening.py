"""Applications that listen on a port of their own as soon as they are imported."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from test_reload import load, reload

from harness import Spile, Starter, run_spile, wait_until
from harness.net import Port
from harness.process import kill, parent_of
from harness.workers import answers, mold_of

BEGIN = """
import json, os, socket, socketserver, threading
ADDRESS = {address!r}
"""

#: What listens, by how its thread waits.
LISTENING = {
    # As http.server, wsgiref and with them prometheus_client do.
    "selecting": """
class Handler(socketserver.BaseRequestHandler):
    def handle(self):
        self.request.sendall(b"%d" % os.getpid())
socketserver.TCPServer.allow_reuse_address = True
server = socketserver.TCPServer(ADDRESS, Handler)
kept = server.socket
threading.Thread(target=server.serve_forever, daemon=True).start()
""",
    "accepting": """
kept = socket.create_server(ADDRESS)
def answer():
    while True:
        connection, _ = kept.accept()
        connection.sendall(b"%d" % os.getpid())
        connection.close()
threading.Thread(target=answer, daemon=True).start()
""",
    # One that does not remove the file before.
    "unix": """
kept = socket.socket(socket.AF_UNIX)
kept.bind(ADDRESS)
kept.listen()
def answer():
    while True:
        connection, _ = kept.accept()
        connection.sendall(b"%d" % os.getpid())
        connection.close()
threading.Thread(target=answer, daemon=True).start()
""",
    "datagrams": """
kept = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
kept.bind(ADDRESS)
def answer():
    while True:
        _, peer = kept.recvfrom(100)
        kept.sendto(b"%d" % os.getpid(), peer)
threading.Thread(target=answer, daemon=True).start()
""",
}

END = """
def application(environ, start_response):
    if environ["PATH_INFO"] == "/close":
        kept.close()
    start_response("200 OK", [])
    return [json.dumps({"served_by": os.getpid()}).encode()]
"""


@pytest.fixture
def port() -> Iterator[int]:
    port = Port()
    yield port.number
    port.release()


def ask(kind: str, address: object) -> int:
    """The process that answers there; 0 for nobody."""
    family = socket.AF_UNIX if kind == "unix" else socket.AF_INET
    what = socket.SOCK_DGRAM if kind == "datagrams" else socket.SOCK_STREAM
    with socket.socket(family, what) as client:
        client.settimeout(5)
        try:
            client.connect(address)  # type: ignore[arg-type]
            if kind == "datagrams":
                client.send(b"?")
            return int(client.recv(100) or b"0")
        except OSError:
            return 0


@pytest.mark.parametrize("kind", LISTENING)
def test_a_reload_opens_it_anew_and_loses_nothing(
    start: Starter, tmp_path: Path, port: int, kind: str
) -> None:
    address: object = str(tmp_path / "own") if kind == "unix" else ("127.0.0.1", port)
    app = tmp_path / "app.py"
    source = BEGIN.format(address=address) + LISTENING[kind] + END
    app.write_text(source)
    site = start.site("app", "-w", "2", cwd=tmp_path)
    spile = site.spile
    spile.wait_for_log("ready")
    mold = mold_of(spile)
    assert ask(kind, address) == mold
    named = f"unix:{address}" if kind == "unix" else f"127.0.0.1:{port}"
    said = re.findall(r"WARN importing the .* has it listen on (\S+) .*mold (\d+)", spile.log)
    assert said == [(named, str(mold))]
    assert "hint: for metrics use prometheus_client's multiprocess mode" in spile.log
    assert "has started threads" not in spile.log
    # In a worker the number is the application's to close, and nothing is behind it.
    answers(spile, 2, "/close")
    assert ask(kind, address) == mold
    with load(site) as wrong:
        assert "reloaded in" in reload(spile)
        assert ask(kind, address) == mold_of_next(spile, mold)
        app.write_text(source + "1 / 0\n")
        said_again = reload(spile)
        app.write_text(source)
        assert f"{named}" in said_again
        assert "stays closed until one succeeds" in said_again
        assert ask(kind, address) == 0
        mold = mold_of(spile)
        assert "reloaded in" in reload(spile)
        mold = mold_of_next(spile, mold)
        assert ask(kind, address) == mold
        kill(mold, signal.SIGKILL)
        if kind == "unix":
            os.unlink(str(address))  # nobody is left to do that
        spile.wait_for_log("ready again")
        # Workers of the dead mold are the master's children until they have left.
        wait_until(lambda: ask(kind, address) == mold_of(spile), "the new mold alone")
    assert not wrong


def mold_of_next(spile: Spile, mold: int) -> int:
    wait_until(lambda: mold not in spile.family(), "the last mold to end")
    return mold_of(spile)


def test_an_upgrade_opens_it_anew(start: Starter, tmp_path: Path, port: int) -> None:
    app = tmp_path / "app.py"
    app.write_text(BEGIN.format(address=("127.0.0.1", port)) + LISTENING["selecting"] + END)
    spile = start.spile("app", cwd=tmp_path)
    spile.wait_for_log("ready")
    mold = mold_of(spile)
    spile.signal(signal.SIGUSR2)
    assert spile.wait() == 0
    answered = ask("selecting", ("127.0.0.1", port))
    assert answered != mold
    assert answered in spile.family()
    new = parent_of(answered)
    assert new
    kill(new, signal.SIGTERM)
    wait_until(lambda: not spile.family(), "the new master and its processes to end")


def test_what_a_process_of_the_application_listens_on_is_told(
    start: Starter, tmp_path: Path, port: int
) -> None:
    """No server can close that: it is said before the first reload fails by it."""
    (tmp_path / "app.py").write_text(
        "import subprocess, sys\n"
        "child = subprocess.Popen([sys.executable, '-c', '''\n"
        "import os, socket, sys, time\n"
        "if os.fork(): os._exit(0)\n"
        f'server = socket.create_server(("127.0.0.1", {port}))\n'
        "print(os.getpid(), flush=True)\n"
        "time.sleep(600)\n"
        "'''], stdout=subprocess.PIPE)\n"
        "line = child.stdout.readline()\n"
        "if not line:\n"
        "    raise RuntimeError('no port: [Errno 98] Address already in use')\n"
        "pid = int(line)\n"
        "def application(environ, start_response):\n"
        "    start_response('200 OK', [])\n"
        "    return [str(pid).encode()]\n"
    )
    spile = start.spile("app", cwd=tmp_path)
    pid = spile.ask("/").text
    failed = spile.control("reload")
    assert failed.status == 1
    assert re.search(
        rf"hint: what an earlier import has started listens \(process {pid} \(.*\) on "
        rf"127.0.0.1:{port}\): stop and start the server",
        failed.err,
    )
    kill(int(pid), signal.SIGKILL)
    assert re.search(
        rf"WARN importing the application has started process {pid} \(.*\), which listens on "
        rf"127.0.0.1:{port} and does so until it ends: a reload, .*\n  hint: stop and start ",
        spile.log,
    )


def test_workers_that_import_for_themselves_cannot_all_have_it(
    start: Starter, tmp_path: Path, port: int
) -> None:
    (tmp_path / "app.py").write_text(
        BEGIN.format(address=("127.0.0.1", port)) + LISTENING["selecting"] + END
    )
    arguments = ("--socket", str(start.folder() / "s"), "--log-format", "json")
    run = run_spile("serve", "app", "--lazy", "-w", "2", *arguments, cwd=tmp_path)
    assert run.status == 1
    last = json.loads(run.err.splitlines()[-1])
    assert last["message"].startswith("importing `app` failed: OSError: [Errno 98] ")
    assert re.match(
        r"each worker takes the address for itself, and another worker listens already "
        rf"\(process \d+ on 127.0.0.1:{port}\): take it once, .* without --lazy",
        last["hint"],
    )
