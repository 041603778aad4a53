"""`spile check`: what would run, and every mistake, without running anything."""

from __future__ import annotations

import os
import re
import socket
from pathlib import Path

import pytest

from harness import APPS, Finished, Starter, run_spile


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project whose application leaves a file behind if it is imported."""
    (tmp_path / "app.py").write_text(
        "open('was_imported', 'w').close()\n"
        "def application(environ, start_response):\n"
        "    start_response('200 OK', [])\n"
        "    return [b'']\n"
    )
    return tmp_path


def check(project: Path, *arguments: str) -> Finished:
    """Runs it, and sees that it left nothing behind."""
    before = sorted(os.listdir(project))
    finished = run_spile("check", *arguments, cwd=project)
    assert sorted(os.listdir(project)) == before
    return finished


def mistakes(finished: Finished) -> list[tuple[str, str]]:
    """Each mistake with its place, and its cure."""
    assert finished.status == 2, finished
    return re.findall(r"^error: (.*)\n  hint: (.+)$", finished.err, re.MULTILINE)


def test_what_is_right_is_status_0_and_not_run(project: Path) -> None:
    finished = check(project, "app", "--socket", "unix:app.sock", "-w", "2")
    assert (finished.status, finished.err) == (0, "")
    assert not (project / "app.sock").exists()


def test_it_says_what_would_run(project: Path) -> None:
    finished = check(
        project,
        *("app", "--socket", "unix:app.sock", "-w", "2", "-t", "3"),
        *("--mount", "/hello=hello://", "--env", "SECRET=hidden", "--access-log", "access.log"),
    )
    said = finished.out.decode()
    for fact in ("app.sock", "app:application", "/hello", "hello://", "access.log", "SECRET"):
        assert fact in said
    assert re.search(r"workers +2 of 3 thread", said)
    assert re.search(r"python +3\.\d+", said)
    # Values may be secrets, and the output ends up in tickets.
    assert "hidden" not in said


def test_every_mistake_is_said_at_once_with_place_and_cure(project: Path) -> None:
    (project / "spile.toml").write_text('workers = "several"\nno-such-key = 1\n')
    finished = run_spile(
        "check",
        *("missing_module:app", "--socket", "nowhere", "--socket-mode", "999"),
        *("--mount", "no-slash=hello://", "--mount", "/files=static://no_folder"),
        *("--config", "spile.toml", "--pidfile", "no_folder/pid"),
        cwd=project,
        env={"SPILE_THREADS": "0"},
    )
    found = dict(mistakes(finished))
    places = [
        "APP: ",
        "--socket: ",
        "--socket-mode: ",
        "--mount: ",
        "--pidfile: ",
        "SPILE_THREADS: ",
        "spile.toml, line 1, workers: ",
        "spile.toml, line 2, no-such-key: ",
    ]
    for place in places:
        assert any(mistake.startswith(place) for mistake in found), (place, found)
    for part in ("missing_module", "nowhere", "999", "no-slash", "no_folder", "several"):
        assert any(part in mistake for mistake in found), part
    assert all(found.values())


def test_a_place_that_is_not_there_hides_no_mistake_in_python(project: Path) -> None:
    missing = str(project / "missing")
    options = ["nomod:app", "--sandbox", "--sandbox-write", missing]
    finished = run_spile("check", *options, cwd=project, env={"TMPDIR": missing})
    found = [mistake for mistake, _ in mistakes(finished)]
    assert any("there is no module `nomod`" in mistake for mistake in found), found
    for place in ("TMPDIR", "--sandbox-write"):
        assert f"{place}: `{missing}` does not exist" in found


@pytest.mark.parametrize(
    ("source", "name", "said"),
    [
        ("wsgi = make()\n", "broken", "did you mean broken:wsgi?"),
        ("app = 1\n", "broken", "which cannot be called"),
        ("def application(:\n", "broken", "line 1"),
        ("def application(): pass\n", "broken", "broken:application()"),
        ("async def application(scope, receive, send): pass\n", "broken", "async"),
    ],
    ids=["other name", "constant", "syntax", "factory", "async"],
)
def test_the_source_is_read_without_being_run(
    project: Path, source: str, name: str, said: str
) -> None:
    (project / "broken.py").write_text(source + "\nopen('was_imported', 'w').close()\n")
    finished = check(project, name)
    (mistake,) = mistakes(finished)
    assert said in "\n".join(mistake)


def test_no_application(project: Path) -> None:
    (mistake,) = mistakes(check(project))
    assert "no application" in mistake[0]


def test_a_socket_that_is_taken_is_a_mistake_that_names_the_process(project: Path) -> None:
    path = project / "live.sock"
    with socket.socket(socket.AF_UNIX) as live:
        live.bind(str(path))
        live.listen()
        finished = check(project, "app", "--socket", f"unix:{path}")
    (mistake,) = mistakes(finished)
    assert str(path) in mistake[0]
    assert str(os.getpid()) in mistake[0]


def test_a_stale_socket_is_no_mistake_and_is_left(project: Path) -> None:
    path = project / "stale.sock"
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))
    assert check(project, "app", "--socket", f"unix:{path}").status == 0


def test_what_check_accepts_serve_runs(start: Starter) -> None:
    arguments = ("environ:application", "--threads", "2", "--env", "TEST_A=1")
    assert run_spile("check", *arguments, cwd=APPS).status == 0
    assert start.spile(*arguments).ask("/").status == 200


@pytest.mark.parametrize("command", [[], ["serve"], ["check"], ["request"]])
def test_help(project: Path, command: list[str]) -> None:
    finished = run_spile(*command, "--help", cwd=project)
    assert finished.status == 0
    assert "Usage: spile" in finished.out.decode()


def test_an_unknown_subcommand_is_status_2(project: Path) -> None:
    finished = run_spile("sevre", cwd=project)
    assert finished.status == 2
    assert "serve" in finished.err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            ["--socket", "./x", "--socket", "unix:{folder}/y/../x"],
            "--socket: `{path}` is a --socket",
        ),
        (["--control", "./x", "--pidfile", "x"], "--pidfile: `{path}` is a --control"),
        (["--socket", "./x", "--control", "link/x"], "--control: `{path}` is a --socket"),
        (["--metrics", "unix:link/x", "--socket", "./x"], "--metrics: `{path}` is a --socket"),
        (["--access-log", "x", "--pidfile", "link/x"], "--access-log: `{path}` is a --pidfile"),
    ],
    ids=["sockets", "control", "link", "metrics", "access log"],
)
def test_a_file_has_one_purpose(project: Path, options: list[str], said: str) -> None:
    (project / "y").mkdir()
    (project / "link").symlink_to(".")
    words = [option.format(folder=project) for option in options]
    for command in ("check", "serve"):
        finished = run_spile(command, "hello://", *words, cwd=project)
        (mistake, cure), *others = mistakes(finished)
        wanted = said.split("`{path}`")
        assert mistake.startswith(wanted[0])
        assert mistake.endswith(f"{wanted[1]} as well")
        assert cure == "give each a file of its own"
        assert others == []
