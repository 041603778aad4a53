"""Certificates for the tests, made anew in each run."""

from __future__ import annotations

import atexit
import functools
import shutil
import ssl
import tempfile
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import trustme

#: The name that a server's certificate is for.
NAME = "app.test"


@dataclass(frozen=True)
class Certificate:
    """A certificate and its key, each in a file, and the file of the CA that has signed it."""

    cert: Path
    key: Path
    ca: Path

    @property
    def arguments(self) -> list[str]:
        """What spile speaks TLS with."""
        return ["--tls-cert", str(self.cert), "--tls-key", str(self.key)]

    def context(self) -> ssl.SSLContext:
        """A client that trusts the CA."""
        return ssl.create_default_context(cafile=str(self.ca))

    def nginx(self) -> str:
        """What has nginx look at a server with this certificate."""
        return (
            f"uwsgi_ssl_verify on; uwsgi_ssl_name {NAME}; uwsgi_ssl_trusted_certificate {self.ca};"
        )

    def nginx_as_client(self) -> str:
        """What has nginx show this certificate."""
        return f"uwsgi_ssl_certificate {self.cert}; uwsgi_ssl_certificate_key {self.key};"


class Authority:
    """A CA that keeps what it makes in one folder."""

    def __init__(self, folder: Path) -> None:
        self._ca = trustme.CA()
        self._folder = folder
        self._made = 0
        self.file = folder / "ca.pem"
        self._ca.cert_pem.write_to_path(str(self.file))

    def issue(
        self, key_type: str = "ECDSA", not_after: datetime | None = None, name: str = NAME
    ) -> Certificate:
        made = self._ca.issue_cert(name, key_type=trustme.KeyType[key_type], not_after=not_after)
        self._made += 1
        cert, key = (self._folder / f"{self._made}.{kind}" for kind in ("pem", "key"))
        cert.write_bytes(b"".join(blob.bytes() for blob in made.cert_chain_pems))
        made.private_key_pem.write_to_path(str(key))
        key.chmod(0o600)
        return Certificate(cert, key, self.file)


@functools.cache
def usual() -> Certificate:
    """The certificate of servers that are just to speak TLS. It goes with the tests' process."""
    folder = Path(tempfile.mkdtemp(prefix="spile-certificates-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Authority(folder).issue()
