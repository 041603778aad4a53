"""Two Django projects, which one process cannot serve."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness import Starter, run_spile

pytest.importorskip("django")

WSGI = """
import os
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "{settings}")
from django.core.wsgi import get_wsgi_application
application = get_wsgi_application()
"""

SETTINGS = """
SECRET_KEY = "for tests only"
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = __name__
from django.http import HttpResponse
from django.urls import path
urlpatterns = [path("", lambda request: HttpResponse(__name__))]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("shop", "blog"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").touch()
        (tmp_path / name / "settings.py").write_text(SETTINGS)
        (tmp_path / name / "wsgi.py").write_text(WSGI.format(settings=f"{name}.settings"))
    return tmp_path


@pytest.mark.parametrize("lazy", [[], ["--lazy"]])
@pytest.mark.parametrize("blog", ["blog.wsgi:application", "blog/wsgi.py:application"])
def test_the_second_does_not_answer_as_the_first(
    start: Starter, folder: Path, blog: str, lazy: list[str]
) -> None:
    arguments = ("--mount", f"/blog={blog}", *lazy, "--socket", str(start.folder() / "s"))
    run = run_spile("serve", "shop.wsgi:application", *arguments, cwd=folder)
    assert run.status == 1
    said, hint = run.err.splitlines()[-2:]
    assert "ERROR two Django projects in one server: `" in said
    assert "asks for the settings blog.settings, but" in said
    assert "that is shop.settings, which `shop.wsgi` has asked for" in said
    assert hint.startswith("  hint: run a server for each project, each with a socket of its own")


def test_one_project_twice_is_served(start: Starter, folder: Path) -> None:
    (folder / "again.py").write_text(WSGI.format(settings="shop.settings"))
    spile = start.spile("shop.wsgi", "--mount", "/again=again:application", cwd=folder)
    assert spile.ask("/").text == spile.ask("/again/").text == "shop.settings"


def test_settings_that_an_operator_has_chosen_are_served(start: Starter, folder: Path) -> None:
    chosen = ("--env", "DJANGO_SETTINGS_MODULE=blog.settings")
    spile = start.spile("shop.wsgi:application", *chosen, cwd=folder)
    assert spile.ask("/").text == "blog.settings"
    assert "two Django projects" not in spile.log
    both = ("--mount", "/blog=blog.wsgi:application")
    spile = start.spile("shop.wsgi:application", *both, *chosen, cwd=folder)
    assert spile.ask("/").text == "blog.settings"
    assert "WARN two Django projects in one server: `shop.wsgi` asks" in spile.log
