"""Bytes from the socket: answered, refused or taken as data, and never more than that.

Where uWSGI has had a hole, the test is named after it.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import struct
import threading
import urllib.parse
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from harness import (
    OWN_PARAMS,
    Answer,
    Connection,
    Site,
    Spile,
    Starter,
    environ_for,
    packet,
    wait_until,
)
from harness.net import exchange
from harness.uwsgi import field
from harness.workers import stats

#: More than any socket's buffers hold.
LARGE = b"x" * 20_000_000

PING = b"\x64\0\0\0"
PONG = b"\x64\0\0\x01"


@pytest.fixture(scope="module", params=["unix", "tcp"])
def served(start_once: Starter, request: pytest.FixtureRequest) -> Spile:
    return start_once.spile("hostile:application", "--mount", "/echo=echo://", socket=request.param)


@pytest.fixture(scope="module")
def site(start_once: Starter) -> Site:
    return start_once.site("hostile:application", servers={"unbuffered": UNBUFFERED})


UNBUFFERED = ["uwsgi_request_buffering off;"]


def answer_to(spile: Spile, sent: bytes) -> Answer:
    with spile.connect() as connection:
        connection.send(sent)
        return connection.answer()


def with_variables(*pairs: tuple[str, str], path: str = "/", method: str = "GET") -> bytes:
    """A packet that repeats and replaces as it is told to."""
    named = {name for name, _ in pairs}
    usual = [pair for pair in environ_for(path, method).items() if pair[0] not in named]
    return packet([*usual, *pairs])


# What the answer says, and that it is read.


def too_many(count: int) -> bytes:
    block = b"".join(field(f"V{number}") + field("") for number in range(count))
    return struct.pack("<BHB", 0, len(block), 0) + block


REFUSED = {
    "malformed": (400, struct.pack("<BHB", 0, 3, 0) + b"\xff\xff1"),
    "HTTP": (400, b"POST / HTTP/1.1\r\nContent-Length: 20000000\r\n\r\n"),
    "TLS": (400, bytes.fromhex("16030100c8010000c40303") + bytes(200)),
    "method": (400, with_variables(("REQUEST_METHOD", "GE T"), ("CONTENT_LENGTH", "20000000"))),
    "length": (400, with_variables(("CONTENT_LENGTH", "20000000x"))),
    "header": (400, with_variables(("HTTP_X", "a\r\nb"), ("CONTENT_LENGTH", "20000000"))),
    "no length": (411, with_variables(("HTTP_TRANSFER_ENCODING", "chunked"))),
    "body": (413, with_variables(("CONTENT_LENGTH", "20000000"))),
    "too many": (431, too_many(1025)),
    "too large": (431, packet(environ_for("/", HTTP_X="x" * 60_000))),
    "modifier": (501, packet(environ_for("/"), modifier1=5)),
}


@pytest.fixture(scope="module", params=["unix", "tcp"])
def strict(start_once: Starter, request: pytest.FixtureRequest) -> Spile:
    limits = ("--max-body", "1000000", "--max-vars-size", "50000", "--read-timeout", "5")
    return start_once.spile("hostile:application", *limits, socket=request.param)


@pytest.mark.parametrize("kind", REFUSED)
def test_a_refusal_is_read_by_a_peer_that_sends_megabytes_first(strict: Spile, kind: str) -> None:
    """A close over unread bytes would be a reset, which takes the answer with it."""
    status, sent = REFUSED[kind]
    with strict.connect() as connection:
        connection.send(sent + LARGE)
        answer = connection.answer()
    assert (answer.status, answer.complete) == (status, True)
    assert answer.text.startswith(f"{status} ")
    assert strict.ask("/").status == 200


def test_a_peer_that_never_stops_sending_is_left_in_time(strict: Spile) -> None:
    """It holds nobody up while it lasts, however fast it sends."""
    with contextlib.ExitStack() as stack:
        peers = [stack.enter_context(strict.connect()) for _ in range(2)]
        ended = []

        def send(connection: Connection) -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection.send(LARGE)
            ended.append(connection)

        senders = [threading.Thread(target=send, args=(peer,)) for peer in peers]
        for sender in senders:
            sender.start()
        for _ in range(20):
            assert strict.ask("/").status == 200
        wait_until(lambda: len(ended) == len(peers), "both peers to be left")
        for sender in senders:
            sender.join()
    assert strict.ask("/").status == 200


def test_a_method_is_never_guessed(served: Spile) -> None:
    pairs = [pair for pair in environ_for("/").items() if pair[0] != "REQUEST_METHOD"]
    assert answer_to(served, packet(pairs)).json()["REQUEST_METHOD"] == "GET"
    for method in ["PURGE", "M-SEARCH", "get", "*"]:
        assert served.ask("/", method).json()["REQUEST_METHOD"] == method
    for method in ["G ET", "GET\0", "GET\n", "G\xe9T", "GET/", '"GET"', "\x7f"]:
        assert served.ask("/", method).status == 400


WRONG_LENGTHS = ["+5", "-5", " 5", "5 ", "0x5", "5.0", "5e0", "5_0", "5,5", "5, 6", "\u00b2", "5\0"]


@pytest.mark.parametrize("length", [*WRONG_LENGTHS, "18446744073709551616", "9" * 1000])
def test_a_length_is_digits_that_fit_64_bits(served: Spile, length: str) -> None:
    for path in ["/", "/echo"]:
        answer = served.ask(path, "POST", CONTENT_LENGTH=length)
        assert answer.status == 400
        assert "CONTENT_LENGTH" in answer.text
        assert len(answer.text) < 200


def test_of_several_lengths_the_last_counts(start_once: Starter, site: Site) -> None:
    """It is the more specific line of a configuration. There is no second request to hide."""
    unpassed = ["uwsgi_pass_request_body off;", 'uwsgi_param CONTENT_LENGTH "";']
    nginx = start_once.nginx(site.spile, {"unpassed": unpassed})
    passed = Site(site.spile, nginx)
    assert passed.post("/", b"abc", server="unpassed").json()["CONTENT_LENGTH"] == ""
    pairs = [("CONTENT_LENGTH", value) for value in ("70", "3")]
    sent = with_variables(*pairs, method="POST") + b"abc"
    assert answer_to(site.spile, sent).json()["CONTENT_LENGTH"] == "3"
    smuggled = answer_to(site.spile, sent + packet(environ_for("/smuggled")))
    assert smuggled.body.count(b"PATH_INFO") == 1


def test_a_body_of_unknown_length_is_a_411_and_reaches_nobody(
    start_once: Starter, site: Site, tmp_path: Path
) -> None:
    """To an application it would be the empty body."""
    ran = tmp_path / "ran"
    params = OWN_PARAMS.replace("uwsgi_param CONTENT_LENGTH  $content_length;", "")
    assert params != OWN_PARAMS
    nginx = start_once.nginx(site.spile, params=params)
    answer = Site(site.spile, nginx).post(f"/ran?{ran}", iter([b"abc"]))
    assert answer.status == 411
    assert "uwsgi_param CONTENT_LENGTH" in answer.text
    assert not ran.exists()


@pytest.mark.parametrize("size", [3, 3_000_000], ids=["with the packet", "behind it"])
def test_a_body_whose_length_nginx_does_not_pass_on_is_a_411(
    start_once: Starter, site: Site, tmp_path: Path, size: int
) -> None:
    """As where a location says its own variables, and forgets one."""
    ran = tmp_path / "ran"
    params = OWN_PARAMS.replace("uwsgi_param CONTENT_LENGTH  $content_length;", "")
    nginx = start_once.nginx(site.spile, params=params)
    answer = Site(site.spile, nginx).post(f"/ran?{ran}", b"x" * size)
    assert answer.status == 411
    assert "uwsgi_param CONTENT_LENGTH" in answer.text
    assert not ran.exists()


def test_auth_request_for_a_chunked_upload_is_no_411(start: Starter) -> None:
    """nginx asks before it reads the body, and so with an empty length and no body."""
    asked = "location = /auth { internal; uwsgi_pass UPSTREAM; }"
    spile = start.spile("hostile:application")
    servers = {"auth": ["auth_request /auth;", asked.replace("UPSTREAM", spile.uwsgi_pass)]}
    site = Site(spile, start.nginx(spile, servers))
    shown = site.post("/upload", iter([b"abc", b"d" * 70_000]), server="auth").json()
    assert (shown["PATH_INFO"], shown["CONTENT_LENGTH"]) == ("/upload", "70003")
    site.spile.stop()
    assert " 411" not in spile.log


@pytest.mark.parametrize("server", ["default", "unbuffered"])
def test_nginx_tells_the_length_of_a_chunked_request(site: Site, server: str) -> None:
    """So there is nothing to refuse: it gathers the chunks with request buffering off, too."""
    shown = site.post("/", iter([b"abc", b"d" * 70_000]), server=server).json()
    assert shown["CONTENT_LENGTH"] == "70003"
    assert shown["HTTP_TRANSFER_ENCODING"] == "chunked"
    assert site.post("/", iter([]), server=server).json()["CONTENT_LENGTH"] == "0"


@pytest.mark.parametrize("application", ["hostile:application", "echo://"])
def test_a_body_beyond_the_limit_is_a_413_and_not_kept(
    start: Starter, tmp_path: Path, application: str
) -> None:
    """Nothing could be kept: there is no directory for it."""
    nowhere = {"TMPDIR": str(tmp_path / "none")}
    servers = {"unbuffered": UNBUFFERED}
    site = start.site(application, "--max-body", "100000", servers=servers, env=nowhere)
    ran = tmp_path / "ran"
    for server in ["default", "unbuffered"]:
        answer = site.post(f"/ran?{ran}", LARGE, server=server)
        assert answer.status == 413
        assert "100000" in answer.text
        assert "--max-body" in answer.text
        assert not ran.exists()
    assert "larger than the 100000" in site.spile.log
    assert site.post("/", b"x" * 50_000).status == 200
    assert stats(site.spile)["totals"]["refused"]["body_too_large"] == 2


def test_a_site_with_many_headers_stays_below_the_limit(site: Site) -> None:
    headers = [(f"X-{number}", "1") for number in range(900)]
    assert len(site.get("/", headers=headers).json()) > 900


def test_the_number_of_variables_has_a_limit(start: Starter) -> None:
    site = start.site("hostile:application", "--max-vars", "40")
    assert site.get("/").status == 200
    answer = site.get("/", headers=[(f"X-{number}", "1") for number in range(40)])
    assert answer.status == 431
    assert "40" in answer.text
    site.spile.wait_for_log("a variable more than the 40")


# The log.


def test_the_log_names_peer_cause_byte_and_cure(served: Spile) -> None:
    seen = len(served.log)
    block = field("A") + field("b") + b"\0\0"
    answer_to(served, struct.pack("<BHB", 0, len(block), 0) + block)
    line = served.wait_for_log("empty name", since=seen).splitlines()[-1]
    assert re.search(r"at byte 10\b.* peer=\S.* byte=10\b.* cure=\"\S", line), line
    if isinstance(served.address, str):
        assert re.search(r"peer=process \d+ of user \d+", line)
    else:
        assert re.search(r"peer=127\.0\.0\.1:\d+", line)


@pytest.mark.parametrize(
    ("sent", "words"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "HTTP was sent to a uwsgi socket"),
        (bytes.fromhex("16030100c8010000c40303"), "TLS was sent to a uwsgi socket"),
    ],
)
def test_a_flood_is_ten_lines_and_a_number(start: Starter, sent: bytes, words: str) -> None:
    spile = start.spile("hostile:application", socket="tcp")
    for _ in range(200):
        assert answer_to(spile, sent).status == 400
    assert spile.log.count(words) == 10
    # Another cause is not hidden by it.
    assert spile.ask("/", "NO METHOD").status == 400
    spile.wait_for_log("NO METHOD")
    spile.stop()
    assert f"{words}: 190 more in the last" in spile.log
    assert spile.log.count(words) == 11


def test_half_an_upload_is_no_error_of_a_native_application(start: Starter) -> None:
    spile = start.spile("echo://", "--read-timeout", "0.2", socket="tcp")
    half = packet(environ_for("/", "POST", CONTENT_LENGTH="10")) + b"half"
    for _ in range(20):
        with spile.connect() as connection:
            connection.send(half)
            connection.socket.shutdown(socket.SHUT_WR)
            assert connection.answer().status == 400
    assert "the application" not in spile.log
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: answer_to(spile, half), range(20)))
    assert {answer.status for answer in answers} == {408}
    spile.stop()
    assert spile.log.count("nothing came for 200ms, after 4 of 10 bytes") == 10
    assert "ERROR" not in spile.log


def test_what_a_peer_sends_cannot_forge_a_line_of_the_log(served: Spile) -> None:
    seen = len(served.log)
    forged = "\r\n2026-01-01T00:00:00Z ERROR spile: all is lost\x1b[31m"
    assert served.ask("/", "GET" + forged).status == 400
    assert served.ask("/", CONTENT_LENGTH="5" + forged).status == 400
    assert answer_to(served, with_variables(("HTTP_X" + forged, "\n"))).status == 400
    log = served.wait_for_log("the header HTTP_X", since=seen)
    assert "\x1b" not in log
    assert not any(line.startswith("2026-01-01") for line in log.splitlines())


# Variables are data.


@pytest.mark.parametrize("mount", ["/", "/echo"])
def test_cve_exposed_socket_variables_of_uwsgi_are_data(
    served: Spile, tmp_path: Path, mount: str
) -> None:
    """To uWSGI a socket is as good as a shell."""
    evil = tmp_path / "evil.py"
    trace = tmp_path / "was_run"
    evil.write_text(f"open({str(trace)!r}, 'w').close()\n")
    orders = {
        "UWSGI_FILE": str(evil),
        "UWSGI_SCRIPT": "evil",
        "UWSGI_MODULE": "evil",
        "UWSGI_CALLABLE": "application",
        "UWSGI_CHDIR": str(tmp_path),
        "UWSGI_PYHOME": str(tmp_path),
        "UWSGI_SETENV": "PATH=/evil",
        "UWSGI_APPID": "evil",
        "UWSGI_HOME": str(tmp_path),
        "UWSGI_TOUCH_RELOAD": str(evil),
        "UWSGI_CACHE_GET": "evil",
        "UWSGI_SCHEME": "evil",
        "UWSGI_POSTFILE": str(evil),
        "UWSGI_OPTIONS": "exec=touch " + str(trace),
        "UWSGI_UPDATE": "1",
        "DOCUMENT_ROOT": str(tmp_path),
        "SCRIPT_FILENAME": str(evil),
    }
    pids = served.family()
    answer = served.ask(mount + "?format=json", **orders)
    shown = answer.json()
    shown = shown.get("variables", shown)
    assert {name: shown.get(name) for name in orders} == orders
    assert not trace.exists()
    assert served.family() == pids
    assert served.ask("/").status == 200


HIDDEN = ["HTTP_PROXY", "HTTP_CONTENT_TYPE", "HTTP_CONTENT_LENGTH"]


@pytest.mark.parametrize("mount", ["/", "/echo"])
@pytest.mark.parametrize("name", HIDDEN)
def test_what_is_hidden_is_hidden_in_every_spelling(served: Spile, name: str, mount: str) -> None:
    spellings = [name, name.lower(), name.title(), name.replace("_", "-")]
    spellings += ["HTTP_" + name[5:].replace("_", "-"), "HTTP_" + name[5:].lower()]
    pairs = [(spelling, "http://mallory.test") for spelling in spellings]
    answer = answer_to(served, with_variables(*pairs, path=mount))
    assert answer.status == 200
    assert "mallory" not in answer.text


def test_a_client_cannot_send_them_through_nginx(start: Starter) -> None:
    site = start.site("hostile:application", servers={"under": ["underscores_in_headers on;"]})
    headers = [("Proxy", "1.mallory"), ("proxy", "2.mallory"), ("Content_Length", "3.mallory")]
    shown = site.fetch("/", "POST", headers, b"abc", server="under").json()
    assert not [name for name, value in shown.items() if "mallory" in value]
    assert shown["CONTENT_LENGTH"] == "3"


def test_a_header_is_one_line_and_a_path_may_be_more(site: Site) -> None:
    """A path is decoded: %0a is a line feed to whom it concerns. nginx takes no NUL."""
    assert site.get("/a%0d%0ab%01").json()["PATH_INFO"] == "/a\r\nb\x01"
    assert site.get("/a%00b").status == 400
    assert site.spile.ask("/a\0b").json()["PATH_INFO"] == "/a\0b"
    for value in ["a\nb", "a\r\nX-Other: b", "a\0b"]:
        assert site.spile.ask("/", HTTP_X=value).status == 400
        assert site.spile.ask("/", X=value).json()["X"] == value


# Ping.


@pytest.mark.parametrize("application", ["hostile:application", "hello://"])
@pytest.mark.parametrize("family", ["unix", "tcp"])
def test_a_ping_is_answered_as_uwsgi_does(start: Starter, application: str, family: str) -> None:
    spile = start.spile(application, socket=family)
    for _ in range(3):
        assert exchange(spile.address, PING) == (PONG, "eof")
    assert exchange(spile.address, b"\x64\x06\0\0" + field("A") + field("b")) == (PONG, "eof")
    totals = stats(spile)["totals"]
    assert (totals["requests"], sum(totals["refused"].values())) == (0, 0)


# Holes that others had.


@pytest.fixture(scope="module")
def files(start_once: Starter) -> Site:
    folder = start_once.folder()
    public = folder / "public"
    (public / "sub").mkdir(parents=True)
    (public / "page.txt").write_text("page")
    (public / "sub" / "page.txt").write_text("below")
    (public / ".hidden").write_text("hidden")
    (folder / "public-too").mkdir()
    for secret in [folder / "secret.txt", folder / "public-too" / "secret.txt"]:
        secret.write_text("SECRET")
    (public / "link.txt").symlink_to(public / "page.txt")
    return start_once.site(f"static://{public}", "--mount", f"/files=static://{public}")


TRAVERSALS = [
    "../secret.txt",
    "..%2fsecret.txt",
    "..%2Fsecret.txt",
    "%2e%2e/secret.txt",
    "%2e%2e%2fsecret.txt",
    "..%252fsecret.txt",
    "%252e%252e/secret.txt",
    "..%5csecret.txt",
    "..\\secret.txt",
    "..;/secret.txt",
    "..%00/secret.txt",
    "..%c0%afsecret.txt",
    "%c0%ae%c0%ae/secret.txt",
    "..%u2215secret.txt",
    "sub/../../secret.txt",
    "sub/..%2f..%2fsecret.txt",
    "./../secret.txt",
    ".../secret.txt",
    "../public-too/secret.txt",
    "../public/../secret.txt",
    "%2fetc/passwd",
    "/etc/passwd",
    "//etc/passwd",
    "file:///etc/passwd",
    "page.txt/../../secret.txt",
    "page.txt%00.html",
    "link.txt/../../secret.txt",
]


@pytest.mark.parametrize("mount", ["/", "/files/"])
@pytest.mark.parametrize("path", TRAVERSALS)
def test_cve_2018_7490_nothing_above_a_static_directory(files: Site, path: str, mount: str) -> None:
    """uWSGI's PHP plugin served what ..%2f led to. Here nginx decodes, or nobody does."""
    raw = (mount + path).encode("latin-1")
    through_nginx, _ = exchange(
        ("127.0.0.1", files.port()),
        b"GET " + raw + b" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    )
    decoded = urllib.parse.unquote_to_bytes(path).decode("latin-1")
    answers = [
        Answer.parse(through_nginx),
        files.spile.ask(mount + path.replace("?", "")),
        answer_to(files.spile, with_variables(("PATH_INFO", mount + decoded))),
    ]
    for answer in answers:
        assert answer.status in (301, 307, 400, 404), answer
        assert "SECRET" not in answer.text
        assert "root:" not in answer.text


def test_links_in_a_static_directory_are_followed(files: Site) -> None:
    """As nginx does, unless told otherwise: whoever may make links there may make files too."""
    assert files.get("/link.txt").text == "page"
    assert files.get("/files/sub/page.txt").text == "below"


def test_a_download_of_a_file_that_has_changed_begins_anew(start: Starter) -> None:
    """Two halves of different files would make one that nobody has written."""
    folder = start.folder()
    file = folder / "file.bin"
    file.write_bytes(b"old" * 1000)
    site = start.site(f"static://{folder}")
    whole = site.get("/file.bin")
    resumed = [("Range", "bytes=1000-"), ("If-Range", whole.header("ETag") or "")]
    part = site.get("/file.bin", headers=resumed)
    assert (part.status, part.body) == (206, whole.body[1000:])
    file.write_bytes(b"newer" * 1000)
    again = site.get("/file.bin", headers=resumed)
    assert (again.status, again.body) == (200, b"newer" * 1000)


def test_a_file_that_cannot_be_opened_is_said_in_the_log(start: Starter) -> None:
    folder = start.folder()
    (folder / "private").write_text("private")
    (folder / "private").chmod(0)
    folder.chmod(0o755)
    spile = start.spile(f"static://{folder}", *(["--user", "nobody"] if os.getuid() == 0 else []))
    assert spile.ask("/private").status == 404
    assert 'private": Permission denied' in spile.wait_for_log("cannot open")
    assert spile.ask("/nowhere").status == 404
    assert "nowhere" not in spile.log


def test_cve_2018_6758_a_path_as_long_as_can_be(start: Starter) -> None:
    """uWSGI copied a path into a buffer of its own when it looked for the mount."""
    mounts = [f"/m{number}/{'a/' * number}b" for number in range(50)]
    folder = start.folder()
    arguments = [word for mount in mounts for word in ("--mount", f"{mount}=echo://")]
    spile = start.spile("hostile:application", "--mount", f"/s=static://{folder}", *arguments)
    deepest = mounts[-1]
    for path in ["/", "/s/", "/s/" + "a" * 300 + "/", deepest + "/", deepest[:-1]]:
        for filling in ["a", "/", "a/", "../", ".", "\xff", "%"]:
            long = path + filling * (60_000 // len(filling))
            answer = answer_to(spile, with_variables(("PATH_INFO", long)))
            assert answer.status in ((200,) if path == "/" else (200, 301, 307, 400, 404))
    assert spile.ask("/").status == 200
    assert "panicked" not in spile.log


SPLITTING = ["/x%0d%0aX-Injected:%201", "/x%0aSet-Cookie:%20a=1", "/x%0d%0a%0d%0a<b>", "/x%0dy"]


@pytest.mark.parametrize("place", ["header", "status"])
@pytest.mark.parametrize("path", SPLITTING)
def test_cve_2023_27522_a_response_is_not_split(site: Site, place: str, path: str) -> None:
    """Apache's mod_proxy_uwsgi passed on what a header of the application's began."""
    answer = site.get(f"/{place}{path}")
    assert answer.status == 500
    assert not {"X-Injected", "Set-Cookie", "Location"} & {name for name, _ in answer.headers}
    raw, end = exchange_with(site.spile, f"/{place}{urllib.parse.unquote(path)}")
    head, _, body = raw.partition(b"\r\n\r\n")
    assert (end, head.count(b"\r\n"), head.count(b"HTTP/1.1")) == ("eof", raw_lines(head), 1)
    assert b"Injected" not in raw
    assert b"<b>" not in body


def raw_lines(head: bytes) -> int:
    """The line breaks of a head in which no other control character is."""
    assert not re.search(rb"[\0\n\r]", head.replace(b"\r\n", b""))
    return head.count(b"\r\n")


@pytest.mark.parametrize(("view", "status"), [("two_lengths", 500), ("chunked", 200)])
def test_cve_2024_24795_a_response_has_one_framing(site: Site, view: str, status: int) -> None:
    """What is framed twice is read as two responses by somebody on the way."""
    raw, _ = exchange_with(site.spile, f"/{view}")
    head, _, body = raw.partition(b"\r\n\r\n")
    assert head.lower().count(b"content-length:") == 1
    assert f"content-length: {len(body)}".encode() in head.lower()
    assert b"transfer-encoding" not in head.lower()
    answer = site.get(f"/{view}")
    assert (answer.status, answer.body) == (status, body)


def exchange_with(spile: Spile, path: str) -> tuple[bytes, str]:
    return exchange(spile.address, packet(environ_for(path)))
