"""The `spile` command under test."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.certificates import Certificate, usual
from harness.http import Answer
from harness.net import Address, Port, accepts
from harness.process import Process, threads_of
from harness.uwsgi import Connection
from harness.waiting import PATIENCE, wait_until

ROOT = Path(__file__).resolve().parents[3]


def executable() -> Path:
    """The command to test: $SPILE_BIN, else what `make build` leaves in .venv."""
    return Path(os.environ.get("SPILE_BIN", ROOT / ".venv/bin/spile")).absolute()


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment a spile is started in: this one without spile's own variables."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SPILE_")}
    # The tree stays as it is: no __pycache__ beside the applications.
    kept["PYTHONDONTWRITEBYTECODE"] = "1"
    # Nothing is left in the runtime directory of this machine.
    kept.pop("RUNTIME_DIRECTORY", None)
    if sys.prefix != sys.base_prefix:
        # The Python for a spile that does not bring one.
        kept["VIRTUAL_ENV"] = sys.prefix
    kept.update(extra or {})
    return kept


def without(calls: str, error: str) -> list[str]:
    """A launcher below which these system calls fail with this error."""
    return [sys.executable, str(Path(__file__).parent / "without_calls.py"), error, calls]


class Spile(Process):
    """A running `spile serve`.

    `socket` is "unix", "tcp" or "tls", for TLS over TCP with `certificate` or the usual one; its
    address is put last on the command line. None leaves the
    sockets to the arguments or the configuration, and `address` says where to look for them.
    `launcher` is a command that gets spile's as its last arguments, to exec it.
    """

    def __init__(
        self,
        *arguments: str,
        folder: Path,
        cwd: Path,
        socket: str | None = "unix",
        address: Address | None = None,
        env: Mapping[str, str] | None = None,
        launcher: Sequence[str] = (),
        certificate: Certificate | None = None,
    ) -> None:
        self.folder = folder
        self.certificate = certificate or (usual() if socket == "tls" else None)
        self._port: Port | None = None
        socket_arguments: list[str] = []
        if socket == "unix":
            address = str(folder / "spile.sock")
            socket_arguments = ["--socket", f"unix:{address}"]
        elif socket in ("tcp", "tls"):
            self._port = Port()
            address = ("127.0.0.1", self._port.number)
            socket_arguments = ["--socket", f"127.0.0.1:{self._port.number}"]
        if self.certificate:
            socket_arguments += self.certificate.arguments
        assert address is not None
        self.address: Address = address
        super().__init__(
            [*launcher, str(executable()), "serve", *arguments, *socket_arguments],
            folder / "spile.log",
            cwd,
            environment({**self.surroundings, **(env or {})}),
        )

    @property
    def surroundings(self) -> dict[str, str]:
        """What it and those who ask it look for the control socket by."""
        return {"XDG_RUNTIME_DIR": str(self.folder)}

    def control(self, command: str) -> Finished:
        """`spile stats` or `spile reload` at it."""
        arguments = [command, "--socket", self.uwsgi_pass.replace("suwsgi://", "")]
        return run_spile(*arguments, cwd=self.folder, env=self.surroundings)

    @property
    def uwsgi_pass(self) -> str:
        """The address as nginx's uwsgi_pass wants it."""
        if isinstance(self.address, str):
            return f"unix:{self.address}"
        scheme = "suwsgi://" if self.certificate else ""
        return scheme + "{}:{}".format(*self.address)

    def wait_ready(self) -> Spile:
        """Waits until the sockets accept connections."""

        def ready() -> bool:
            assert self.returncode is None, (
                f"spile exited with status {self.returncode}; its log:\n{self.log}"
            )
            return accepts(self.address)

        wait_until(ready, f"spile to listen at {self.address}")
        return self

    def connect(self, timeout: float = PATIENCE) -> Connection:
        return Connection(self.address, timeout, self.certificate and self.certificate.context())

    def ask(self, path: str, method: str = "GET", body: bytes = b"", **variables: str) -> Answer:
        """One request straight over the uwsgi protocol, without nginx."""
        with self.connect() as connection:
            return connection.request(path, method, body, **variables).answer()

    def worker_pids(self) -> set[int]:
        """The workers: each has a thread beside the application's, which a mold has not."""
        return {pid for pid in self.family() - {self.pid} if threads_of(pid) > 1}

    def mold_pids(self) -> set[int]:
        """The molds, of which there are two during a reload."""
        return {pid for pid in self.family() - {self.pid} if threads_of(pid) == 1}

    def reload(self) -> None:
        """Has the applications imported anew; returns when only the new workers are left."""
        finished = self.control("reload")
        assert finished.status == 0, f"{finished.err}\n{self.log}"

    def stop(self, patience: float = PATIENCE) -> None:
        """Asks it to stop with TERM, which must succeed and leave nobody behind."""
        if self.returncode is None:
            self.signal(signal.SIGTERM)
        status = self.wait(patience)
        assert status == 0, f"spile exited with status {status}; its log:\n{self.log}"
        wait_until(lambda: not self.family(), "the last process of spile to end")

    def destroy(self) -> None:
        super().destroy()
        if self._port:
            self._port.release()


@dataclass(frozen=True)
class Finished:
    """A command that has run to its end."""

    status: int
    out: bytes
    err: str


def run_spile(
    *arguments: str,
    cwd: Path,
    env: Mapping[str, str] | None = None,
    patience: float = PATIENCE,
) -> Finished:
    """Runs a command that ends by itself; one that does not is ended, and is an error."""
    process = subprocess.Popen(
        [str(executable()), *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=cwd,
        env=environment(env),
        start_new_session=True,
    )
    try:
        out, err = process.communicate(timeout=patience)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        out, err = process.communicate()
        raise AssertionError(
            f"`spile {' '.join(arguments)}` still ran {patience:g} s later; "
            f"it said:\n{out.decode('utf-8', 'replace')}{err.decode('utf-8', 'replace')}"
        ) from None
    return Finished(process.returncode, out, err.decode("utf-8", "replace"))
