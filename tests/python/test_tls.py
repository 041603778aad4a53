"""TLS over TCP: nginx's `uwsgi_pass suwsgi://`, and clients that nginx would never be.

What requests and responses are like over TLS is in their tests, where marked `every_transport`.
"""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import random
import re
import shutil
import signal
import socket
import ssl
import subprocess
import zlib
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from test_privileges import as_root, nobody  # noqa: F401
from test_reload import load, reload

import bodies
from harness import APPS, Site, Spile, Starter, environ_for, packet, run_spile, wait_until
from harness.certificates import NAME, Authority, Certificate
from harness.net import connect, exchange, over_tls, read_to_end
from harness.spile import ROOT

LARGE = random.Random(5).randbytes(10_000_000)

#: What nginx speaks to a server when it is not told otherwise, and what it can.
VERSIONS = {"TLS 1.2": "uwsgi_ssl_protocols TLSv1.2;", "TLS 1.3": "uwsgi_ssl_protocols TLSv1.3;"}


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def serial(spile: Spile, certificate: Certificate) -> str:
    """The number of the certificate that it shows."""
    with over_tls(connect(spile.address), certificate.context()) as sock:
        found = sock.getpeercert()
    assert found
    return str(found["serialNumber"])


def replace(old: Certificate, new: Certificate) -> None:
    """Has the files of one certificate be another's."""
    shutil.copy(new.cert, old.cert)
    shutil.copy(new.key, old.key)


# Through nginx.


@pytest.fixture(scope="module", params=VERSIONS)
def site(start_once: Starter, request: pytest.FixtureRequest) -> Site:
    version = VERSIONS[request.param]
    servers = {
        "default": [version],
        "unbuffered": [version, "uwsgi_request_buffering off; uwsgi_buffering off;"],
        "new_session": [version, "uwsgi_ssl_session_reuse off;"],
    }
    arguments = ["bodies:application", "--threads", "2", "--mount", "/responses=responses"]
    return start_once.site(
        *arguments,
        "--mount",
        "/hello=hello://",
        "--mount",
        "/echo=echo://",
        socket="tls",
        servers=servers,
    )


def test_the_log_says_so_and_what_nginx_has_to_write(site: Site) -> None:
    address = "{}:{}".format(*site.spile.address)
    said = f"listening on {address} (TLS) (nginx: uwsgi_pass suwsgi://{address};)"
    assert said in site.spile.log


@pytest.mark.parametrize("server", ["default", "unbuffered", "new_session"])
def test_large_bodies_go_both_ways(site: Site, server: str) -> None:
    answer = site.post("/up?65536", LARGE, server=server).json()
    assert (answer["length"], answer["checksum"]) == (len(LARGE), zlib.crc32(LARGE))
    answer = site.get("/down?10000000", server=server)
    assert answer.complete
    assert zlib.crc32(answer.body) == zlib.crc32(b"".join(bodies.pattern(10_000_000)))


@pytest.mark.parametrize("server", ["default", "unbuffered"])
def test_a_response_that_fails_is_no_whole_one(site: Site, server: str) -> None:
    """nginx takes a reset for a clean end when it comes over TLS."""
    answer = site.get("/responses/raises_in_body?key=none", server=server)
    assert not answer.complete


def test_an_early_answer_to_an_upload_is_read(site: Site) -> None:
    """The application, which does not block, answers before nginx has sent a tenth."""
    answer = site.post("/hello", LARGE, server="unbuffered")
    assert (answer.status, answer.complete) == (200, True)


#: A child that lives on, forked while other responses are under way.
FORKS = """
import os

children = []

def application(environ, start_response):
    start_response("200 OK", [])
    if environ["PATH_INFO"] == "/end":
        for child in children:
            os.kill(child, 9)
        return [b"ended"]

    def body():
        yield b"begun, "
        child = os.fork()
        if not child:
            import time
            time.sleep(600)
            os._exit(0)
        children.append(child)
        yield b"ended"

    return body()
"""


def test_a_child_of_the_application_does_not_hold_responses_open(
    start: Starter, tmp_path: Path
) -> None:
    (tmp_path / "forks.py").write_text(FORKS)
    site = start.site("forks:application", socket="tls", cwd=tmp_path)
    try:
        # By its end alone nginx knows that a body of no known length is whole.
        answer = site.get("/")
        assert (answer.body, answer.complete) == (b"begun, ended", True)
    finally:
        site.get("/end")


def test_many_at_a_time(site: Site) -> None:
    def ask(number: int) -> bool:
        body = random.Random(number).randbytes(1000 * number)
        answer = site.post("/up?1000", body, server=["default", "new_session"][number % 2]).json()
        return (answer["length"], answer["checksum"]) == (len(body), zlib.crc32(body))

    with ThreadPoolExecutor(16) as pool:
        assert all(pool.map(ask, range(200)))


@pytest.mark.parametrize("version", VERSIONS)
def test_an_rsa_certificate(start: Starter, authority: Authority, version: str) -> None:
    spile = start.spile("hello://", socket="tls", certificate=authority.issue("RSA"))
    nginx = start.nginx(spile, {"v": [VERSIONS[version]]})
    assert Site(spile, nginx).get("/", server="v").status == 200


@pytest.mark.parametrize("version", VERSIONS)
def test_nginx_takes_its_session_up_each_time(start: Starter, version: str) -> None:
    spile = start.spile("hello://", "--log-level", "debug", socket="tls")
    site = Site(spile, start.nginx(spile, {"v": [VERSIONS[version]]}))
    for _ in range(6):
        assert site.get("/", server="v").status == 200
    wait_until(lambda: spile.log.count("a TLS session was ") == 6, "six sessions in the log")
    assert spile.log.count("a TLS session was resumed") == 5


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_any_worker_takes_a_session_up(start: Starter, version: ssl.TLSVersion) -> None:
    """nginx connects anew for each request: only so does it not pay for a whole handshake."""
    spile = start.spile("held:application", "-w", "2", socket="tls")
    spile.wait_for_log("ready")
    assert spile.certificate
    context = spile.certificate.context()
    context.minimum_version = context.maximum_version = version

    def ask(session: ssl.SSLSession | None) -> tuple[bytes, ssl.SSLSession | None]:
        with context.wrap_socket(
            connect(spile.address), server_hostname=NAME, session=session
        ) as sock:
            sock.sendall(packet(environ_for("/pid")))
            answer, _ = read_to_end(sock)
            assert sock.session_reused == (session is not None)
            return answer.split()[-3], sock.session

    worker, session = ask(None)
    workers = {worker}
    # Who had to wait for a client lets the other be first.
    wait_until(lambda: workers.add(ask(session)[0]) or len(workers) == 2, "the other worker")


def test_a_unix_socket_stays_plain(start: Starter) -> None:
    plain = str(start.folder() / "plain.sock")
    spile = start.spile("slow:application", "--socket", plain, socket="tls")
    assert spile.ask("/quick").body == b"quick"
    received, _ = exchange(plain, packet(environ_for("/quick")))
    assert received.endswith(b"quick")
    assert f"listening on unix:{plain} (nginx: uwsgi_pass unix:{plain};)" in spile.log


# Certificates of clients.


def test_the_example_for_nginx(start: Starter, authority: Authority) -> None:
    """`nginx/sites/tls-upstream.conf`, with its certificates where these are."""
    text = (ROOT / "nginx/sites/tls-upstream.conf").read_text()
    server = authority.issue(name="app.internal")
    client = authority.issue(name="nginx.internal")
    for path, file in [
        ("/etc/nginx/spile/ca.pem", authority.file),
        ("/etc/nginx/spile/nginx.pem", client.cert),
        ("/etc/nginx/spile/nginx.key", client.key),
    ]:
        assert path in text
        text = text.replace(path, str(file))
    spile = start.spile(
        *("slow:application", "--tls-client-ca", str(authority.file)),
        socket="tls",
        certificate=server,
    )
    location = " ".join(re.findall(r"^ +uwsgi_ssl_.*;$", text, re.MULTILINE))
    location = f"location = /quick {{ uwsgi_pass {spile.uwsgi_pass}; {location} }}"
    site = Site(spile, start.nginx(spile, {"example": [location]}))
    assert site.get("/quick", server="example").body == b"quick"


@pytest.fixture
def guarded(start: Starter, authority: Authority) -> Spile:
    return start.spile(
        *("slow:application", "--tls-client-ca", str(authority.file)),
        socket="tls",
        certificate=authority.issue(),
    )


@pytest.mark.parametrize("version", VERSIONS)
def test_clients_need_a_certificate_of_the_right_ca(
    start: Starter, guarded: Spile, authority: Authority, version: str
) -> None:
    right = authority.issue(name="nginx.test").nginx_as_client()
    wrong = Authority(start.folder()).issue(name="nginx.test").nginx_as_client()
    old = authority.issue(not_after=datetime.now(timezone.utc) - timedelta(days=1))
    # nginx would go on with the session of a server that has shown the right one.
    speak = VERSIONS[version] + "uwsgi_ssl_session_reuse off;"
    servers = {
        "none": [speak],
        "right": [speak, right],
        "wrong": [speak, wrong],
        "old": [speak, old.nginx_as_client()],
    }
    nginx = start.nginx(guarded, servers)
    site = Site(guarded, nginx)
    assert site.get("/quick", server="right").body == b"quick"
    for server, cause, cure in [
        ("none", "--tls-client-ca asks for a client certificate", "give uwsgi_ssl_certificate"),
        ("wrong", "the client's certificate is not accepted", "a CA of --tls-client-ca"),
        ("old", "expired", "see that it has not expired"),
    ]:
        seen = len(guarded.log)
        assert site.get("/quick", server=server).status == 502
        said = guarded.wait_for_log(cause, seen)
        assert cure in said
        assert re.search(r"peer=127\.0\.0\.1:\d+", said), said
    assert site.get("/quick", server="right").body == b"quick"


def test_a_session_does_not_outlive_the_ca_that_has_let_it_in(
    start: Starter, guarded: Spile, authority: Authority
) -> None:
    client = authority.issue(name="nginx.test")
    site = Site(guarded, start.nginx(guarded, {"client": [client.nginx_as_client()]}))
    assert site.get("/quick", server="client").body == b"quick"
    shutil.copy(Authority(start.folder()).file, authority.file)
    reload(guarded)
    assert site.get("/quick", server="client").status == 502


# Clients that are not as nginx.


@pytest.fixture(scope="module")
def spile(start_once: Starter) -> Spile:
    return start_once.spile(
        *("slow:application", "--mount", "/responses=responses", "--mount", "/hello=hello://"),
        *("--read-timeout", "2"),
        socket="tls",
    )


@pytest.mark.parametrize(
    ("sent", "what"),
    [
        (packet(environ_for("/quick")), "a plain uwsgi request was sent to a TLS socket"),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", "plain HTTP was sent to a TLS socket"),
        (b"\xff" * 100, "something that is not TLS was sent to a TLS socket"),
    ],
)
def test_what_is_not_tls_is_told_so(spile: Spile, sent: bytes, what: str) -> None:
    seen = len(spile.log)
    received, end = exchange(spile.address, sent)
    assert end == "eof"
    assert received.startswith(b"HTTP/1.1 400 ")
    assert f"400 {what}: in nginx write uwsgi_pass suwsgi://".encode() in received
    said = spile.wait_for_log(what, seen)
    assert re.search(r"peer=127\.0\.0\.1:\d+", said), said


def test_nginx_without_suwsgi_passes_the_reason_on(start: Starter, spile: Spile) -> None:
    socket = "{}:{}".format(*spile.address)
    nginx = start.nginx(spile, {"plain": [f"location = /plain {{ uwsgi_pass {socket}; }}"]})
    answer = Site(spile, nginx).get("/plain", server="plain")
    assert answer.status == 400
    assert "in nginx write uwsgi_pass suwsgi://" in answer.text


@pytest.mark.parametrize(
    "sent",
    [
        bytes.fromhex("160301ffff") + bytes(65535),
        bytes.fromhex("16030100c8010000c40303") + bytes(200),
        bytes.fromhex("1603030004" + "0e000000"),
    ],
    ids=["a record too large", "an empty hello", "out of turn"],
)
def test_a_handshake_of_nonsense_gets_an_alert(spile: Spile, sent: bytes) -> None:
    seen = len(spile.log)
    received, _ = exchange(spile.address, sent)
    assert received[:1] == b"\x15", "an alert"
    said = spile.wait_for_log("the TLS handshake has failed", seen)
    assert re.search(r"peer=127\.0\.0\.1:\d+", said), said
    assert spile.ask("/quick").body == b"quick"


def test_a_client_that_is_too_old_is_told_what_is_spoken(spile: Spile) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_ciphers("AES128-SHA:@SECLEVEL=0")
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    seen = len(spile.log)
    with pytest.raises(ssl.SSLError):
        over_tls(connect(spile.address), context)
    assert "in nginx see uwsgi_ssl_protocols and uwsgi_ssl_ciphers" in spile.wait_for_log(
        "the TLS handshake has failed", seen
    )


def test_a_client_that_does_not_trust_the_certificate(spile: Spile) -> None:
    seen = len(spile.log)
    with pytest.raises(ssl.SSLCertVerificationError):
        over_tls(connect(spile.address), ssl.create_default_context())
    said = spile.wait_for_log("the client does not accept the certificate of --tls-cert", seen)
    assert "uwsgi_ssl_trusted_certificate" in said


def hello_of(spile: Spile) -> bytes:
    """The first message of a client."""
    assert spile.certificate
    into, out = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = spile.certificate.context().wrap_bio(into, out, server_hostname="app.test")
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    return out.read()


def test_who_is_slow_with_the_handshake_holds_nobody_up(spile: Spile) -> None:
    hello = hello_of(spile)
    seen = len(spile.log)
    silent = [connect(spile.address) for _ in range(100)]
    halves = [connect(spile.address) for _ in range(100)]
    wholes = [connect(spile.address) for _ in range(20)]
    for half in halves:
        half.sendall(hello[:50])
    for whole in wholes:
        whole.sendall(hello)
    assert spile.ask("/quick").body == b"quick"
    # And each is closed when its time is up; only those that have begun are worth a line.
    for sock in silent:
        assert read_to_end(sock) == (b"", "eof")
    for sock in [*halves, *wholes]:
        read_to_end(sock)
    said = spile.wait_for_log("the TLS handshake was not through after 2s", seen)
    assert "--read-timeout" in said
    for sock in [*silent, *halves, *wholes]:
        sock.close()


def test_a_handshake_byte_by_byte(spile: Spile) -> None:
    assert spile.certificate
    with connect(spile.address) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        into, out = ssl.MemoryBIO(), ssl.MemoryBIO()
        client = spile.certificate.context().wrap_bio(into, out, server_hostname="app.test")
        while True:
            try:
                client.do_handshake()
                break
            except ssl.SSLWantReadError:
                for byte in out.read():
                    sock.sendall(bytes([byte]))
                into.write(sock.recv(65536))
        client.write(packet(environ_for("/quick")))
        for byte in out.read():
            sock.sendall(bytes([byte]))
        while True:
            into.write(sock.recv(65536))
            try:
                received = client.read(65536)
                break
            except ssl.SSLWantReadError:
                pass
        assert received.endswith(b"quick")


def test_handshakes_count_as_connections(start: Starter) -> None:
    spile = start.spile(
        "slow:application", "--max-in-flight", "3", "--read-timeout", "1", socket="tls"
    )
    silent = [connect(spile.address) for _ in range(3)]
    # Served only when one of them has been closed.
    assert spile.ask("/quick").body == b"quick"
    assert any(is_closed(sock) for sock in silent)
    for sock in silent:
        sock.close()


def test_a_shortage_of_descriptors_passes(start: Starter) -> None:
    """A TLS connection takes three of them, and is accepted with one."""
    limit = ["prlimit", "--nofile=70:70"]
    spile = start.spile("slow:application", "--read-timeout", "20", socket="tls", launcher=limit)
    spile.wait_for_log("ready")
    silent = [connect(spile.address) for _ in range(100)]
    spile.wait_for_log("raise this process's limit of 70 open files")
    for sock in silent:
        sock.close()

    def ask(_: int) -> bool:
        try:
            return spile.ask("/quick").body == b"quick"
        except (OSError, AssertionError):
            return False

    wait_until(lambda: ask(0), "it to serve again")
    with ThreadPoolExecutor(40) as pool:
        assert any(pool.map(ask, range(40)))
    assert spile.ask("/quick").body == b"quick"


def is_closed(sock: socket.socket) -> bool:
    sock.setblocking(False)
    try:
        return sock.recv(1) == b""
    except BlockingIOError:
        return False


def descriptors(spile: Spile) -> int:
    return sum(len(os.listdir(f"/proc/{pid}/fd")) for pid in spile.worker_pids())


def test_a_client_that_leaves_in_mid_upload(spile: Spile) -> None:
    spile.ask("/quick")
    before = descriptors(spile)
    for leave in ("without a word", "with a close_notify", "with a reset"):
        connection = spile.connect()
        connection.send(packet(environ_for("/length", "POST", CONTENT_LENGTH="1000000")))
        connection.send(bytes(300_000))
        if leave == "with a reset":
            reset_on_close(connection.socket)
        elif leave == "with a close_notify":
            with contextlib.suppress(OSError):
                connection.socket.unwrap()
        connection.close()
    wait_until(lambda: descriptors(spile) <= before, "the connections to be closed")
    assert spile.ask("/quick").body == b"quick"


@pytest.mark.parametrize("reset", [True, False], ids=["with a reset", "without a word"])
def test_a_client_that_leaves_in_mid_response(spile: Spile, reset: bool) -> None:
    """The application is told, and its close() called."""
    spile.ask("/quick")
    before = descriptors(spile)
    key = f"left-{reset}"
    connection = spile.connect()
    connection.request(f"/responses/endless?key={key}", SCRIPT_NAME="")
    connection.read_until(b"x" * 1000)
    if reset:
        reset_on_close(connection.socket)
    connection.close()
    count = f"/responses/count?key={key}"
    wait_until(lambda: spile.ask(count).body == b"1", "close() of the application's body")
    wait_until(lambda: descriptors(spile) <= before, "the connection to be closed")


def reset_on_close(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")


def test_an_answer_ends_with_a_close_notify(spile: Spile) -> None:
    with spile.connect() as connection:
        _, end = connection.request("/quick").read_to_end()
    assert end == "eof"


def test_the_client_may_end_its_side_first(spile: Spile) -> None:
    """TLS 1.3: a close_notify says that no more will be sent, not that nothing is awaited."""
    assert spile.certificate
    into, out = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = spile.certificate.context().wrap_bio(into, out, server_hostname="app.test")
    with connect(spile.address) as sock:
        while True:
            try:
                client.do_handshake()
                break
            except ssl.SSLWantReadError:
                sock.sendall(out.read())
                into.write(sock.recv(65536))
        client.write(packet(environ_for("/quick")))
        with pytest.raises(ssl.SSLWantReadError):
            client.unwrap()
        sock.sendall(out.read())
        raw, _ = read_to_end(sock)
    into.write(raw)
    assert len(raw) > len(b"HTTP/1.1 200 OK\r\n\r\nquick")


def test_refusals_name_the_real_peer(spile: Spile) -> None:
    seen = len(spile.log)
    with spile.connect() as connection:
        connection.send(packet(environ_for("/quick"), modifier1=5))
        port = connection.socket.getsockname()[1]
        assert connection.answer().status == 501
    assert f"peer=127.0.0.1:{port}" in spile.wait_for_log("modifier", seen)


# Stopping, reloading, upgrading.


def queue(spile: Spile) -> int:
    """How many connections wait to be accepted."""
    return json.loads(spile.control("stats").out)["sockets"][0]["queue"]


def test_a_stop_lets_requests_finish(start: Starter) -> None:
    site = start.site("held:application", socket="tls")
    folder = start.folder()
    path = f"/stream?started={folder}/started&gate={folder}/gate"
    with ThreadPoolExecutor() as pool:
        answer = pool.submit(site.get, path)
        wait_until((folder / "started").exists, "the request to begin")
        # Nobody accepts them: the only thread is in the application.
        queued = [pool.submit(site.spile.ask, "/pid") for _ in range(3)]
        wait_until(lambda: queue(site.spile) == 3, "the others to connect")
        silent = connect(site.spile.address)
        site.spile.signal(signal.SIGTERM)
        site.spile.wait_for_log("stopping")
        (folder / "gate").touch()
        assert answer.result().complete
        assert len(answer.result().body) == 1_000_000
        assert [it.result().status for it in queued] == [200] * 3
    assert site.spile.wait() == 0
    assert read_to_end(silent) == (b"", "eof")
    silent.close()


def test_a_reload_renews_the_certificate_under_load(start: Starter, authority: Authority) -> None:
    certificate = authority.issue()
    spile = start.spile("slow:application", "-w", "2", socket="tls", certificate=certificate)
    site = Site(spile, start.nginx(spile))
    spile.wait_for_log("ready")
    before = serial(spile, certificate)
    with load(site, "/quick") as wrong:
        for _ in range(3):
            replace(certificate, authority.issue())
            assert "reloaded in" in reload(spile)
    assert not wrong
    assert serial(spile, certificate) != before


def test_files_that_do_not_go_together_change_nothing(start: Starter, authority: Authority) -> None:
    certificate = authority.issue()
    spile = start.spile("slow:application", socket="tls", certificate=certificate)
    site = Site(spile, start.nginx(spile))
    spile.wait_for_log("ready")
    before = serial(spile, certificate)
    with load(site, "/quick") as wrong:
        shutil.copy(authority.issue().cert, certificate.cert)
        said = reload(spile)
    assert "the reload has failed, and the old workers go on" in said
    assert f"--tls-key: `{certificate.key}` will not do: the key does not belong to" in said
    assert not wrong
    assert serial(spile, certificate) == before
    finished = spile.control("reload")
    assert finished.status == 1
    # What to do about it is in both places.
    (cure,) = re.findall("hint: (.*)", finished.err)
    assert f"\n  hint: {cure}\n" in said


def test_native_applications_get_a_new_certificate_too(
    start: Starter, authority: Authority
) -> None:
    certificate = authority.issue()
    spile = start.spile("hello://", socket="tls", certificate=certificate)
    site = Site(spile, start.nginx(spile))
    before = serial(spile, certificate)
    with load(site) as wrong:
        new = authority.issue()
        replace(certificate, new)
        spile.reload()
        after = serial(spile, certificate)
        assert after != before
        certificate.key.write_text("nonsense")
        finished = spile.control("reload")
        assert finished.status == 1
        assert "there is no private key in PEM in it" in finished.err
        spile.signal(signal.SIGHUP)
        spile.wait_for_log("the reload has failed, and everything stays as it was")
        assert f"--tls-key: `{certificate.key}` will not do" in spile.log
        # What to do about it is in both places.
        (cure,) = re.findall("hint: (.*)", finished.err)
        assert f"\n  hint: {cure}\n" in spile.log
    assert not wrong
    assert serial(spile, certificate) == after


def test_native_applications_keep_everything_if_the_certificate_will_not_do(
    start: Starter, authority: Authority
) -> None:
    """A list of who may connect that comes with a wrong key does not go without it."""
    certificate = authority.issue()
    file = start.folder() / "spile.toml"
    file.write_text('allow-from = ["127.0.0.1"]\n')
    spile = start.spile("hello://", "--config", str(file), socket="tls", certificate=certificate)
    before = serial(spile, certificate)
    file.write_text('allow-from = ["127.0.0.2"]\n')
    key = certificate.key.read_bytes()
    certificate.key.write_text("nonsense")
    assert spile.control("reload").status == 1
    assert serial(spile, certificate) == before
    certificate.key.write_bytes(key)
    spile.reload()
    with pytest.raises((ssl.SSLError, ConnectionError)):
        serial(spile, certificate)


@pytest.mark.parametrize("app", ["slow:application", "hello://"])
def test_an_upgrade_speaks_tls_on(start: Starter, app: str) -> None:
    pidfile = start.folder() / "pid"
    site = start.site(app, "--pidfile", str(pidfile), socket="tls")
    wait_until(lambda: "ready" in site.spile.log, "it to be ready")
    with load(site, "/quick") as wrong:
        site.spile.signal(signal.SIGUSR2)
        assert site.spile.wait() == 0
    assert not wrong
    assert site.get("/quick").status == 200
    os.kill(int(pidfile.read_text()), signal.SIGTERM)
    wait_until(lambda: not site.spile.family(), "the new server to end")


@as_root
@pytest.mark.parametrize("app", ["slow:application", "hello://"])
def test_a_key_that_only_root_may_read(
    start: Starter,
    nobody: pwd.struct_passwd,  # noqa: F811
    app: str,
) -> None:
    """It is read before spile becomes another user, and kept through reloads and upgrades."""
    folder = start.folder()
    folder.chmod(0o755)
    certificate = Authority(folder).issue()
    pidfile = folder / "spile.pid"
    arguments = [app, "--user", nobody.pw_name, "--pidfile", str(pidfile)]
    spile = start.spile(*arguments, socket="tls", certificate=certificate)
    site = Site(spile, start.nginx(spile))
    spile.wait_for_log("ready")
    assert site.get("/quick").status == 200
    warning = f"--tls-key: cannot read `{certificate.key}`: permission denied: the certificate"
    spile.signal(signal.SIGHUP)
    spile.wait_for_log(warning)
    if app == "slow:application":
        spile.wait_for_log("reloaded in")
    assert "was read again" not in spile.log
    assert site.get("/quick").status == 200
    seen = len(spile.log)
    spile.signal(signal.SIGUSR2)
    assert spile.wait() == 0, spile.log
    assert warning in spile.log[seen:]
    assert site.get("/quick").status == 200
    os.kill(int(pidfile.read_text()), signal.SIGTERM)
    wait_until(lambda: not spile.family(), "the new master to end")


@pytest.mark.parametrize("app", ["slow:application", "hello://"])
def test_nobody_sees_the_key(start: Starter, app: str) -> None:
    spile = start.spile(app, "--log-level", "trace", socket="tls")
    assert spile.ask("/quick").status == 200
    assert spile.certificate
    secret = spile.certificate.key.read_text().splitlines()[1]
    for pid in spile.family():
        for file in ("cmdline", "environ"):
            assert secret.encode() not in Path(f"/proc/{pid}/{file}").read_bytes()
    assert secret not in spile.log


# Options.


def openssl(*arguments: str) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)


@pytest.mark.parametrize("command", ["serve", "check"])
@pytest.mark.parametrize(
    ("spoil", "what", "cure"),
    [
        ("no key", "--tls-cert: it is of no use alone", "give --tls-key"),
        ("no cert", "--tls-key: it is of no use alone", "give --tls-cert"),
        ("ca alone", "--tls-client-ca: it is of no use alone", "give --tls-cert and --tls-key"),
        ("missing", "--tls-cert: cannot read `{cert}`: no such file", "name a file in PEM"),
        ("folder", "--tls-key: cannot read `{key}`: it is not a file", "name a file in PEM"),
        ("not PEM", "--tls-cert: `{cert}` will not do: there is no certificate", "BEGIN CERT"),
        ("broken PEM", "--tls-cert: `{cert}` will not do: it is not PEM", "copy the file again"),
        ("cert for key", "--tls-key: `{key}` will not do: there is no private key", "BEGIN PRIV"),
        ("mismatch", "--tls-key: `{key}` will not do: the key does not belong", "was made for"),
        ("encrypted", "--tls-key: `{key}` will not do: the key is encrypted", "openssl pkey"),
        ("ca", "--tls-client-ca: `{ca}` will not do: there is no certificate", "BEGIN CERT"),
    ],
)
def test_mistakes(
    authority: Authority, command: str, spoil: str, what: str, cure: str, tmp_path: Path
) -> None:
    certificate = authority.issue()
    cert, key, ca = certificate.cert, certificate.key, tmp_path / "client-ca.pem"
    shutil.copy(authority.file, ca)
    arguments = [*certificate.arguments, "--tls-client-ca", str(ca)]
    if spoil == "no key":
        arguments = arguments[:2]
    elif spoil == "no cert":
        arguments = arguments[2:]
    elif spoil == "ca alone":
        arguments = arguments[4:]
    elif spoil == "missing":
        cert.unlink()
    elif spoil == "folder":
        key.unlink()
        key.mkdir()
    elif spoil == "not PEM":
        cert.write_bytes(ssl.PEM_cert_to_DER_cert(authority.file.read_text()))
    elif spoil == "broken PEM":
        cert.write_text(cert.read_text()[:200])
    elif spoil == "cert for key":
        shutil.copy(cert, key)
    elif spoil == "mismatch":
        shutil.copy(authority.issue().key, key)
    elif spoil == "encrypted":
        openssl(
            *("pkcs8", "-topk8", "-in", str(key), "-out", f"{key}.new", "-passout", "pass:secret")
        )
        os.replace(f"{key}.new", key)
    elif spoil == "ca":
        ca.write_text("nothing")
    finished = run_spile(
        command, "hello://", "--socket", "127.0.0.1:0", *arguments, cwd=APPS, env={}
    )
    assert finished.status == 2, finished
    said = re.escape(what.format(cert=cert, key=key, ca=ca))
    # Once the log has begun it is one of its lines.
    assert re.search(f"(^error:| ERROR) {said}", finished.err, re.MULTILINE)
    assert cure in finished.err.split("hint: ", 1)[1]
    assert "Traceback" not in finished.err


def test_what_is_doubtful_is_said(start: Starter, authority: Authority) -> None:
    certificate = authority.issue(not_after=datetime.now(timezone.utc) - timedelta(days=3))
    certificate.key.chmod(0o644)
    doubts = [
        f"--tls-cert: the certificate in `{certificate.cert}` has expired 3 days ago",
        f"--tls-key: everybody on this machine may read `{certificate.key}`",
        "--tls-cert changes nothing",
    ]
    spile = start.spile("hello://", *certificate.arguments)
    for doubt in doubts:
        spile.wait_for_log(doubt)
    socket = str(start.folder() / "app.sock")
    finished = run_spile("check", "hello://", "-s", socket, *certificate.arguments, cwd=APPS)
    assert finished.status == 0, finished
    for doubt in doubts:
        assert doubt in finished.out.decode()


def test_a_good_certificate_raises_no_doubt(authority: Authority) -> None:
    arguments = ["hello://", "-s", "127.0.0.1:0", *authority.issue().arguments]
    finished = run_spile("check", *arguments, cwd=APPS)
    assert (finished.status, finished.err) == (0, "")
    assert "warning" not in finished.out.decode()
    assert "127.0.0.1:0 (TLS)" in finished.out.decode()
