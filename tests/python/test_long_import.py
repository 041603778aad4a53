"""What the log says of application code that does not come back before anything is served."""

from __future__ import annotations

import re
import signal
from pathlib import Path

import pytest

from harness import Starter, wait_until

IMPORTING = "importing the application"

SERVING = """
import flask
app = flask.Flask(__name__)
application = app
app.run(port=0)
"""

# By C code, which no handler of a signal would get a word in.
WAITING = """
import os, signal, threading
signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
def connect():
    lock = threading.Lock()
    lock.acquire()
    if os.fork() == 0:
        os._exit(0)
    print("forked with", threading.active_count(), flush=True)
    lock.acquire()
connect()
"""

HOOKED = """
import time, spile
@spile.post_fork
def connect():
    while True:
        time.sleep(60)
def application(environ, start_response): pass
"""


def test_the_line_where_it_hangs_is_named(start: Starter, tmp_path: Path) -> None:
    """One test for all, since it takes the ten seconds."""
    pytest.importorskip("flask")
    cases = {
        "serving": (SERVING, [], IMPORTING, r"serving.py:5 \(<module>\), in \S+"),
        "waiting": (WAITING, ["--lazy"], IMPORTING, r"waiting.py:10 \(connect\)"),
        "hooked": (HOOKED, [], r"the spile.post_fork function `\S+`", r"hooked.py:6 \(connect\)"),
    }
    running = {}
    for name, (source, arguments, *_) in cases.items():
        (tmp_path / f"{name}.py").write_text(source)
        running[name] = start.spile(name, *arguments, cwd=tmp_path)
    for name, (_, _, what, place) in cases.items():
        spile = running[name]
        wait_until(lambda spile=spile: "s so far" in spile.log, "the line", patience=40)
        assert re.search(rf" WARN {what} has taken 10 s so far: it is at \S+{place}", spile.log)
    assert re.search(r"\n  hint: it serves by itself, .*`app.run\(\)`", running["serving"].log)
    assert "forked with 1\n" in running["waiting"].log
    for spile in running.values():
        spile.signal(signal.SIGINT)
        assert spile.wait() == 0
