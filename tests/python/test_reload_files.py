"""--reload and --touch-reload: files whose change brings new code."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Callable

import pytest

from harness import Spile, Starter, wait_until
from harness.workers import stats

Write = Callable[[str, str], None]

#: What answers with a module's text, imported when that is first asked for.
APPLICATION = """
def application(environ, start_response):
    name = environ["PATH_INFO"].strip("/")
    start_response("200 OK", [])
    return [getattr(__import__(name), "TEXT").encode()]
"""


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def save(name: str, text: str) -> None:
        """As editors do it: a new file is moved over the old."""
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        (path.parent / "saved.tmp").write_text(text)
        os.replace(path.parent / "saved.tmp", path)

    save("shop.py", "import fixed\n" + APPLICATION)
    save("fixed.py", "TEXT = 'first'\n")
    save("late.py", "TEXT = 'late'\n")
    return save


def wait_for_answer(spile: Spile, path: str, text: str) -> None:
    wait_until(lambda: spile.ask(path).text == text, f"the answer {text!r}; the log:\n{spile.log}")


@pytest.mark.parametrize("lazy", [[], ["--lazy"]], ids=["mold", "lazy"])
def test_a_changed_module_is_served(
    start: Starter, tmp_path: Path, write: Write, lazy: list[str]
) -> None:
    spile = start.spile("shop", "--reload", *lazy, cwd=tmp_path)
    wait_for_answer(spile, "/fixed", "first")
    write("fixed.py", "TEXT = 'second'\n")
    wait_for_answer(spile, "/fixed", "second")
    assert f"{tmp_path}/fixed.py has changed" in spile.log


def test_a_change_between_import_and_watch_is_served(
    start: Starter, tmp_path: Path, write: Write
) -> None:
    """The master is stopped while its worker imports, so that it hears of the files later."""
    write(
        "fixed.py",
        """
import os, signal
TEXT = "first"
with open(f"/proc/{os.getppid()}/stat") as stat:
    master = stat.read().rpartition(")")[2].split()[1]
os.kill(int(master), signal.SIGSTOP)
""",
    )
    spile = start.spile("shop", "--reload", "--lazy", cwd=tmp_path)
    wait_for_answer(spile, "/fixed", "first")
    write("fixed.py", "TEXT = 'second'\n")
    os.kill(spile.pid, signal.SIGCONT)
    wait_for_answer(spile, "/fixed", "second")


def test_a_module_that_a_request_has_imported_is_watched(
    start: Starter, tmp_path: Path, write: Write
) -> None:
    """In a directory of its own, or it would be watched for its neighbours."""
    write("inner/__init__.py", "TEXT = 'inner'\n")
    spile = start.spile("shop", "--reload", cwd=tmp_path)
    wait_for_answer(spile, "/inner", "inner")
    changes = iter(range(1000))

    def is_seen() -> bool:
        # The worker looks once a second.
        write("inner/__init__.py", f"TEXT = 'changed {next(changes)}'\n")
        return spile.ask("/inner").text.startswith("changed")

    wait_until(is_seen, "the change to be seen", pause=0.5)


def test_a_broken_module_leaves_the_old_code_until_it_is_mended(
    start: Starter, tmp_path: Path, write: Write
) -> None:
    spile = start.spile("shop", "--reload", cwd=tmp_path)
    wait_for_answer(spile, "/fixed", "first")
    write("fixed.py", "TEXT = \n")
    spile.wait_for_log("SyntaxError")
    assert spile.ask("/fixed").text == "first"
    write("fixed.py", "TEXT = 'mended'\n")
    wait_for_answer(spile, "/fixed", "mended")


def test_touching_a_file_reloads(start: Starter, tmp_path: Path, write: Write) -> None:
    touched = start.folder() / "restart"
    spile = start.spile("shop", "--touch-reload", str(touched), cwd=tmp_path)
    wait_for_answer(spile, "/fixed", "first")
    for text in ("second", "third"):
        write("fixed.py", f"TEXT = '{text}'\n")
        touched.touch()
        wait_for_answer(spile, "/fixed", text)
        assert f"{touched} has changed" in spile.log


def test_touching_a_file_reloads_without_python(start: Starter) -> None:
    folder = start.folder()
    touched, config = folder / "restart", folder / "spile.toml"
    config.write_text("socket-mode = 0o600\n")
    options = ("--config", str(config), "--touch-reload", str(touched))
    spile = start.spile("hello://", *options)
    spile.wait_for_log("ready")
    config.write_text("socket-mode = 0o666\n")
    touched.touch()
    spile.wait_for_log("--socket-mode has changed: it goes for")
    assert f"{touched} has changed" in spile.log
    master = stats(spile)["master"]
    assert (master["state"], master["reloads"], master["reloads_failed"]) == ("serving", 1, 0)
    config.write_text("socket-mode = none\n")
    assert spile.control("reload").status == 1
    master = stats(spile)["master"]
    assert (master["reloads"], master["reloads_failed"]) == (1, 1)
