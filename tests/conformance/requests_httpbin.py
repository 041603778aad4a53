"""A pytest plugin for requests' tests/test_requests.py: the fixtures of pytest-httpbin, but with
httpbin on spile behind nginx, in plain HTTP and with TLS.

Tests that ask no httpbin are left out: they do not come near a server of ours.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import trustme

from harness import Starter
from harness.net import Port
from on_spile import finish, serve


@dataclass
class Httpbin:
    """Where it is; and the file that its certificate is to be believed by."""

    plain: str
    secure: str
    authority: Path


@dataclass
class Server:
    """What pytest-httpbin's fixtures are, as far as the tests look at them."""

    url: str


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Httpbin]:
    folder = tmp_path_factory.mktemp("httpbin")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "authority.pem"))
    certificate = authority.issue_cert("localhost", "127.0.0.1")
    certificate.private_key_and_cert_chain_pem.write_to_path(str(folder / "server.pem"))
    port = Port()
    starter = Starter()
    try:
        site = serve(
            starter,
            "httpbin:app",
            folder,
            directives=(
                f"listen 127.0.0.1:{port.number} ssl;",
                f"ssl_certificate {folder}/server.pem;",
                f"ssl_certificate_key {folder}/server.pem;",
            ),
        )
        yield Httpbin(
            plain=f"http://127.0.0.1:{site.port()}",
            secure=f"https://localhost:{port.number}",
            authority=folder / "authority.pem",
        )
        finish(site)
    finally:
        starter.close()
        port.release()


@pytest.fixture(scope="session")
def httpbin(served: Httpbin) -> Server:
    return Server(served.plain)


@pytest.fixture(scope="session")
def httpbin_secure(served: Httpbin) -> Server:
    return Server(served.secure)


@pytest.fixture
def httpbin_ca_bundle(served: Httpbin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(served.authority))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    asked = [
        item
        for item in items
        if {"httpbin", "httpbin_secure"} & set(getattr(item, "fixturenames", ()))
    ]
    config.hook.pytest_deselected(items=[item for item in items if item not in asked])
    items[:] = asked
