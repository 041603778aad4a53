"""Factories with arguments: `module:factory("prod", debug=True)`."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness import Starter, run_spile

SOURCE = """
class Saying:
    def __init__(self, said):
        self.said = said
    def __call__(self, environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [repr(self.said).encode()]

def make(*arguments, **named):
    return Saying((arguments, named))

def strict(root, *, debug=False):
    return Saying((root, debug))

class ns:
    make = staticmethod(make)
    inner = Saying("inner")
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "shop.py").write_text(SOURCE)
    return tmp_path


@pytest.mark.parametrize(
    ("call", "said"),
    [
        ("make()", ((), {})),
        ('make("prod", debug=True)', (("prod",), {"debug": True})),
        ('make(root="/srv/p.py:x")', ((), {"root": "/srv/p.py:x"})),
        ("make(url='postgres://db', n=-1)", ((), {"url": "postgres://db", "n": -1})),
        ("ns.make((1, 2), key={'a': [None, b'x)']})", (((1, 2),), {"key": {"a": [None, b"x)"]}})),
        ("strict('a, b')", ("a, b", False)),
    ],
)
def test_arguments_are_pythons_literals(start: Starter, folder: Path, call: str, said) -> None:
    for target in ("shop", "shop.py"):
        assert run_spile("check", f"{target}:{call}", cwd=folder).status == 0
        assert start.spile(f"{target}:{call}", cwd=folder).ask("/").text == repr(said)


def test_arguments_in_mounts_and_in_a_file(start: Starter, folder: Path) -> None:
    (folder / "spile.toml").write_text(
        "[mount]\n'/a' = 'shop:make(path=\"/x=y\")'\n'/b' = 'wsgi://shop.py:make(1)'\n"
    )
    spile = start.spile("--config", "spile.toml", cwd=folder)
    assert spile.ask("/a").text == repr(((), {"path": "/x=y"}))
    assert spile.ask("/b").text == repr(((1,), {}))
    mounted = start.spile("--mount", "/c=shop:make(a=1)", cwd=folder)
    assert mounted.ask("/c").text == repr(((), {"a": 1}))


@pytest.mark.parametrize(
    ("call", "said"),
    [
        ("make(os)", "no literals"),
        ("make(1 +)", "no literals"),
        ("make(debug=True, 1)", "no literals"),
        ("make(*[1])", "no literals"),
        ("make(**{'a': 1})", "no literals"),
        ("make(a=1, a=2)", "no literals"),
        ("make(print('ran'))", "no literals"),
        ("strict()", "missing a required argument: 'root'"),
        ("strict('a', 'b')", "too many positional arguments"),
        ("strict('a', color=1)", "got an unexpected keyword argument 'color'"),
    ],
)
def test_what_cannot_be_called_so_is_said(folder: Path, call: str, said: str) -> None:
    for command, status in (("check", 2), ("serve", 1)):
        socket = f"unix:{folder}/never.sock"
        finished = run_spile(command, f"shop:{call}", "--socket", socket, cwd=folder)
        assert finished.status == status, finished
        assert said in finished.err
        assert finished.out != b"ran\n"


def test_what_is_no_function_cannot_be_a_factory(folder: Path) -> None:
    (folder / "shop.py").write_text("make = 1\n")
    finished = run_spile("serve", "shop:make(1)", "--socket", "unix:never.sock", cwd=folder)
    assert finished.status == 1
    assert "`make` in shop" in finished.err
    assert "is int, which cannot be called" in finished.err


@pytest.mark.parametrize("command", ["check", "serve"])
def test_what_follows_a_call_is_said(folder: Path, command: str) -> None:
    finished = run_spile(command, "shop:ns().inner", cwd=folder)
    assert finished.status == 2
    assert "goes on after `ns()`" in finished.err
    assert "write `application = ns().inner` in the module" in finished.err
