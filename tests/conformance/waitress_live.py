"""A pytest plugin for waitress' tests/test_functional.py: its fixture applications on spile behind
nginx, in the place of waitress.

Their tests speak HTTP by hand. Where nginx is known to differ from what they say or want to hear,
and it is nothing of ours, it is put right here, so that the rest of the test still counts:

- A request in HTTP/1.1 has a Host: it is added, since nginx refuses one that has none.
- nginx answers in HTTP/1.1, whatever it was asked in.
- nginx is told (`postpone_output`) to hold nothing back: when a response breaks off, it would drop
  that.

The tests on unix sockets are left out: it would be nginx that listens there.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from harness import Site, Starter
from on_spile import CGI_PARAMS, finish, serve

#: Where the suite is run.
SOURCE = Path.cwd()

#: waitress' settings, as directives of nginx.
SETTINGS: dict[str, Callable[[Any], list[str]]] = {
    "max_request_header_size": lambda size: [
        f"client_header_buffer_size {size};",
        f"large_client_header_buffers 1 {size};",
    ],
    "max_request_body_size": lambda size: [f"client_max_body_size {size};"],
    # Nothing corresponds to these.
    "clear_untrusted_proxy_headers": lambda _: [],
    "expose_tracebacks": lambda _: [],
    "trusted_proxy": lambda _: [],
    "trusted_proxy_count": lambda _: [],
    "trusted_proxy_headers": lambda _: [],
}

REQUEST_LINE = re.compile(rb"^([A-Z]+ \S+ HTTP/1\.1\r\n)", re.MULTILINE)


class Sites:
    """A server for each application and settings, which all their tests share."""

    def __init__(self) -> None:
        self.starter = Starter()
        self._sites: dict[str, Site] = {}

    def of(self, app: Callable[..., Any], settings: dict[str, Any]) -> Site:
        directives = [line for key in sorted(settings) for line in SETTINGS[key](settings[key])]
        name = f"{app.__module__}:{app.__name__}"
        key = " ".join([name, *directives])
        if key not in self._sites:
            self._sites[key] = serve(
                self.starter,
                name,
                SOURCE,
                params=CGI_PARAMS + "uwsgi_param REMOTE_HOST $remote_addr;\n",
                directives=["postpone_output 0;", *directives],
            )
        return self._sites[key]

    def close(self) -> None:
        try:
            for site in self._sites.values():
                finish(site)
        finally:
            self.starter.close()


class WithHost(socket.socket):
    """Adds a Host to requests in HTTP/1.1 that have none. Waiting has an end."""

    def __init__(self) -> None:
        super().__init__(socket.AF_INET, socket.SOCK_STREAM)
        self.settimeout(5)

    def send(self, data: bytes, *flags: int) -> int:
        if b"\nhost:" not in data.lower():
            data = REQUEST_LINE.sub(rb"\1Host: localhost\r\n", data)
        self.sendall(data)
        return len(data)


@pytest.fixture(scope="session")
def sites() -> Iterator[Sites]:
    sites = Sites()
    yield sites
    sites.close()


@pytest.fixture(scope="session", autouse=True)
def on_spile(sites: Sites) -> None:
    """Puts spile in the place of the server that their tests start."""
    from tests import test_functional

    def start(self: Any, app: Callable[..., Any], **settings: Any) -> None:
        self.bound_to = ("127.0.0.1", sites.of(app, settings).port())
        self.sock = self.create_socket()

    def assert_line(self: Any, line: bytes, status: str, reason: str, _version: str) -> None:
        assert line.decode("latin-1") == f"HTTP/1.1 {status} {reason}\r\n"

    their = test_functional.SubprocessTests
    their.start_subprocess = start
    their.stop_subprocess = lambda self: self.sock.close()
    their.create_socket = lambda self: WithHost()
    their.assertline = assert_line


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    tcp = [item for item in items if not item.nodeid.partition("::")[2].startswith("Unix")]
    config.hook.pytest_deselected(items=[item for item in items if item not in tcp])
    items[:] = tcp
