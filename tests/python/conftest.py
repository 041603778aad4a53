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

TRANSPORTS = ["unix", "tcp", "tls"]


def pytest_sessionstart(session: pytest.Session) -> None:
    if session.config.option.collectonly:
        return
    if not spile.executable().is_file():
        raise pytest.UsageError(
            f"no spile at {spile.executable()}: run `make build`, or set SPILE_BIN"
        )
    if nginx.executable() is None:
        raise pytest.UsageError("no nginx: install it, for example `apt-get install nginx-light`")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Gives a test its front servers or its transport: one of each, or all if it asks for them.

    The first ones are the same in both, so that a server is started once for all tests of a file.
    """
    every = metafunc.definition.get_closest_marker("every_transport")
    if "front" in metafunc.fixturenames:
        kinds = fronts.KINDS if every else fronts.SERVERS
        names = [kind.name for kind in kinds]
        metafunc.parametrize("front", kinds, indirect=True, ids=names, scope="module")
    if "transport" in metafunc.fixturenames:
        transports = TRANSPORTS if every else TRANSPORTS[:1]
        metafunc.parametrize("transport", transports, indirect=True, scope="module")


@pytest.fixture(scope="module")
def transport(request: pytest.FixtureRequest) -> str:
    """What spile listens on: "unix"; with the mark `every_transport` each of `TRANSPORTS`."""
    transport: str = request.param
    return transport


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


@pytest.fixture(scope="module")
def front(start_once: Starter, request: pytest.FixtureRequest) -> fronts.FrontSite:
    """Each front server in turn, for the files test_front_*.py: see `pytest_generate_tests`."""
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
