"""What a start or a reload ends with that has failed: what, with what, and what to do about it."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest
from test_systemd import Manager

from harness import Starter, run_spile

FAILING = "def make():\n    raise LookupError('no database')\n"
HOOKED = """
import spile
@spile.post_fork
def connect(): raise LookupError('no database')
def application(environ, start_response): pass
"""
ANSWERS = """
def application(environ, start_response):
    start_response({status!r}, [])
    return []
"""


@pytest.mark.parametrize("lazy", [[], ["--lazy"]])
@pytest.mark.parametrize(
    ("app", "source", "what", "cure"),
    [
        ("nowhere", None, "there is no module `nowhere`", "--chdir or --pythonpath"),
        (
            "broken",
            "import no_such_module_anywhere\n",
            "importing `broken` failed: ModuleNotFoundError: No module named "
            "'no_such_module_anywhere'",
            "install what has the module `no_such_module_anywhere` into ",
        ),
        (
            "misspelt",
            "def application(:\n",
            "importing `misspelt` failed: SyntaxError: invalid syntax (misspelt.py, line 1)",
            "the traceback says where",
        ),
        (
            "failing:make()",
            FAILING,
            ("the factory `make()` of ", " failed: LookupError: no database"),
            "the traceback says where",
        ),
        (
            "hooked",
            HOOKED,
            "the spile.post_fork function `hooked.connect` failed: LookupError: no database",
            "the worker cannot start without it",
        ),
    ],
)
def test_the_last_line_of_a_failed_start_says_why(
    start: Starter,
    tmp_path: Path,
    lazy: list[str],
    app: str,
    source: str | None,
    what: str | tuple[str, str],
    cure: str,
) -> None:
    if source is not None:
        (tmp_path / f"{app.partition(':')[0]}.py").write_text(source)
    arguments = ("serve", app, "--socket", str(start.folder() / "s"), *lazy)
    run = run_spile(*arguments, "--log-format", "json", cwd=tmp_path)
    assert run.status == 1
    lines = [json.loads(line) for line in run.err.splitlines()]
    last = lines[-1]
    assert (last["process"], last["level"]) == ("master", "ERROR")
    begin, end = (what, what) if isinstance(what, str) else what
    assert last["message"].startswith(begin)
    assert last["message"].endswith(end)
    assert cure in last["hint"]
    if lazy or app in ("nowhere", "hooked"):
        return  # one format is enough for these
    run = run_spile(*arguments, cwd=tmp_path)
    *_, said, hint = run.err.splitlines()
    assert said.partition(" ERROR ")[2] == last["message"]
    assert hint == f"  hint: {last['hint']}"


def test_a_mold_that_ends_without_a_word_is_told_of(start: Starter, tmp_path: Path) -> None:
    (tmp_path / "gone.py").write_text("import os\nos._exit(3)\n")
    run = run_spile("serve", "gone", "--socket", str(start.folder() / "s"), cwd=tmp_path)
    assert run.status == 1
    said, hint = run.err.splitlines()[-2:]
    assert "the applications were not imported: the mold exited with status 3" in said
    assert "os._exit()" in hint


def test_a_mold_that_ends_before_a_worker_serves_is_told_of(start: Starter, tmp_path: Path) -> None:
    (tmp_path / "forked.py").write_text(
        "import os\n"
        "os.register_at_fork(after_in_parent=lambda: os._exit(3))\n"
        "os.register_at_fork(after_in_child=lambda: os._exit(0))\n"
        "def application(environ, start_response): pass\n"
    )
    run = run_spile("serve", "forked", "--socket", str(start.folder() / "s"), cwd=tmp_path)
    assert run.status == 1
    said, hint = run.err.splitlines()[-2:]
    assert "no worker serves yet, and the mold exited with status 3" in said
    assert "@spile.post_fork" in hint


def test_a_start_whose_forks_are_refused_says_why(start: Starter, tmp_path: Path) -> None:
    (tmp_path / "full.py").write_text(
        "import resource\n"
        "_, most = resource.getrlimit(resource.RLIMIT_NOFILE)\n"
        "def application(environ, start_response): pass\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (3, most))\n"
    )
    run = run_spile("serve", "full", "--socket", str(start.folder() / "s"), cwd=tmp_path)
    assert run.status == 1
    what = "a worker cannot be forked: Too many open files"
    said, hint = run.err.splitlines()[-2:]
    assert said.partition(" ERROR ")[2] == what
    assert hint.startswith("  hint: ")
    assert run.err.count(f"ERROR {what}") == 5, "four times in the mold, then for good"


@pytest.mark.parametrize("lazy", [[], ["--lazy"]])
def test_a_reload_says_what_has_failed(start: Starter, tmp_path: Path, lazy: list[str]) -> None:
    app = tmp_path / "app.py"
    app.write_text(ANSWERS.format(status="200 OK"))
    spile = start.spile("app", "--warmup", "/cached?x", *lazy, cwd=tmp_path)
    spile.wait_for_log("ready")
    for source, what in (
        (
            ANSWERS.format(status="503 Not Yet"),
            "warm-up: GET /cached?x was answered with 503 Not Yet",
        ),
        ("1 / 0\n", "importing `app` failed: ZeroDivisionError: division by zero"),
    ):
        app.write_text(source)
        since = len(spile.log)
        failed = spile.control("reload")
        assert failed.status == 1
        said, hint = failed.err.splitlines()
        assert said == f"error: {what}"
        outcome = f"the reload has failed, and the old workers go on: {what}\n{hint}\n"
        assert outcome in spile.log[since:]
    app.write_text(ANSWERS.format(status="200 OK"))
    spile.reload()


def test_an_operators_reload_that_fails_is_told_systemd(start: Starter, tmp_path: Path) -> None:
    app = tmp_path / "app.py"
    app.write_text(ANSWERS.format(status="200 OK"))
    manager = Manager(start.folder())
    try:
        spile = start.spile("app", cwd=tmp_path, env={"NOTIFY_SOCKET": str(manager.path)})
        assert manager.hears_of("READY")["STATUS"] == "1 worker, generation 1"
        app.write_text("1 / 0\n")
        spile.signal(signal.SIGHUP)
        assert manager.hears_of("READY")["STATUS"] == (
            "1 worker, generation 1; the last reload has failed: importing `app` failed: "
            "ZeroDivisionError: division by zero"
        )
        app.write_text(ANSWERS.format(status="200 OK"))
        spile.signal(signal.SIGHUP)
        assert manager.hears_of("READY")["STATUS"] == "1 worker, generation 3"
    finally:
        manager.close()
