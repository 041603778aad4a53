"""`spile top` in a terminal of its own, nearly always fed by a control socket of this file."""

from __future__ import annotations

import contextlib
import copy
import fcntl
import json
import os
import pty
import select
import signal
import socket
import struct
import subprocess
import termios
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import pyte
import pytest

from harness import Starter, run_spile, wait_until
from harness.spile import environment, executable
from harness.waiting import PATIENCE

LEAVE_ALTERNATE_SCREEN = b"\x1b[?1049l"
SHOW_CURSOR = b"\x1b[?25h"


def worker(number: int, busy: float, rss: int, *running: tuple[str, float]) -> dict[str, Any]:
    return {
        "number": number,
        "pid": 4000 + number,
        "state": "busy" if running else "idle",
        "generation": 1,
        "uptime": 100.0,
        "requests": 1000,
        "errors": 0,
        "in_flight": len(running),
        "rss": rss << 20,
        "busy": busy,
        "running": [{"request": request, "since": since} for request, since in running],
        "respawns": number - 1,
        "last_respawn": "max-rss" if number > 1 else None,
    }


def document() -> dict[str, Any]:
    return {
        "version": "9.8.7",
        "time": 1_800_000_000.0,
        "master": {
            "pid": 4000,
            "state": "serving",
            "uptime": 200.0,
            "generation": 1,
            "mold": None,
            "workers_wanted": 3,
            "reloads": 0,
            "reloads_failed": 0,
        },
        "sockets": [{"address": "unix:/run/app.sock", "queue": 3, "queue_limit": 1024}],
        "mounts": [],
        "workers": [
            worker(1, 0.1, 300, ("GET /report\x1b]0;title\x07", 2.5)),
            worker(2, 0.9, 50, ("POST /import", 0.25)),
            worker(3, 0.5, 200),
        ],
        "totals": {
            "requests": 3000,
            "errors": 0,
            "in_flight": 2,
            "request_bytes": 0,
            "response_bytes": 0,
            "refused": {},
            "restarts": {"max-rss": 3},
            "access_log_dropped": 0,
        },
        "latency": {
            "buckets": [{"le": 0.1, "count": 3000}, {"le": None, "count": 0}],
            "sum": 30.0,
            "p50": 0.05,
            "p90": 0.09,
            "p99": 0.099,
        },
    }


class Server:
    """Answers at a control socket: each time one second and a hundred requests later."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.document = document()
        self.asked: list[Any] = []
        self._listener: socket.socket | None = None
        self.start()

    def start(self) -> None:
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self.path))
        self._listener.listen()
        self._thread = threading.Thread(target=self._serve, args=[self._listener])
        self._thread.start()

    def _serve(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection, contextlib.suppress(OSError):
                self.asked.append(json.loads(connection.makefile("rb").readline()))
                connection.sendall(json.dumps({"ok": self.document}).encode())
            later = copy.deepcopy(self.document)
            later["master"]["uptime"] += 1.0
            for one in later["workers"]:
                one["uptime"] += 1.0
            later["totals"]["requests"] += 100
            later["latency"]["buckets"][0]["count"] += 100
            self.document = later

    def stop(self) -> None:
        assert self._listener
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()
        self.path.unlink()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path / "control.sock")
    yield server
    if server.path.exists():
        server.stop()


class Terminal:
    """A terminal of 80 columns and 24 lines that runs `spile top`."""

    def __init__(self, control: Path, **extra: str) -> None:
        self.screen = pyte.Screen(80, 24)
        self.written = b""
        self._stream = pyte.ByteStream(self.screen)
        self._master, slave = pty.openpty()
        self._size(slave, 80, 24)
        self.before = termios.tcgetattr(slave)
        self._slave = slave
        self.process = subprocess.Popen(
            [str(executable()), "top", "--control", str(control), "--interval", "0.1"],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=environment({"TERM": "xterm-256color", **extra}),
            start_new_session=True,
        )

    @staticmethod
    def _size(terminal: int, columns: int, lines: int) -> None:
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def resize(self, columns: int, lines: int) -> None:
        self.screen.resize(lines, columns)
        self._size(self._slave, columns, lines)
        self.process.send_signal(signal.SIGWINCH)

    def press(self, keys: bytes) -> None:
        os.write(self._master, keys)

    def read(self) -> None:
        while select.select([self._master], [], [], 0)[0]:
            output = os.read(self._master, 65536)
            self.written += output
            self._stream.feed(output)

    @property
    def text(self) -> str:
        self.read()
        return "\n".join(line.rstrip() for line in self.screen.display)

    def wait_for(self, question: Callable[[str], Any], what: str) -> str:
        try:
            wait_until(lambda: question(self.text), what)
        except AssertionError as error:
            raise AssertionError(f"{error}; the screen:\n{self.text}") from None
        return self.text

    def wait_for_text(self, *texts: str) -> str:
        return self.wait_for(lambda screen: all(text in screen for text in texts), repr(texts))

    def end(self) -> int:
        """Its exit status; it must leave the terminal as it was."""

        def ended() -> bool:
            self.read()
            return self.process.poll() is not None

        wait_until(ended, "spile top to end")
        self.read()
        assert LEAVE_ALTERNATE_SCREEN in self.written
        assert self.written.rfind(SHOW_CURSOR) > self.written.rfind(b"\x1b[?25l")
        assert termios.tcgetattr(self._slave) == self.before
        return self.process.returncode

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(PATIENCE)
        os.close(self._slave)
        os.close(self._master)


@pytest.fixture
def terminal(server: Server) -> Iterator[Terminal]:
    terminal = Terminal(server.path)
    yield terminal
    terminal.close()


def workers(screen: str) -> list[int]:
    """The numbers of the workers from top to bottom."""
    _, _, rows = screen.partition("RUNNING\n")
    fields = [line.split() for line in rows.splitlines()]
    return [int(row[0]) for row in fields if len(row) > 2 and row[0].isdigit()]


def test_workers_and_rates(server: Server, terminal: Terminal) -> None:
    screen = terminal.wait_for_text("100 req/s", "p99 99ms", "q quit")
    for text in [
        "spile 9.8.7   pid 4000   serving   up 3m",
        "workers 3/3",
        "3/1024",
        "0.0 errors/s",
    ]:
        assert text in screen
    assert workers(screen) == [1, 2, 3]
    assert "2.5s GET /report\\u{1b}" in screen
    assert b"\x1b]0;title" not in terminal.written
    assert server.asked[0] == {"command": "stats"}


def test_the_order_of_the_workers(terminal: Terminal) -> None:
    orders = [("busy", [2, 3, 1]), ("rss", [1, 3, 2]), ("running time", [1, 2, 3])]
    terminal.wait_for_text("100 req/s", "sort: number")
    for name, order in orders:
        terminal.press(b"s")
        terminal.wait_for_text(f"sort: {name}")
        terminal.wait_for(lambda screen, order=order: workers(screen) == order, str(order))


def test_a_pause(server: Server, terminal: Terminal) -> None:
    terminal.wait_for_text("100 req/s")
    terminal.press(b"p")
    before = terminal.wait_for_text("PAUSED").split("\n")[:-1]
    asked = len(server.asked)
    wait_until(lambda: len(server.asked) > asked + 2, "more documents")
    assert terminal.text.split("\n")[:-1] == before
    terminal.press(b"p")
    terminal.wait_for(lambda screen: "PAUSED" not in screen, "the end of the pause")


def test_another_size_is_filled(terminal: Terminal) -> None:
    terminal.wait_for_text("100 req/s", "RESTARTS")
    terminal.resize(60, 10)

    def is_full(screen: str, title: bool, lines: int) -> bool:
        """Whether the last line is in its place, with all workers above it."""
        there = "q quit" in screen.split("\n")[lines - 1] and workers(screen) == [1, 2, 3]
        return there and ("RESTARTS" in screen) == title

    terminal.wait_for(lambda screen: is_full(screen, False, 10), "a smaller screen")
    terminal.resize(120, 40)
    terminal.wait_for(lambda screen: is_full(screen, True, 40), "a larger screen")


def test_a_server_that_goes_and_comes_back(server: Server, terminal: Terminal) -> None:
    terminal.wait_for_text("100 req/s")
    server.stop()
    terminal.wait_for_text("no answer for")
    terminal.wait_for(lambda screen: workers(screen) == [1, 2, 3], "the workers as they were")
    server.document = document()
    server.document["master"]["pid"] = 5000
    server.start()
    screen = terminal.wait_for_text("pid 5000", "new: pid was 4000", "100 req/s")
    assert "no answer" not in screen


@pytest.mark.parametrize("key", [b"q", b"\x1b", b"\x03"], ids=["q", "Esc", "Ctrl-C"])
def test_a_key_quits(terminal: Terminal, key: bytes) -> None:
    terminal.wait_for_text("100 req/s")
    terminal.press(key)
    assert terminal.end() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_quits(terminal: Terminal, number: int) -> None:
    terminal.wait_for_text("100 req/s")
    terminal.process.send_signal(number)
    assert terminal.end() == 0


def test_colors_are_left_out(server: Server) -> None:
    def has_color(terminal: Terminal) -> bool:
        terminal.wait_for_text("2.5s GET")
        cells = (cell for line in terminal.screen.buffer.values() for cell in line.values())
        return any(cell.fg != "default" or cell.bg != "default" for cell in cells)

    colored, plain = Terminal(server.path), Terminal(server.path, NO_COLOR="1")
    try:
        assert (has_color(colored), has_color(plain)) == (True, False)
    finally:
        colored.close()
        plain.close()


def test_no_terminal(server: Server, tmp_path: Path) -> None:
    finished = run_spile("top", "--control", str(server.path), cwd=tmp_path)
    assert (finished.status, finished.out) == (1, b"")
    assert "not a terminal" in finished.err
    assert "spile stats" in finished.err
    assert server.asked == []


def test_no_server(server: Server) -> None:
    server.stop()
    terminal = Terminal(server.path)
    try:
        screen = terminal.wait_for_text("error: ", str(server.path)[:20], "hint: ")
        assert terminal.process.wait(PATIENCE) == 1, screen
        assert b"\x1b" not in terminal.written
    finally:
        terminal.close()


def test_an_interval_that_is_none(server: Server, tmp_path: Path) -> None:
    finished = run_spile("top", "--control", str(server.path), "--interval", "0", cwd=tmp_path)
    assert finished.status == 2
    assert "--interval: `0` is not a time in seconds" in finished.err


def test_a_real_server(start: Starter, tmp_path: Path) -> None:
    control, started, gate = (tmp_path / name for name in ("control", "started", "gate"))
    site = start.site("held", "-w", "2", "--control", str(control))
    assert site.get("/pid").status == 200
    client = threading.Thread(target=lambda: site.get(f"/hold?started={started}&gate={gate}"))
    client.start()
    wait_until(started.exists, "the request to run")
    terminal = Terminal(control)
    try:
        screen = terminal.wait_for_text(
            f"pid {site.spile.pid}", "serving", "GET /hold", "1 in flight"
        )
        assert workers(screen) == [1, 2]
        assert str(site.spile.address)[:30] in screen
        gate.touch()
        client.join(PATIENCE)
        terminal.wait_for(lambda screen: "GET /hold" not in screen, "the request to be over")
        terminal.wait_for_text("2 requests", "0 in flight")
        terminal.press(b"q")
        assert terminal.end() == 0
    finally:
        gate.touch()
        client.join(PATIENCE)
        terminal.close()
