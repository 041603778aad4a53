"""Native applications that answer 101, behind nginx: axum's websockets, and an own protocol."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness import Nginx, Starter, fetch, packet, wait_until
from harness.apache import Apache
from harness.certificates import Certificate, usual
from harness.front import Front
from harness.lighttpd import Lighttpd
from harness.net import Address, Port, accepts, connect, over_tls, read_to_end
from harness.process import Process
from harness.spile import ROOT
from harness.websocket import BINARY, CLOSE, PING, PONG, TEXT, WebSocket

#: Seconds that cargo may need where nothing is built yet.
BUILD = 900

pytestmark = pytest.mark.timeout(BUILD)


@pytest.fixture(scope="module")
def program() -> Path:
    """The example, built as `cargo test` of the whole tree builds it."""
    path = f"{os.environ.get('PATH', '')}:{Path.home() / '.cargo/bin'}"
    cargo = shutil.which("cargo", path=path)
    assert cargo, "no cargo"
    features = ["--features", "spile/upgrade"]
    command = [cargo, "build", "--quiet", "--workspace", *features, "--example", "websocket"]
    subprocess.run(command, cwd=ROOT, check=True, timeout=BUILD)
    return Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "debug/examples/websocket"


class Site:
    """The example on a socket, behind an nginx."""

    def __init__(
        self, address: Address, certificate: Certificate | None, nginx: Nginx, process: Process
    ) -> None:
        self.address = address
        self.certificate = certificate
        self.nginx = nginx
        self.process = process

    def connect(self) -> socket.socket:
        """Past nginx."""
        sock = connect(self.address)
        return over_tls(sock, self.certificate.context()) if self.certificate else sock


@pytest.fixture(scope="module", params=["unix", "tcp", "tls"])
def site(request: pytest.FixtureRequest, start_once: Starter, program: Path) -> Iterator[Site]:
    folder = start_once.folder()
    with contextlib.ExitStack() as stack:
        address: Address = str(folder / "socket")
        listened = passed = f"unix:{address}"
        certificate, tls = None, ""
        if request.param != "unix":
            port = Port()
            stack.callback(port.release)
            address = ("127.0.0.1", port.number)
            listened = passed = f"127.0.0.1:{port.number}"
        arguments = [str(program), listened]
        if request.param == "tls":
            certificate = usual()
            arguments += [str(certificate.cert), str(certificate.key)]
            passed, tls = f"suwsgi://{passed}", certificate.nginx()
        process = Process(arguments, folder / "log", folder, os.environ)
        stack.callback(process.destroy)

        def is_ready() -> bool:
            assert process.returncode is None, process.log
            return accepts(address)

        wait_until(is_ready, "the example to listen")
        nginx = Nginx(passed, start_once.folder(), {"default": [tls]})
        start_once.add(nginx)
        yield Site(address, certificate, nginx, process)
        nginx.stop()
        process.signal(signal.SIGTERM)
        assert process.wait() == 0, process.log


def test_messages_come_back(site: Site) -> None:
    websocket = WebSocket(site.nginx.port())
    for length in [0, 1, 125, 126, 70_000, 1 << 20]:
        message = os.urandom(length)
        websocket.send(BINARY, message)
        assert websocket.receive() == (BINARY, message), length
    websocket.send(TEXT, "grüße".encode())
    assert websocket.receive() == (TEXT, "grüße".encode())
    websocket.close()


def test_pings_are_answered_and_a_close_ends_it(site: Site) -> None:
    websocket = WebSocket(site.nginx.port())
    websocket.send(PING, b"there?")
    assert websocket.receive() == (PONG, b"there?")
    websocket.send(CLOSE, (1000).to_bytes(2, "big") + b"bye")
    kind, reason = websocket.receive()
    assert (kind, reason[:2]) == (CLOSE, (1000).to_bytes(2, "big"))
    assert websocket.is_over()


def test_many_are_open_at_once(site: Site) -> None:
    websockets = [WebSocket(site.nginx.port()) for _ in range(20)]
    for number, websocket in enumerate(websockets):
        websocket.send(TEXT, str(number).encode())
    for number, websocket in enumerate(websockets):
        assert websocket.receive() == (TEXT, str(number).encode())
        websocket.close()


def test_a_protocol_of_its_own_and_a_half_close(site: Site) -> None:
    """nginx ends both directions when one has ended: this goes past it."""
    with site.connect() as sock:
        environ = {
            "REQUEST_METHOD": "GET",
            "PATH_INFO": "/echo",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "HTTP_CONNECTION": "upgrade",
            "HTTP_UPGRADE": "echo",
        }
        sock.sendall(packet(environ))
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += sock.recv(1)
        assert head.startswith(b"HTTP/1.1 101 ")
        sock.sendall(b"first")
        assert sock.recv(5) == b"first"
        sock.sendall(b"last")
        # By another descriptor: SSLSocket would forget its session.
        with socket.socket(fileno=os.dup(sock.fileno())) as half:
            half.shutdown(socket.SHUT_WR)
        assert read_to_end(sock) == (b"last", "eof")


@pytest.mark.parametrize("kind", [Apache, Lighttpd])
def test_other_front_servers_get_no_101(start: Starter, program: Path, kind: type[Front]) -> None:
    """They would send it to the client, and nothing of what follows."""
    folder = start.folder()
    folder.chmod(0o755)
    path = str(folder / "socket")
    process = Process([str(program), f"unix:{path}"], folder / "log", folder, os.environ)
    start.at_end(process.destroy)
    wait_until(lambda: accepts(path), "the example to listen")
    os.chmod(path, 0o777)
    changes = [("/run/spile/app.sock", path), ("/srv/app", str(folder))]
    own = start.folder()
    own.chmod(0o777)
    server = start.add(kind(changes, own))
    asking = [("Connection", "Upgrade"), ("Upgrade", "echo")]
    assert fetch(server.port(), "/echo", headers=asking).status == 426


def test_nobody_gets_101_who_has_not_asked(site: Site) -> None:
    for path, status in [("/", 400), ("/echo", 426)]:
        with socket.create_connection(("127.0.0.1", site.nginx.port())) as sock:
            request = f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
            sock.sendall(request.encode())
            received, _end = read_to_end(sock)
        assert received.startswith(b"HTTP/1.1 %d " % status), received
