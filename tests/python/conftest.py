"""Tests of spile as its users meet it: `spile serve` behind a real nginx.

How to run them
    make test                                   everything, after building
    .venv/bin/pytest -n 4                       these tests alone
    .venv/bin/pytest -m big                     the gigabyte tests, which are left out otherwise
    SPILE_BIN=target/release/spile .venv/bin/pytest -k hello

They need nginx, Apache and lighttpd (`apt-get install nginx-light apache2-bin lighttpd`) and
tests/requirements.txt. $SPILE_BIN names the
command to test, by default .venv/bin/spile.

How they are laid out
    harness/        servers that a test starts (spile, nginx, …) and clients (HTTP, raw uwsgi)
    ../apps/        the applications that are served
    test_*.py       one subject a file

A test asks for `start` (everything it started ends with the test) or, through a fixture of its
own file, for `start_once` (ends with the file), and says `start.site("module:callable", …)` for
a spile behind an nginx or `start.spile(…)` for a spile alone. Each server runs in a temporary
folder on a socket or port of its own, so several runs can go on at once. Stopping is part of
every test: a spile that does not exit with status 0 on TERM, or leaves a process behind, fails.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness import Starter, fronts, nginx, spile


def pytest_sessionstart(session: pytest.Session) -> None:
    if session.config.option.collectonly:
        return
    if not spile.executable().is_file():
        raise pytest.UsageError(
            f"no spile at {spile.executable()}: run `make build`, or set SPILE_BIN"
        )
    if nginx.executable() is None:
        raise pytest.UsageError("no nginx: install it, for example `apt-get install nginx-light`")


@pytest.fixture
def start() -> Iterator[Starter]:
    """Starts servers that end with the test."""
    starter = Starter()
    yield starter
    starter.close()


@pytest.fixture(scope="module")
def start_once() -> Iterator[Starter]:
    """Starts servers that end with the last test of the file."""
    starter = Starter()
    yield starter
    starter.close()


@pytest.fixture(scope="module")
def arguments(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What the spile behind every front server of the matrix serves."""
    files = tmp_path_factory.mktemp("files")
    (files / "content").write_bytes(bytes(range(256)) * 400)
    return [
        *("fronts:application", "--threads", "4", "--mount", "/shop=fronts:application"),
        *("--mount", f"/files=static://{files}", "--mount", "/echo=echo://"),
    ]


@pytest.fixture(scope="module")
def upstream(start_once: Starter, arguments: list[str]) -> fronts.Upstream:
    return fronts.upstream(start_once, *arguments)


@pytest.fixture(scope="module")
def upstream_over_tls(start_once: Starter, arguments: list[str]) -> fronts.Upstream:
    return fronts.upstream(start_once, *arguments, over_tls=True)


@pytest.fixture(scope="module", params=fronts.KINDS, ids=lambda kind: kind.name)
def front(start_once: Starter, request: pytest.FixtureRequest) -> fronts.FrontSite:
    """Each front server in turn, over each transport: for the files test_front_*.py."""
    behind = "upstream_over_tls" if request.param.over_tls else "upstream"
    return fronts.FrontSite(request.param, request.getfixturevalue(behind), start_once)


@pytest.fixture
def key() -> str:
    """A name under which the application counts what happens in this test."""
    return uuid.uuid4().hex


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    """The application waits until this file exists."""
    return tmp_path / "gate"
