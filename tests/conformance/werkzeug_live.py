"""A pytest plugin for Werkzeug's tests/test_serving.py: its live applications on spile behind
nginx, in the place of the development server.

What a test asks of that server is asked of the two: TLS and a unix socket of nginx, reloading of
spile. Tests without a server are left out.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import pytest
import trustme

from harness import Site, Starter, wait_until
from harness.net import Port
from on_spile import CGI_PARAMS, finish, serve

#: Where the suite is run.
TESTS = Path.cwd()


def theirs() -> Any:
    """Their conftest.py, which is not loaded as such: the client in it is wanted alone."""
    spec = importlib.util.spec_from_file_location("conftest", TESTS / "conftest.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["conftest"] = module
    spec.loader.exec_module(module)
    return module


class Client(theirs().DevServerClient):  # type: ignore[misc]
    """Their client, of a server that runs already."""

    def __init__(self, site: Site, scheme: str, address: str) -> None:
        self.site = site
        self.scheme = scheme
        self.addr = address
        self.url = f"{scheme}://{address}"
        self._read = 0

    def read_log(self) -> str:
        log = self.site.spile.log[self._read :]
        self._read += len(log)
        return log

    def wait_for_log(self, value: str) -> None:
        """Of what the development server says there is only that a change was seen."""
        assert value.startswith("Detected change in "), value

    def wait_for_reload(self) -> None:
        wait_until(lambda: "reloaded" in self.site.spile.log, "spile to reload")


@pytest.fixture
def dev_server(tmp_path: Path) -> Iterator[Callable[..., Client]]:
    starter = Starter()
    sites: list[Site] = []
    ports: list[Port] = []

    def start(name: str = "standard", **options: Any) -> Client:
        arguments: list[str] = []
        # What is empty otherwise.
        directives = ["server_name 127.0.0.1;"]
        scheme, address = "http", ""
        host = options.pop("hostname", "")
        if host:
            scheme, address = host.split("://")
            directives.append(f"listen {host.replace('://', ':')};")
        if options.pop("ssl_context", None):
            port = Port()
            ports.append(port)
            scheme, address = "https", f"127.0.0.1:{port.number}"
            directives += tls_directives(port, tmp_path)
        if options.pop("use_reloader", False) or options.pop("reloader_type", None):
            arguments = ["--reload", "--pythonpath", str(tmp_path)]
        client_address = options.pop("override_client_addr", None)
        if client_address:
            directives.append(f'uwsgi_param REMOTE_ADDR "{client_address}";')
        # Requests at the same time are answered at the same time in any case.
        options.pop("threaded", None)
        assert not options, f"not known how to ask spile or nginx for {options}"
        folder = TESTS / "live_apps"
        app = f"{name}_app:app"
        site = serve(starter, app, folder, *arguments, params=CGI_PARAMS, directives=directives)
        sites.append(site)
        return Client(site, scheme, address or f"127.0.0.1:{site.port()}")

    try:
        yield start
        for site in sites:
            finish(site)
    finally:
        starter.close()
        for port in ports:
            port.release()


def tls_directives(port: Port, folder: Path) -> list[str]:
    """For an nginx with a certificate of its own making."""
    certificate = trustme.CA().issue_cert("127.0.0.1").private_key_and_cert_chain_pem
    certificate.write_to_path(str(folder / "server.pem"))
    return [
        f"listen 127.0.0.1:{port.number} ssl;",
        f"ssl_certificate {folder}/server.pem;",
        f"ssl_certificate_key {folder}/server.pem;",
    ]


@pytest.fixture
def standard_app(dev_server: Callable[..., Client]) -> Client:
    return dev_server()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    served = [item for item in items if "dev_server" in getattr(item, "fixturenames", ())]
    config.hook.pytest_deselected(items=[item for item in items if item not in served])
    items[:] = served
