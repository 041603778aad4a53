"""A front server of any kind: what a test does with it, and the examples it is configured by."""

from __future__ import annotations

import signal
from collections.abc import Iterable

from harness.net import Port, accepts
from harness.process import Process
from harness.spile import ROOT
from harness.waiting import wait_until


class Front(Process):
    """A server that listens to HTTP on ports of 127.0.0.1, by the names of virtual servers."""

    _ports: dict[str, Port]

    def port(self, server: str = "default") -> int:
        return self._ports[server].number

    def wait_ready(self) -> Front:
        def ready() -> bool:
            assert self.returncode is None, f"{self.command[0]} ended:\n{self.log}"
            return all(accepts(("127.0.0.1", port.number)) for port in self._ports.values())

        wait_until(ready, f"{self.command[0]} to listen")
        return self

    def stop(self) -> None:
        if self.returncode is None:
            self.signal(signal.SIGTERM)
        self.wait()

    def destroy(self) -> None:
        super().destroy()
        for port in self._ports.values():
            port.release()


def example(path: str, changes: Iterable[tuple[str, str]]) -> str:
    """A configuration of `nginx/`, each of these texts in it replaced."""
    text = (ROOT / "nginx" / path).read_text("utf-8")
    for old, new in changes:
        assert old in text, f"nginx/{path} has no {old!r} (any more)"
        text = text.replace(old, new)
    return text
