"""Frameworks behind nginx: each has the same pages and must give the same answers."""

from __future__ import annotations

import hashlib
import json
import random
import sys
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from harness import APPS, Answer, Site, Starter, fetch, wait_until
from harness.process import Process
from harness.spile import environment

APPLICATIONS = {
    "flask": "flask_app:app",
    "django": "django_app.wsgi:application",
    "bottle": "bottle_app:app",
    "webpy": "webpy_app",
    "werkzeug": "werkzeug_app:application",
    "pyramid": "pyramid_app:main()",
}

UPLOAD = random.Random(3).randbytes(300_000)


class Framework:
    """A framework's pages, at the root or under a mount."""

    def __init__(self, name: str, site: Site, prefix: str = "") -> None:
        self.name = name
        self.site = site
        self.prefix = prefix

    def get(self, path: str, headers: list[tuple[str, str]] | None = None) -> Answer:
        return self.site.get(self.prefix + path, headers or [])

    def post(self, path: str, body: bytes, content_type: str) -> Answer:
        return self.site.post(self.prefix + path, body, [("Content-Type", content_type)])


@pytest.fixture(scope="module", params=APPLICATIONS)
def at_root(start_once: Starter, request: pytest.FixtureRequest) -> Framework:
    """Each framework alone in a spile."""
    return Framework(request.param, start_once.site(APPLICATIONS[request.param]))


@pytest.fixture(scope="module")
def all_mounted(start_once: Starter) -> Site:
    """All frameworks in one spile."""
    mounts = [f"--mount=/{name}={app}" for name, app in APPLICATIONS.items()]
    return start_once.site(*mounts, "--threads", "2")


@pytest.fixture(params=APPLICATIONS)
def mounted(all_mounted: Site, request: pytest.FixtureRequest) -> Framework:
    return Framework(request.param, all_mounted, "/" + request.param)


def test_a_page_with_arguments(at_root: Framework) -> None:
    assert at_root.get("/hello/world").text == "Hello, world!"
    answer = at_root.get("/hello/J%C3%BCrgen%20%E2%98%83?greeting=Gr%C3%BC%C3%9F+dich")
    assert (answer.status, answer.text) == (200, "Grüß dich, Jürgen ☃!")


def test_a_form(at_root: Framework) -> None:
    body = b"name=J%C3%BCrgen&colour=dark+blue&empty="
    answer = at_root.post("/form", body, "application/x-www-form-urlencoded")
    assert answer.json() == {"name": "Jürgen", "colour": "dark blue", "empty": ""}


def test_json(at_root: Framework) -> None:
    value = {"text": "☃", "list": [1, 2.5, None], "long": "x" * 100_000}
    answer = at_root.post("/json", json.dumps(value).encode(), "application/json")
    assert answer.json() == {"received": value}


def test_an_upload(at_root: Framework) -> None:
    boundary = "----boundary"
    body = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="note"\r\n\r\na note\r\n'
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="data.bin"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n"
    ).encode()
    body += UPLOAD + f"\r\n--{boundary}--\r\n".encode()
    answer = at_root.post("/upload", body, f"multipart/form-data; boundary={boundary}")
    digest = hashlib.sha256(UPLOAD).hexdigest()
    assert answer.json() == {"name": "data.bin", "sha256": digest, "note": "a note"}


def test_cookies_and_a_redirect(at_root: Framework) -> None:
    answer = at_root.get("/login/alice")
    assert answer.status in (302, 303)
    assert urlsplit(answer.header("Location")).path == "/whoami"
    cookies = [value.split(";")[0] for value in answer.all("Set-Cookie")]
    assert sorted(cookies) == ["theme=dark", "user=alice"]
    assert at_root.get("/whoami", [("Cookie", "; ".join(cookies))]).text == "alice"
    assert at_root.get("/whoami").text == "nobody"


def test_a_streamed_page(at_root: Framework) -> None:
    answer = at_root.get("/stream/2000")
    assert answer.text == "".join(f"line {n}\n" for n in range(2000))
    assert answer.complete


@pytest.mark.parametrize("path", ["/file", "/static/hello.txt"])
def test_a_file(at_root: Framework, path: str) -> None:
    answer = at_root.get(path)
    assert (answer.status, answer.text) == (200, "a static file\n")


def test_a_failing_page(at_root: Framework) -> None:
    """What the page says is the framework's own; that it is a whole 500 is the server's."""
    answer = at_root.get("/error")
    assert answer.status == 500
    assert answer.complete
    assert at_root.get("/whoami").status == 200


def test_a_failing_page_is_in_the_log(at_root: Framework) -> None:
    seen = len(at_root.site.spile.log)
    at_root.get("/error")
    at_root.site.spile.wait_for_log("a page that fails", since=seen)


@pytest.mark.parametrize("path", ["/missing", "/static/missing.txt"])
def test_a_missing_page(at_root: Framework, path: str) -> None:
    assert at_root.get(path).status == 404


def test_head(at_root: Framework) -> None:
    answer = at_root.site.head("/file")
    # web.py and Django's plain views route HEAD each in their own way.
    assert answer.status in (200, 405)
    assert answer.body == b""


# Mounts.


def test_a_mounted_page(mounted: Framework) -> None:
    assert mounted.get("/hello/world?greeting=Hi").text == "Hi, world!"


def test_a_mounted_framework_knows_its_prefix(mounted: Framework) -> None:
    assert mounted.get("/where").json() == {
        "script_name": mounted.prefix,
        "path_info": "/where",
        "link": f"{mounted.prefix}/hello/link",
    }


def test_a_framework_at_the_root_has_no_prefix(at_root: Framework) -> None:
    assert at_root.get("/where").json() == {
        "script_name": "",
        "path_info": "/where",
        "link": "/hello/link",
    }


def test_a_redirect_under_a_mount(mounted: Framework) -> None:
    location = mounted.get("/login/bob").header("Location")
    assert urlsplit(location).path == f"{mounted.prefix}/whoami"


def test_a_form_under_a_mount(mounted: Framework) -> None:
    answer = mounted.post("/form", b"name=x", "application/x-www-form-urlencoded")
    assert answer.json() == {"name": "x"}


@pytest.mark.parametrize("path", ["/", "/nowhere", "/flaskish/hello/x", "/Flask/hello/x"])
def test_outside_every_mount_is_a_404(all_mounted: Site, path: str) -> None:
    """A prefix ends at a slash: /flask does not take /flaskish."""
    assert all_mounted.get(path).status == 404


def test_the_longest_mount_wins(start: Starter) -> None:
    site = start.site(
        "--mount=/=environ:application",
        "--mount=/a/=environ:application",
        "--mount=/a/b=environ:application",
    )

    def split(path: str) -> tuple[str, str]:
        seen = site.get(path).json()["strings"]
        return seen["SCRIPT_NAME"], seen["PATH_INFO"]

    assert split("/") == ("", "/")
    assert split("/ab") == ("", "/ab")
    assert split("/a") == ("/a", "")
    assert split("/a/") == ("/a", "/")
    assert split("/a/bc") == ("/a", "/bc")
    assert split("/a/b") == ("/a/b", "")
    assert split("/a/b/c") == ("/a/b", "/c")


def test_an_application_beside_mounts_has_the_rest(start: Starter) -> None:
    site = start.site("environ:application", "--mount=/flask=flask_app:app")
    assert site.get("/flask/hello/x").text == "Hello, x!"
    assert site.get("/else").json()["strings"]["PATH_INFO"] == "/else"


# Tornado.


@pytest.fixture(scope="module")
def tornado(start_once: Starter) -> Iterator[int]:
    """The port of Tornado's HTTP server with its WSGI container."""
    folder = start_once.folder()
    command = [sys.executable, str(APPS / "tornado_app.py")]
    process = Process(command, folder / "tornado.log", folder, environment())
    try:
        wait_until(lambda: process.log.endswith("\n"), "Tornado to print its port")
        yield int(process.log)
    finally:
        process.destroy()


@pytest.fixture(scope="module")
def tornados_app(start_once: Starter) -> Site:
    return start_once.site("tornado_app:application")


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/hello?name=J%C3%BCrgen", None),
        ("PUT", "/hello", b""),
        ("POST", "/body", b"x" * 100_000),
        ("POST", "/body", b""),
        ("GET", "/cookies", None),
        ("GET", "/chunks", None),
        ("GET", "/written", None),
        ("GET", "/path/a%20b?c=%20d", None),
        ("GET", "/missing", None),
    ],
)
def test_spile_answers_as_tornados_container(
    tornado: int, tornados_app: Site, method: str, path: str, body: bytes | None
) -> None:
    # Tornado answers neither HEAD nor a failing application in a way to compare with.
    headers = [("Cookie", "c=1"), ("Host", "example.test")]
    ours = tornados_app.fetch(path, method, headers, body)
    theirs = fetch(tornado, path, method, headers, body)
    assert (ours.status, ours.complete) == (theirs.status, theirs.complete)
    assert ours.reason == theirs.reason
    assert ours.body == theirs.body
    assert app_headers(ours) == app_headers(theirs)


def app_headers(answer: Answer) -> list[tuple[str, str]]:
    """The header fields that come from the application."""
    servers_own = {"server", "date", "connection", "content-length", "transfer-encoding"}
    return sorted((n.lower(), v) for n, v in answer.headers if n.lower() not in servers_own)
