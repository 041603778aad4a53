"""Threads that importing an application starts, and what the log says of them."""

from __future__ import annotations

import re
from pathlib import Path

from harness import Starter

END = """
def application(environ, start_response):
    start_response("200 OK", [])
    return [b"answered"]
"""


def warnings(start: Starter, folder: Path, source: str) -> list[str]:
    (folder / "app.py").write_text(source + END)
    spile = start.spile("app", "-t", "2", cwd=folder)
    assert spile.ask("/").body == b"answered"
    return re.findall(r" WARN (.*\n  hint: .*)", spile.log)


def test_threads_of_both_modules_are_named(start: Starter, tmp_path: Path) -> None:
    said = warnings(
        start,
        tmp_path,
        "import _thread, threading, time\n"
        "def wait(): time.sleep(600)\n"
        "threading.Thread(target=wait, name='refresh', daemon=True).start()\n"
        "_thread.start_new_thread(wait, ())\n"
        "time.sleep(0.1)\n",
    )
    assert len(said) == 1
    assert "has started threads (refresh, app.wait): they run on in this process" in said[0]
    assert "\n  hint: --lazy has each worker import the application" in said[0]


def test_a_library_that_starts_its_own_anew_is_no_warning(start: Starter, tmp_path: Path) -> None:
    """As sentry_sdk and OpenTelemetry are, whose names these stand-ins have."""
    for name in ("sentry_sdk", "opentelemetry"):
        (tmp_path / f"{name}.py").write_text(
            "import threading, time\n"
            "class Worker:\n"
            "    def run(self): time.sleep(600)\n"
            "worker = Worker()\n"
            "threading.Thread(target=worker.run, daemon=True).start()\n"
        )
    assert warnings(start, tmp_path, "import sentry_sdk, opentelemetry\n") == []


def test_a_wrapped_start_of_threads_is_not_gevents(start: Starter, tmp_path: Path) -> None:
    """Debuggers wrap it: those of PyCharm, and debugpy."""
    said = warnings(
        start,
        tmp_path,
        "import _thread, threading\n"
        "start = _thread.start_new_thread\n"
        "def wrapped(*arguments): return start(*arguments)\n"
        "_thread.start_new_thread = threading._start_new_thread = wrapped\n",
    )
    assert said == []


def test_idle_connections_of_redis_py_are_no_warning(start: Starter, tmp_path: Path) -> None:
    """A stand-in: its pool has the attributes of redis-py's, by which they are recognised."""
    (tmp_path / "redis").mkdir()
    (tmp_path / "redis" / "__init__.py").write_text("")
    (tmp_path / "redis" / "connection.py").write_text(
        "class ConnectionPool:\n"
        "    def __init__(self, idle): self._available_connections = idle\n"
        "class Connection:\n"
        "    def __init__(self, sock): self._sock = sock\n"
    )
    said = warnings(
        start,
        tmp_path,
        "import socket\n"
        "from redis.connection import Connection, ConnectionPool\n"
        "server = socket.create_server(('127.0.0.1', 0))\n"
        "idle, other = (socket.create_connection(server.getsockname()) for _ in range(2))\n"
        "pool = ConnectionPool([Connection(idle)])\n"
        "ends = [server.accept()[0] for _ in range(2)]\n"
        "address = server.getsockname()\n"
        "server.close()\n"
        "for it in ends: it.close()\n",
    )
    assert len(said) == 1
    assert "has left a connection to 127.0.0.1:" in said[0]
    assert "\n  hint: --lazy has each worker import the application and open its own" in said[0]
