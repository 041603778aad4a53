"""spile and uWSGI under the same conditions: four workers of one Django project."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from harness import APPS, Nginx, Spile
from harness.net import accepts
from harness.process import Process, parent_of, pss_kib
from harness.waiting import wait_until

WORKERS = 4


class Server:
    """A server behind an nginx of its own, in a folder of its own."""

    #: What the table calls it.
    name: str

    def __init__(self, process: Process, socket: str, folder: Path) -> None:
        self.process = process
        self.nginx = Nginx(f"unix:{socket}", folder, {"default": []})
        self.port = self.nginx.port()

    def workers(self) -> set[int]:
        """The processes that serve."""
        raise NotImplementedError

    def reload(self) -> None:
        """Has the application imported anew; returns when only the new one serves."""
        raise NotImplementedError

    def wait_ready(self) -> None:
        self.nginx.wait_ready()
        wait_until(lambda: len(self.workers()) == WORKERS, f"{self.name} to start its workers")

    def memory_mib(self) -> float:
        """PSS of all its processes: what two of them share counts once."""
        return sum(pss_kib(pid) for pid in self.process.family()) / 1024

    def destroy(self) -> None:
        self.process.destroy()
        self.nginx.destroy()


class SpileServer(Server):
    def __init__(self, folder: Path, options: Sequence[str], database: Path) -> None:
        self.name = " ".join(["spile", *options])
        self._spile = Spile(
            *("django_app.admin_wsgi:application", "--workers", str(WORKERS), *options),
            folder=folder,
            cwd=APPS,
            env=environment(database),
        )
        super().__init__(self._spile, str(self._spile.address), folder)
        self._spile.wait_ready()

    def workers(self) -> set[int]:
        return self._spile.worker_pids()

    def reload(self) -> None:
        self._spile.reload()


class UwsgiServer(Server):
    def __init__(self, program: Path, folder: Path, options: Sequence[str], database: Path) -> None:
        self.name = " ".join(["uWSGI", *options])
        self._lazy = "--lazy-apps" in options
        self._fifo = folder / "fifo"
        socket = str(folder / "uwsgi.sock")
        process = Process(
            [
                str(program),
                *("--master", "--processes", str(WORKERS), "--socket", socket),
                *("--home", sys.prefix, "--chdir", str(APPS), "--module", "django_app.admin_wsgi"),
                *("--enable-threads", "--die-on-term", "--need-app", "--disable-logging"),
                *("--listen", "100", "--master-fifo", str(self._fifo), *options),
            ],
            folder / "uwsgi.log",
            APPS,
            {**os.environ, **environment(database)},
        )
        super().__init__(process, socket, folder)
        wait_until(lambda: accepts(socket), f"uWSGI to listen; its log is {process.log_path}")

    def workers(self) -> set[int]:
        master = self.process.pid
        return {pid for pid in self.process.family() if parent_of(pid) == master}

    def reload(self) -> None:
        before = self.workers()
        since = len(self.process.log)
        if self._lazy:
            # One worker after another, each when the one before serves.
            self._fifo.write_text("c")
            wait_until(
                lambda: "chain reloading complete" in self.process.log[since:],
                f"{self.name} to reload",
                patience=60,
            )
            return
        self.process.signal(signal.SIGHUP)
        wait_until(
            lambda: len(now := self.workers()) == WORKERS and not now & before,
            f"{self.name} to reload",
            patience=60,
        )


def environment(database: Path) -> Mapping[str, str]:
    return {"DJANGO_DATABASE": str(database), "PYTHONDONTWRITEBYTECODE": "1"}


def make_folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="spile-bench-")
