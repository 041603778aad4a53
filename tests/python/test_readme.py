"""README.md and the documents it links: what they say works, and no command is without its test.

Each command of the README is run here, or is one that `.ci/run` runs. A new one needs a function
with `@runs("the command")`. Addresses and paths are moved into the test's folder; nothing else is
changed.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Callable

import pytest

from harness import DISTRIBUTION_PARAMS, Finished, Spile, Starter, fetch, run_spile, wait_until
from harness import nginx as nginx_harness
from harness.net import Port, accepts
from harness.process import Process
from harness.spile import ROOT, environment

README = (ROOT / "README.md").read_text("utf-8")
DOCUMENTS = [
    path
    for folder in (".", "docs", "examples", "fuzz", "nginx", "protocol-spec")
    for path in sorted((ROOT / folder).glob("*.md"))
]

#: Seconds that cargo may need where nothing is built yet.
BUILD = 600.0

Run = Callable[["Place"], None]
HOW: dict[str, Run] = {}


def runs(command: str) -> Callable[[Run], Run]:
    """Says how a command of the README is run."""

    def note(run: Run) -> Run:
        HOW[command] = run
        return run

    return note


def blocks(language: str) -> list[str]:
    """The fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.M | re.S)


def commands() -> list[str]:
    lines = "".join(blocks("sh")).replace("\\\n", "").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def named(name: str) -> str:
    """The block whose first line, a comment, is a file's name."""
    found = [block for block in blocks(r"\w+") if re.match(rf"[#;/]+ {re.escape(name)}\n", block)]
    assert len(found) == 1, f"{len(found)} blocks are called {name}"
    return found[0]


class Place:
    """A folder that stands for the root of the file system."""

    def __init__(self, start: Starter) -> None:
        self.start = start
        self.folder = start.folder()
        for directory in ("tmp", "run/app", "srv/app", "srv/mysite"):
            (self.folder / directory).mkdir(parents=True)

    def moved(self, text: str) -> str:
        """The same text with its paths in the folder, and an owner that is there."""
        text = re.sub(r"(?<![\w/])/(tmp|run|srv)/", rf"{self.folder}/\1/", text)
        return text.replace("app:www-data", f"{os.getuid()}:{os.getgid()}")

    def write(self, name: str, directory: str) -> Path:
        """Writes a file of the README; returns its directory."""
        folder = self.folder / directory
        (folder / name).write_text(self.moved(named(name)), "utf-8")
        return folder

    def serve(self, command: str, socket: str, cwd: Path) -> Spile:
        arguments = shlex.split(self.moved(command))
        assert arguments[:2] == ["spile", "serve"]
        return self.start.spile(*arguments[2:], socket=None, address=self.moved(socket), cwd=cwd)

    def run(self, command: str, cwd: Path) -> Finished:
        arguments = shlex.split(self.moved(command))
        assert arguments[0] == "spile"
        return run_spile(*arguments[1:], cwd=cwd)

    def flask(self) -> Spile:
        """The Flask application as the README serves it."""
        return self.serve(SERVE_FLASK, "/tmp/app.sock", self.write("app.py", "tmp"))


@pytest.mark.timeout(2 * BUILD)
@pytest.mark.parametrize("command", commands())
def test_each_command_works(start: Starter, command: str) -> None:
    assert command in HOW, f"no test runs this command of README.md: say how in {__file__}"
    HOW[command](Place(start))


def test_each_command_that_is_tested_is_there() -> None:
    assert sorted(HOW) == sorted(commands())


def test_each_block_is_tested() -> None:
    """By its language, or as a file."""
    kinds = re.findall(r"^```(\w*)\n(.*)$", README, re.M)[::2]
    files = {first.split()[-1] for _, first in kinds if re.match(r"[#;/]+ \S+$", first)}
    assert files == {"app.py", "uwsgi.ini", "spile.toml"}
    assert {kind for kind, _ in kinds} == {"sh", "python", "ini", "toml", "nginx", "rust"}
    counts = {kind: len(blocks(kind)) for kind in ("python", "ini", "toml", "nginx", "rust")}
    assert counts == {"python": 1, "ini": 1, "toml": 2, "nginx": 1, "rust": 1}


SERVE_FLASK = "spile serve app:app --socket unix:/tmp/app.sock --socket-mode 666"
REQUEST = "spile request --socket unix:/tmp/app.sock /"
SERVE_DJANGO = (
    "spile serve mysite.wsgi --chdir /srv/mysite "
    "--socket unix:/tmp/mysite.sock --socket-mode 666 --workers 4"
)
CHECK = "spile check --config spile.toml"
SERVE_CONFIG = "spile serve --config spile.toml"
RELOAD = "spile reload --pidfile /run/app/app.pid"
STATS = "spile stats --pidfile /run/app/app.pid"
TOP = "spile top --pidfile /run/app/app.pid"
HELLO = "cargo run --example hello -- unix:/tmp/hello.sock"
INSTALL = "cargo install --locked --path . --features cli,top"


@runs(SERVE_FLASK)
def serve_flask(place: Place) -> None:
    """Behind an nginx with the location of the README."""
    place.flask()
    with nginx(place, blocks("nginx")[0]) as port:
        answer = fetch(port, "/")
    assert (answer.status, answer.text) == (200, "hello from Flask\n")


@runs(REQUEST)
def request(place: Place) -> None:
    place.flask()
    assert place.run(REQUEST, place.folder) == Finished(0, b"hello from Flask\n", "")


@runs(SERVE_DJANGO)
def serve_django(place: Place) -> None:
    project = place.folder / "srv/mysite"
    subprocess.run(
        [sys.executable, "-m", "django", "startproject", "mysite", str(project)], check=True
    )
    spile = place.serve(SERVE_DJANGO, "/tmp/mysite.sock", place.folder)
    answer = spile.ask("/")
    assert (answer.status, "Django" in answer.text) == (200, True)


@runs(CHECK)
def check(place: Place) -> None:
    finished = place.run(CHECK, configured(place))
    assert (finished.status, finished.err) == (0, "")
    assert "4 of 2 threads each" in finished.out.decode()


@runs(SERVE_CONFIG)
def serve_config(place: Place) -> None:
    spile = place.serve(SERVE_CONFIG, "/run/app/app.sock", configured(place))
    assert spile.ask("/").text == "hello from Flask\n"
    assert oct(os.stat(str(spile.address)).st_mode)[-3:] == "660"

    def with_settings() -> int:
        settings = [Path(f"/proc/{pid}/environ").read_bytes() for pid in spile.family()]
        return sum(b"APP_SETTINGS=production" in one for one in settings)

    # The first worker may answer before the others are there.
    wait_until(lambda: with_settings() >= 4, "all workers to have their environment")


@runs(RELOAD)
def reload(place: Place) -> None:
    """Of a server with the limits of the README."""
    folder = configured(place)
    limits = place.moved(blocks("toml")[1]).replace(":9100", ":0")
    with (folder / "spile.toml").open("a") as more:
        more.write(f'{limits}pidfile = "{place.moved("/run/app/app.pid")}"\n')
    spile = place.serve(SERVE_CONFIG, "/run/app/app.sock", folder)
    spile.wait_for_log("ready")
    done = place.run(RELOAD, place.folder)
    assert (done.status, done.err) == (0, "")
    assert spile.ask("/").status == 200


@runs(STATS)
def stats(place: Place) -> None:
    spile = watched(place)
    told = place.run(STATS, place.folder)
    assert (told.status, told.err) == (0, "")
    assert json.loads(told.out)["master"]["pid"] == spile.pid


@runs(TOP)
def top(place: Place) -> None:
    """In a terminal it is tested by test_top.py."""
    watched(place)
    told = place.run(TOP, place.folder)
    assert told.status == 1
    assert "is not a terminal" in told.err


def watched(place: Place) -> Spile:
    """A server with the pid file that the README names."""
    return place.serve(
        f"{SERVE_FLASK} --pidfile /run/app/app.pid", "/tmp/app.sock", place.write("app.py", "tmp")
    )


def configured(place: Place) -> Path:
    """The directory with spile.toml, and what it names."""
    application = place.write("app.py", "srv/app")
    (application / "venv").symlink_to(sys.prefix)
    return place.write("spile.toml", "tmp")


@runs(HELLO)
def run_hello(place: Place) -> None:
    """And the README's program, which the front page of the documentation has as a doctest."""
    source = (ROOT / "src/lib.rs").read_text("utf-8")
    doctest = source.split("//! ```no_run\n")[1].split("//! ```")[0]
    assert blocks("rust") == [re.sub(r"^//! ?", "", doctest, flags=re.M)]
    socket = place.moved("/tmp/hello.sock")
    process = Process(
        [cargo(), *shlex.split(place.moved(HELLO))[1:]],
        place.folder / "cargo.log",
        ROOT,
        environment(),
    )
    try:

        def is_ready() -> bool:
            assert process.returncode is None, process.log
            return accepts(socket)

        wait_until(is_ready, "the example to listen", BUILD)
        answer = run_spile("request", "--socket", f"unix:{socket}", "/", cwd=place.folder)
        assert answer == Finished(0, b"hello\n", "")
        # cargo does not hand a signal on.
        os.killpg(process.pid, signal.SIGTERM)
        wait_until(lambda: not process.family(), "the example to stop")
        assert not os.path.exists(socket)
    finally:
        process.destroy()


@runs(INSTALL)
def cargo_install(place: Place) -> None:
    arguments = [*shlex.split(INSTALL)[1:], "--quiet", "--root", str(place.folder)]
    subprocess.run([cargo(), *arguments], cwd=ROOT, check=True, timeout=BUILD)
    installed = [str(place.folder / "bin/spile"), "--version"]
    version = subprocess.run(installed, check=True, capture_output=True, text=True).stdout
    assert version.startswith("spile ")


def cargo() -> str:
    """rustup puts it where a PATH may lack it."""
    home = os.environ.get("CARGO_HOME", str(Path.home() / ".cargo"))
    found = shutil.which("cargo", path=f"{os.environ.get('PATH', '')}:{home}/bin")
    assert found, "no cargo"
    return found


@runs("pip install .")
def pip_install(_: Place) -> None:
    """`make build` does it."""
    assert "build" in made_by_ci()
    script = (ROOT / "scripts/build.sh").read_text("utf-8")
    assert re.search(r"-m pip install (--\S+ )*\.$", script, re.M)


@runs("make demo")
def make_demo(_: Place) -> None:
    assert "demo" in made_by_ci()


@runs("make bench")
def make_bench(_: Place) -> None:
    """For a moment; see also test_bench.py."""
    assert "bench" in made_by_ci()


def made_by_ci() -> set[str]:
    """The targets that .ci/run makes, and those that they need."""
    needs = re.findall(r"^([\w-]+):([^=\n]*)$", (ROOT / "Makefile").read_text("utf-8"), re.M)
    made = set(re.findall(r"\bmake ([\w-]+)", (ROOT / ".ci/run").read_text("utf-8")))
    while True:
        more = {need for target, all_ in needs if target in made for need in all_.split()} - made
        if not more:
            return made
        made |= more


@contextlib.contextmanager
def nginx(place: Place, location: str) -> Iterator[int]:
    """An nginx of this location; its port."""
    port = Port()
    (place.folder / "uwsgi_params").write_text(DISTRIBUTION_PARAMS)
    configuration = place.folder / "nginx.conf"
    server = f"server {{ listen 127.0.0.1:{port.number};\n{place.moved(location)} }}"
    configuration.write_text(
        nginx_harness.MAIN.format(
            user="user root;" if os.geteuid() == 0 else "", folder=place.folder, servers=server
        )
    )
    command = nginx_harness.executable()
    assert command
    process = Process(
        [command, "-p", str(place.folder), "-e", "stderr", "-c", str(configuration)],
        place.folder / "nginx.log",
        place.folder,
        os.environ,
    )
    try:
        wait_until(lambda: accepts(("127.0.0.1", port.number)), "nginx to listen")
        yield port.number
    finally:
        process.destroy()
        port.release()


def test_the_table_of_commands(tmp_path: Path) -> None:
    listed = re.findall(r"^\| `(\w+) (\w+)` \|", README, re.M)
    told = run_spile("--help", cwd=tmp_path).out.decode()
    has = re.findall(r"^  (\w+) ", told.split("Commands:")[1].split("Options:")[0], re.M)
    assert {name for program, name in listed if program == "spile"} == {*has} - {"help"}
    assert {name for program, name in listed if program == "make"} <= made_by_ci()


def test_the_options_of_uwsgi_are_in_the_table(tmp_path: Path) -> None:
    table = (ROOT / "docs/moving-from-uwsgi.md").read_text("utf-8")
    rows = re.findall(r"^\| (`.*?) \| (.*?) \| (.*?) ?\|$", table, re.M)
    known = {name for names, _, _ in rows for name in re.findall(r"`([\w-]+)`", names)}
    assert {*re.findall(r"^([\w-]+) =", named("uwsgi.ini"), re.M)} <= known

    answers = " ".join(f"{answer} {note}" for _, answer, note in rows)
    told = run_spile("serve", "--help", cwd=tmp_path).out.decode()
    assert {*re.findall(r"(?<=`)--[a-z-]+", answers)} <= {*re.findall(r"--[a-z-]+", told)}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document: Path) -> None:
    broken = []
    for link in re.findall(r"\]\(([^)]+)\)", document.read_text("utf-8")):
        path, _, anchor = link.partition("#")
        if "://" in path:
            continue
        target = (document.parent / path) if path else document
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert broken == []


def anchors(document: Path) -> set[str]:
    """The headings as GitHub names them."""
    headings = re.findall(r"^#+ (.*)$", document.read_text("utf-8"), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
