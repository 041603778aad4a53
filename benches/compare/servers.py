"""The servers that are compared: how each is started, and how nginx reaches it."""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable

from gauge import version_of

from harness import APPS
from harness.net import accepts
from harness.process import Process
from harness.spile import ROOT, environment, executable
from harness.waiting import wait_until

HERE = Path(__file__).resolve().parent

#: Where run.sh has put the other servers, and the frameworks: a virtual environment.
PEERS = Path(os.environ.get("BENCH_PEERS", ROOT / "target/bench"))
RELEASE = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release"


@dataclass(frozen=True)
class Work:
    """What a server has to do."""

    #: module:callable of pages.py or of tests/apps; or "hello://" or "axum".
    application: str
    workers: int = 1
    threads: int = 1
    #: Options that the case cannot do without, by the key of the server.
    options: Mapping[str, Sequence[str]] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Kind:
    """A server that can be compared."""

    #: What SERVERS= and the JSON call it, and what tables do.
    key: str
    name: str
    #: The command line for some work, a socket and a folder for files.
    command: Callable[[Work, Path, Path], list[str]]
    #: How to ask for its version.
    version: Sequence[str]
    protocol: str = "uwsgi"
    #: The key of the server that it is another form of.
    form_of: str = ""

    def program_version(self) -> str:
        return version_of(list(self.version))


class Server(Process):
    """A server that has been started, and listens."""

    def __init__(self, kind: Kind, work: Work, folder: Path) -> None:
        self.kind = kind
        self.socket = folder / f"{kind.key}.sock"
        command = kind.command(work, self.socket, folder)
        super().__init__(
            command, folder / f"{kind.key}.log", APPS, {**surroundings(folder), **work.environment}
        )

    def wait_ready(self) -> Server:
        def ready() -> bool:
            assert self.returncode is None, f"it ended with status {self.returncode}: {self.end()}"
            return accepts(str(self.socket))

        wait_until(ready, f"{self.kind.name} to listen")
        return self

    def shown(self) -> str:
        """Its command line, without where things lie on this machine."""
        line = shlex.join(self.command).replace(str(self.socket.parent) + "/", "")
        for path, short in ((RELEASE, "target/release"), (PEERS, "target/bench")):
            line = line.replace(str(path), short)
        return line.replace(f"{ROOT}/", "")

    def end(self) -> str:
        """The last lines of its log."""
        return " / ".join(self.log.strip().splitlines()[-3:])


def surroundings(folder: Path) -> dict[str, str]:
    """The same for all: they find the same applications and the same frameworks."""
    packages = PEERS / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}/site-packages"
    return environment(
        {
            "PYTHONPATH": os.pathsep.join(map(str, (HERE, APPS, packages))),
            "XDG_RUNTIME_DIR": str(folder),
            "DJANGO_SETTINGS_MODULE": "django_app.settings",
        }
    )


def spile(work: Work, socket: Path, _: Path) -> list[str]:
    options = []
    if work.workers > 1:
        options += ["--workers", str(work.workers)]
    if work.threads > 1:
        options += ["--threads", str(work.threads)]
    native = work.application.endswith(":")
    program = RELEASE / "spile" if native else executable()
    return [str(program), "serve", work.application, "--socket", f"unix:{socket}", *options]


def axum(_: Work, socket: Path, __: Path) -> list[str]:
    return [str(RELEASE / "examples/hello"), f"unix:{socket}"]


def uwsgi(work: Work, socket: Path, _: Path) -> list[str]:
    options = [*work.options.get("uwsgi", ())]
    if work.threads > 1:
        options += ["--threads", str(work.threads)]
    return [
        *(str(PEERS / "bin/uwsgi"), "--master", "--processes", str(work.workers)),
        *("--socket", str(socket), "--home", str(PEERS), "--module", work.application),
        *("--need-app", "--disable-logging", *options),
    ]


def uwsgi_with_lock(work: Work, socket: Path, folder: Path) -> list[str]:
    return [*uwsgi(work, socket, folder), "--thunder-lock"]


def gunicorn(work: Work, socket: Path, _: Path) -> list[str]:
    options = ["--threads", str(work.threads)] if work.threads > 1 else []
    return [
        *(str(PEERS / "bin/gunicorn"), "--protocol", "uwsgi", "--bind", f"unix:{socket}"),
        *("--workers", str(work.workers), *options, work.application),
    ]


def granian(work: Work, socket: Path, _: Path) -> list[str]:
    return [
        *(str(PEERS / "bin/granian"), "--interface", "wsgi", "--uds", str(socket)),
        *("--workers", str(work.workers), "--blocking-threads", str(work.threads)),
        work.application,
    ]


def bjoern(work: Work, socket: Path, _: Path) -> list[str]:
    script = str(HERE / "serve_bjoern.py")
    return [str(PEERS / "bin/python"), script, str(socket), work.application]


def floor(_: Work, socket: Path, folder: Path) -> list[str]:
    """Answers with the bytes in the folder's `response`."""
    return [str(PEERS / "floor"), str(socket), str(folder / "response")]


def _package(name: str) -> list[str]:
    code = f"import importlib.metadata as m; print(m.version({name!r}))"
    return [str(PEERS / "bin/python"), "-c", code]


KINDS = {
    kind.key: kind
    for kind in (
        Kind("spile", "spile", spile, [str(executable()), "--version"]),
        Kind(
            "axum",
            "spile, axum through tower",
            axum,
            [str(executable()), "--version"],
            form_of="spile",
        ),
        Kind("uwsgi", "uWSGI", uwsgi, _package("uWSGI")),
        Kind(
            "uwsgi-lock",
            "uWSGI --thunder-lock",
            uwsgi_with_lock,
            _package("uWSGI"),
            form_of="uwsgi",
        ),
        Kind("gunicorn", "gunicorn --protocol uwsgi", gunicorn, _package("gunicorn")),
        Kind("granian", "granian, proxy_pass", granian, _package("granian"), "http"),
        Kind("bjoern", "bjoern, proxy_pass", bjoern, _package("bjoern"), "http"),
        Kind("floor", "the bare C loop", floor, ["cc", "--version"]),
    )
}


def failure_of(error: Exception) -> str:
    """In one line, for a table."""
    return re.sub(r"\s+", " ", str(error)).strip()[:300] or type(error).__name__
