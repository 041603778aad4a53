"""Modules whose names Python, or a package, has for something else."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness import Starter, run_spile

APPLICATION = """
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [__name__.encode()]
"""


def said(folder: Path, name: str) -> list[str]:
    """What `check` and `serve` say when they refuse an application."""
    found = []
    for command, status in (("check", 2), ("serve", 1)):
        finished = run_spile(command, name, "--socket", f"unix:{folder}/never.sock", cwd=folder)
        assert finished.status == status, finished
        found.append(finished.err)
    return found


@pytest.mark.parametrize("module", ["platform", "signal", "token", "time", "site"])
def test_what_python_has_loaded_is_said(start: Starter, tmp_path: Path, module: str) -> None:
    file = tmp_path / f"{module}.py"
    file.write_text(APPLICATION)
    for err in said(tmp_path, f"{module}:application"):
        assert f"`{module}` is {file}, but Python has loaded its own module of that name" in err
        assert f"rename the file, or name it by its path: {file}:application" in err
    # As it says.
    spile = start.spile(f"{file}:application", cwd=tmp_path)
    assert spile.ask("/").text == f"{module}-py"


@pytest.mark.parametrize("name", ["platform", "platform.wsgi:application"])
def test_a_package_that_python_has_loaded_another_for(tmp_path: Path, name: str) -> None:
    package = tmp_path / "platform"
    package.mkdir()
    (package / "__init__.py").write_text(APPLICATION)
    (package / "wsgi.py").write_text(APPLICATION)
    for err in said(tmp_path, name):
        assert f"`platform` is {package}/__init__.py, but Python has loaded its own" in err
        assert "rename the package" in err
    (package / "__init__.py").unlink()
    for err in said(tmp_path, "platform.wsgi"):
        assert f"`platform` is {package}, but Python has loaded its own" in err


def test_a_module_that_python_has_not_loaded_is_served(start: Starter, tmp_path: Path) -> None:
    (tmp_path / "colorsys.py").write_text(APPLICATION)
    assert run_spile("check", "colorsys", cwd=tmp_path).status == 0
    assert start.spile("colorsys", cwd=tmp_path).ask("/").text == "colorsys"


def test_a_module_that_hides_what_it_imports_is_said(tmp_path: Path) -> None:
    (tmp_path / "flask.py").write_text("from flask import Flask\napp = Flask(__name__)\n")
    for err in said(tmp_path, "flask:app"):
        assert "flask/__init__.py" in err
        assert "rename the file" in err
