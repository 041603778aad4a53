"""--warmup: requests that the application answers in the mold, before workers are forked."""

from __future__ import annotations

import json
import os
import re
import socket
from pathlib import Path

import pytest

from harness import APPS, Starter
from harness.workers import answers, mold_of


def test_what_a_warm_up_caches_is_shared_by_all_workers(start: Starter) -> None:
    spile = start.spile("started:application", "-w", "3", "--warmup", "/cached")
    seen = answers(spile, 3, "/cached")
    assert {said["filled_by"] for said in seen.values()} == {mold_of(spile)}
    assert mold_of(spile) not in seen


def test_the_memory_of_a_warm_up_is_shared(start: Starter, tmp_path: Path) -> None:
    """Of what a request has filled in the mold, a worker has nothing to itself."""
    (tmp_path / "big.py").write_text(
        "import os\n"
        "kept = []\n"
        "def application(environ, start_response):\n"
        "    if not kept:\n"
        "        kept.append(os.urandom(64 << 20))\n"
        "    start_response('200 OK', [])\n"
        "    with open('/proc/self/smaps_rollup') as smaps:\n"
        "        sizes = {line.split()[0]: line.split()[1] for line in smaps}\n"
        "    private = int(sizes['Private_Dirty:']) + int(sizes['Private_Clean:'])\n"
        "    return [f'{len(kept[0])} {private}'.encode()]\n"
    )
    spile = start.spile("big:application", "--warmup", "/", cwd=tmp_path)
    length, private = map(int, spile.ask("/").text.split())
    assert length == 64 << 20
    assert private * 1024 < length / 2


def test_the_response_is_read_to_its_end_and_closed(start: Starter) -> None:
    spile = start.spile("started:application", "--warmup", "/cached")
    (said,) = answers(spile, path="/cached").values()
    assert said["ended"] == ["iterated", "closed"]


def test_the_environ_is_one_that_nginx_would_cause(start: Starter) -> None:
    """All that a request through nginx has is there, of the same types but for the empty input."""
    arguments = (
        "hello://",
        "--mount",
        "/shop=started:application",
        "-t",
        "2",
        "--workers-max",
        "2",
    )
    path = "/shop/caf%C3%A9?page=2&x=%20"
    warm = start.spile(*arguments, "--warmup", path)
    (said,) = answers(warm, path="/shop/").values()
    environ = said["environ"]
    cold = start.site(*arguments)
    cold.get(path)
    (said,) = answers(cold.spile, path="/shop/").values()
    reference = said["environ"]
    of_client_and_server = {"DOCUMENT_ROOT", "HTTP_CONNECTION", "HTTP_ACCEPT_ENCODING"}
    assert reference.keys() - environ.keys() <= of_client_and_server
    for name in (
        *("REQUEST_METHOD", "REQUEST_URI", "QUERY_STRING", "SCRIPT_NAME", "PATH_INFO"),
        *("CONTENT_TYPE", "CONTENT_LENGTH", "SERVER_PROTOCOL", "REQUEST_SCHEME", "REMOTE_ADDR"),
        *(it for it in reference if it.startswith("wsgi.") and it != "wsgi.input"),
    ):
        assert environ.get(name) == reference.get(name), name
    assert (environ["SCRIPT_NAME"], environ["PATH_INFO"]) == ("/shop", "/caf\xc3\xa9")
    assert environ["HTTP_HOST"] == "localhost"
    assert re.match(r"spile/\S+ \(warm-up\)$", environ["HTTP_USER_AGENT"])


def test_the_longest_prefix_answers(start: Starter) -> None:
    spile = start.spile(
        *("environ:application", "--mount", "/a=started:application", "--mount", "/a/b=hello://"),
        *("--warmup", "/a/cached", "--warmup", "/a/b/c", "--warmup", "/ab"),
    )
    (said,) = answers(spile, path="/a/").values()
    assert said["environ"]["SCRIPT_NAME"] == "/a"
    assert "/a/b/c is not answered by a Python application" in spile.log
    assert "GET /ab was answered with 200 OK" in spile.log


def test_how_long_it_took_is_told(start: Starter) -> None:
    spile = start.spile("started:application", "--warmup", "/cached")
    spile.ask("/cached")
    assert re.search(r"INFO warm-up: GET /cached was answered with 200 OK in \d\.\d+ s", spile.log)


def test_failures_are_warnings(start: Starter) -> None:
    spile = start.spile(
        *("started:application", "--warmup", "/fail"),
        *("--warmup", "/missing?x", "--warmup", "/cached"),
    )
    (said,) = answers(spile).values()
    assert said["filled_by"] == mold_of(spile)
    assert re.search(
        r"WARN warm-up: GET /fail failed after \S+ s\n"
        r"Traceback.*\n  File \".*started.py\"(?s:.*)LookupError: nothing works yet\n  hint: ",
        spile.log,
    )
    assert re.search(r"WARN warm-up: GET /missing\?x was answered with 404 Not Found", spile.log)


@pytest.mark.parametrize(
    ("view", "said"),
    [
        ("number", "TypeError: the status is a str, not int"),
        ("split", "ValueError"),
        ("text", "TypeError: a block of a WSGI response is bytes, not str"),
        ("nothing", "TypeError"),
    ],
)
def test_what_fails_a_request_fails_a_warm_up(
    start: Starter, tmp_path: Path, view: str, said: str
) -> None:
    (tmp_path / "wrong.py").write_text(
        "def application(environ, start_response):\n"
        "    view = environ['QUERY_STRING']\n"
        "    status = 200 if view == 'number' else '200 OK'\n"
        "    start_response(status, [('X', 'a\\nb')] if view == 'split' else [])\n"
        "    return {'text': ['text'], 'nothing': None}.get(view, [b''])\n"
    )
    spile = start.spile("wrong", "--warmup", f"/?{view}", "--warmup", "/", cwd=tmp_path)
    assert spile.ask("/").status == 200
    assert re.search(rf"WARN warm-up: GET /\?{view} failed after (?s:.*)\n{said}", spile.log)
    assert "warm-up: GET / was answered with 200 OK" in spile.log
    seen = len(spile.log)
    assert spile.ask("/", QUERY_STRING=view).status == 500
    assert said in spile.log[seen:]


SLOW = """
import os, time

def application(environ, start_response):
    view = environ["PATH_INFO"]
    if view == "/slow":
        time.sleep(1.5)
    start_response("200 OK", [])
    return {"/events": events, "/silent": silent, "/stubborn": stubborn}.get(view, slow)()

def slow():
    yield b"done"

def events():
    try:
        while True:
            time.sleep(0.01)
            yield b"an event"
    finally:
        open("closed", "w").close()

def silent():
    yield b"an event"
    time.sleep(600)

def stubborn():
    while True:
        try:
            time.sleep(600)
        except Exception:
            yield b"no more"
"""


@pytest.mark.parametrize("view", ["events", "silent", "stubborn"])
@pytest.mark.parametrize("lazy", [[], ["--lazy"]])
def test_a_response_that_does_not_end_is_left_and_told(
    start: Starter, tmp_path: Path, view: str, lazy: list[str]
) -> None:
    (tmp_path / "endless.py").write_text(SLOW)
    warm = ("--warmup", f"/{view}", "--warmup", "/")
    spile = start.spile("endless", *lazy, *warm, "--request-timeout", "1", cwd=tmp_path)
    assert spile.ask("/").body == b"done"
    assert re.search(
        rf"WARN warm-up: GET /{view} was answered with 200 OK, .* not ended after 1 s.*\n"
        r"  hint: .*--warmup",
        spile.log,
    )
    assert "warm-up: GET / was answered with 200 OK" in spile.log
    assert "Traceback" not in spile.log
    assert (tmp_path / "closed").exists() == (view == "events")


def test_an_application_that_takes_long_is_waited_for_and_told(
    start: Starter, tmp_path: Path
) -> None:
    """A first request may take longer than others are allowed to: it may import a lot."""
    (tmp_path / "endless.py").write_text(SLOW)
    spile = start.spile("endless", "--warmup", "/slow", "--request-timeout", "0.5", cwd=tmp_path)
    assert spile.ask("/").status == 200
    waiting, answered = re.findall(r"(WARN|INFO) warm-up: (.*)", spile.log)
    assert waiting[0] == "WARN"
    assert re.fullmatch(
        r"GET /slow has taken 0.5 s so far: it is at \S+endless.py:7 \(application\)", waiting[1]
    )
    assert answered[0] == "INFO"


def test_paths_may_come_from_a_file(start: Starter) -> None:
    folder = start.folder()
    path = folder / "app.sock"
    config = folder / "spile.toml"
    config.write_text(
        f'app = "hello://"\nsocket = ["unix:{path}"]\nchdir = "{APPS}"\n'
        'warmup = ["/shop/cached"]\n[mount]\n"/shop" = "started:application"\n'
    )
    spile = start.spile("--config", str(config), cwd=folder, socket=None, address=str(path))
    (said,) = answers(spile, path="/shop/").values()
    assert said["filled_by"] == mold_of(spile)


def test_lines_are_json_if_the_log_is(start: Starter) -> None:
    spile = start.spile(
        *("started:application", "--log-format", "json"),
        *("--warmup", "/fail", "--warmup", "/cached"),
    )
    spile.ask("/")
    lines = [json.loads(line) for line in spile.log.splitlines()]
    failed, fine = (line for line in lines if line["message"].startswith("warm-up: "))
    ours = next(line for line in lines if line["message"].startswith("listening"))
    assert ours.keys() == fine.keys() == {"pid", "process", "timestamp", "level", "message"}
    assert len(ours["timestamp"]) == len(fine["timestamp"])
    assert (failed["level"], fine["level"]) == ("WARN", "INFO")
    assert "LookupError: nothing works yet" in failed["message"]
    assert failed["hint"]


def test_the_level_of_the_log_is_kept(start: Starter) -> None:
    spile = start.spile(
        *("started:application", "--log-level", "warn"),
        *("--warmup", "/fail", "--warmup", "/cached"),
    )
    spile.ask("/")
    assert "GET /fail failed" in spile.log
    assert "GET /cached" not in spile.log


# Connections that a fork would share.


def test_a_connection_left_open_is_a_warning_with_its_peer(start: Starter, tmp_path: Path) -> None:
    (tmp_path / "connected.py").write_text(
        "import os, socket\n"
        "kept = []\n"
        "def application(environ, start_response):\n"
        "    if not kept:\n"
        "        address = '127.0.0.1', int(os.environ['TEST_PORT'])\n"
        "        kept.append(socket.create_connection(address))\n"
        "        kept.extend(socket.socketpair())\n"
        "        kept.append(socket.socket())\n"
        "    start_response('200 OK', [])\n"
        "    return [b'']\n"
    )
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        env = {"TEST_PORT": str(port)}
        spile = start.spile("connected:application", "--warmup", "/", cwd=tmp_path, env=env)
        spile.ask("/")
        warnings = re.findall(r"WARN .*left a connection to (\S+) open", spile.log)
        assert warnings == [f"127.0.0.1:{port}"]
        assert "@spile.post_fork" in spile.log


SETTINGS = """
SECRET_KEY = "for tests only"
ALLOWED_HOSTS = [".shop.example", "other.example"]
ROOT_URLCONF = "pages"
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "FOLDER/db.sqlite"}}
"""

PAGES = """
import os
import django.db
from django.http import JsonResponse
from django.urls import path

hosts = []

def page(request):
    with django.db.connection.cursor() as cursor:
        cursor.execute("select 1")
    # What keeps a connection open beyond the request's end.
    django.db.connection.close_if_unusable_or_obsolete = lambda: None
    hosts.append(request.get_host())
    return JsonResponse({"hosts": hosts, "pid": os.getpid()})

urlpatterns = [path("page", page)]
"""


def test_django_is_asked_for_a_host_it_allows_and_its_connections_are_closed(
    start: Starter, tmp_path: Path
) -> None:
    pytest.importorskip("django")
    (tmp_path / "settings.py").write_text(SETTINGS.replace("FOLDER", str(tmp_path)))
    (tmp_path / "pages.py").write_text(PAGES)
    (tmp_path / "site_wsgi.py").write_text(
        "import os\n"
        "os.environ['DJANGO_SETTINGS_MODULE'] = 'settings'\n"
        "from django.core.wsgi import get_wsgi_application\n"
        "application = get_wsgi_application()\n"
    )
    spile = start.spile("site_wsgi", "--warmup", "/page", cwd=tmp_path)
    answer = spile.ask("/page", HTTP_HOST="other.example").json()
    assert answer["hosts"] == ["shop.example", "other.example"]
    assert open_files(answer["pid"], "db.sqlite")
    assert not open_files(mold_of(spile), "db.sqlite")
    assert "WARN" not in spile.log


def open_files(pid: int, name: str) -> list[str]:
    files = [os.readlink(entry) for entry in Path(f"/proc/{pid}/fd").iterdir()]
    return [file for file in files if os.path.basename(file) == name]
