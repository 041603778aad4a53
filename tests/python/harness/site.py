"""spile and nginx together: what a user sees."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Callable

from harness.certificates import Certificate
from harness.front import Front
from harness.http import Answer, Body, Headers, fetch
from harness.load import Load
from harness.net import Address, exchange
from harness.nginx import DISTRIBUTION_PARAMS, Nginx
from harness.spile import ROOT, Spile
from harness.waiting import PATIENCE

#: The small applications the tests serve.
APPS = ROOT / "tests/apps"


class Site:
    """A spile behind an nginx, or another front server."""

    def __init__(self, spile: Spile, front: Front) -> None:
        self.spile = spile
        self.front = front

    def port(self, server: str = "default") -> int:
        return self.front.port(server)

    def get(self, path: str, headers: Headers = (), server: str = "default") -> Answer:
        return self.fetch(path, headers=headers, server=server)

    def head(self, path: str, server: str = "default") -> Answer:
        return self.fetch(path, method="HEAD", server=server)

    def post(self, path: str, body: Body, headers: Headers = (), server: str = "default") -> Answer:
        return self.fetch(path, method="POST", headers=headers, body=body, server=server)

    def fetch(
        self,
        path: str,
        method: str = "GET",
        headers: Headers = (),
        body: Body = None,
        server: str = "default",
        timeout: float = PATIENCE,
    ) -> Answer:
        """One HTTP request through the front server."""
        return fetch(self.port(server), path, method, headers, body, timeout)

    def raw(self, request: bytes, server: str = "default") -> Answer:
        """Bytes as they are to the front server; the request must ask to close the connection."""
        received, end = exchange(("127.0.0.1", self.port(server)), request)
        return Answer.parse(received, complete=end == "eof")


class Starter:
    """Starts servers in temporary folders and, at the end, stops them all."""

    def __init__(self) -> None:
        self._stack = contextlib.ExitStack()
        self._spiles: list[Spile] = []

    def folder(self) -> Path:
        """A new folder that goes at the end. Its path is short: a unix socket's must be."""
        path = Path(tempfile.mkdtemp(prefix="spile-test-"))
        self._stack.callback(shutil.rmtree, path, ignore_errors=True)
        return path

    def spile(
        self,
        *arguments: str,
        socket: str | None = "unix",
        address: Address | None = None,
        cwd: Path = APPS,
        env: Mapping[str, str] | None = None,
        launcher: Sequence[str] = (),
        certificate: Certificate | None = None,
    ) -> Spile:
        """`spile serve` with the arguments, listening."""
        spile = Spile(
            *arguments,
            folder=self.folder(),
            cwd=cwd,
            socket=socket,
            address=address,
            env=env,
            launcher=launcher,
            certificate=certificate,
        )
        self._stack.callback(spile.destroy)
        self._spiles.append(spile)
        return spile.wait_ready()

    def nginx(
        self,
        spile: Spile,
        servers: Mapping[str, Sequence[str]] | None = None,
        params: str = DISTRIBUTION_PARAMS,
    ) -> Nginx:
        """An nginx in front of a spile, listening. It looks at a certificate."""
        if spile.certificate:
            params += spile.certificate.nginx()
        nginx = Nginx(spile.uwsgi_pass, self.folder(), {"default": [], **(servers or {})}, params)
        self.add(nginx)
        return nginx

    def add(self, front: Front) -> Front:
        """Takes over a front server that was started; returns it when it listens."""
        self._stack.callback(front.destroy)
        return front.wait_ready()

    def at_end(self, call: Callable[[], object]) -> None:
        """Calls this after the servers that were started since have ended."""
        self._stack.callback(call)

    def site(
        self,
        *arguments: str,
        servers: Mapping[str, Sequence[str]] | None = None,
        params: str = DISTRIBUTION_PARAMS,
        socket: str = "unix",
        cwd: Path = APPS,
        env: Mapping[str, str] | None = None,
    ) -> Site:
        """Both together."""
        spile = self.spile(*arguments, socket=socket, cwd=cwd, env=env)
        return Site(spile, self.nginx(spile, servers, params))

    def load(self, port: int, *arguments: str, **options: Any) -> Load:
        """Requests to a port, the first of which has been answered."""
        load = Load(port, self.folder(), arguments=arguments, **options)
        self._stack.callback(load.destroy)
        return load.wait_ready()

    def close(self) -> None:
        """Stops each spile the polite way, then removes whatever is left.

        A spile that has ended by now was ended by its test, which judged how.
        """
        try:
            for spile in self._spiles:
                if spile.returncode is None:
                    spile.stop()
        finally:
            self._stack.close()
