"""Applications that have green threads put in the place of the system's, as gevent does."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from harness import Starter

APPLICATION = """
import threading, time

meeting = []

def application(environ, start_response):
    if environ["PATH_INFO"] == "/meet":
        meeting.append(environ)
        while len(meeting) < 4:
            time.sleep(0.01)
    if environ["PATH_INFO"] == "/hang":
        time.sleep(600)
    start_response("200 OK", [])
    return [b"answered"]
"""

PATCHED = {
    "gevent": "from gevent import monkey; monkey.patch_all()",
    "eventlet": "import eventlet; eventlet.monkey_patch()",
}


@pytest.fixture(params=PATCHED)
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    pytest.importorskip(request.param)
    (tmp_path / "green.py").write_text(PATCHED[request.param] + APPLICATION)
    return tmp_path


@pytest.mark.parametrize("lazy", [[], ["--lazy"]])
def test_every_thread_serves(start: Starter, folder: Path, lazy: list[str]) -> None:
    spile = start.spile("green", "--threads", "4", *lazy, cwd=folder)
    assert spile.ask("/").body == b"answered"
    # Each waits for all.
    with ThreadPoolExecutor(4) as pool:
        bodies = [answer.body for answer in pool.map(spile.ask, ["/meet"] * 4)]
    assert bodies == [b"answered"] * 4
    spile.stop()
    assert spile.log.count(" WARN ") == 1
    assert re.search(" WARN importing the application has replaced threads by green", spile.log)
    assert " ERROR " not in spile.log


@pytest.mark.parametrize("threads", ["1", "3"])
def test_a_request_that_hangs_is_answered_in_time(
    start: Starter, folder: Path, threads: str
) -> None:
    spile = start.spile("green", "--threads", threads, "--request-timeout", "0.5", cwd=folder)
    assert spile.ask("/hang").status == 504
    assert re.search(r'GET /hang hangs at\n  File ".*"', spile.log)
    if threads == "1":  # What sleeps in another thread is cut off instead.
        assert re.search(r'  File ".*green.py".*(?s:.*)\nspile.RequestTimeout: ', spile.log)
    assert spile.ask("/").body == b"answered"
