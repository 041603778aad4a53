"""Files: what they import under their own names, and what they are called themselves."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness import Starter, run_spile, wait_until

#: Answers with what `{said}` is.
APPLICATION = """
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str({said}).encode()]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A package, and a WSGI file of its name as Flask's documentation has it."""
    (tmp_path / "yourapplication").mkdir()
    app = APPLICATION.format(said="'the package'").replace("application", "app")
    (tmp_path / "yourapplication/__init__.py").write_text(app)
    (tmp_path / "yourapplication.wsgi").write_text(
        "from yourapplication import app as application\n"
    )
    return tmp_path


@pytest.mark.parametrize(
    "name",
    [
        "yourapplication.wsgi",
        "./yourapplication.wsgi",
        "wsgi://{folder}/yourapplication.wsgi",
        "yourapplication.wsgi:application",
    ],
)
def test_a_wsgi_file_hides_no_package(start: Starter, folder: Path, name: str) -> None:
    name = name.format(folder=folder)
    checked = run_spile("check", name, cwd=folder)
    assert checked.status == 0, checked.err
    assert f"in {folder}/yourapplication.wsgi" in checked.out.decode()
    spile = start.spile(name, cwd=folder)
    assert spile.ask("/").text == "the package"
    assert ("serving the file" in spile.log) is name.startswith("yourapplication")


def test_a_package_is_what_a_python_file_of_its_name_imports(start: Starter, folder: Path) -> None:
    (folder / "yourapplication.wsgi").rename(folder / "yourapplication.py")
    assert start.spile("./yourapplication.py", cwd=folder).ask("/").text == "the package"


def test_a_module_comes_before_a_file(start: Starter, folder: Path) -> None:
    module = APPLICATION.format(said="__name__")
    (folder / "yourapplication/wsgi.py").write_text(module)
    checked = run_spile("check", "yourapplication.wsgi", cwd=folder)
    assert "in " + str(folder / "yourapplication/wsgi.py") in checked.out.decode()
    spile = start.spile("yourapplication.wsgi", cwd=folder)
    assert spile.ask("/").text == "yourapplication.wsgi"


def test_a_file_that_is_no_dotted_name(start: Starter, folder: Path) -> None:
    (folder / "yourapplication.wsgi").rename(folder / "your-application.wsgi")
    assert start.spile("your-application.wsgi", cwd=folder).ask("/").text == "the package"


COUNTING = """
import builtins

builtins.imports = getattr(builtins, "imports", 0) + 1
"""


def test_a_file_that_its_modules_import_is_imported_once(start: Starter, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(
        COUNTING + "db = object()\nimport models\n"
        "same = models.db is db\n" + APPLICATION.format(said="(imports, same, __name__)")
    )
    (tmp_path / "models.py").write_text("from app import db\n")
    assert start.spile("./app.py", cwd=tmp_path).ask("/").text == "(1, True, 'app')"


@pytest.mark.parametrize("name", ["app.py", "app.wsgi", "with-dash.py", "two.dots.py"])
def test_two_mounts_of_a_file_are_one_module(start: Starter, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(COUNTING + APPLICATION.format(said="imports"))
    spile = start.spile(f"./{name}", "--mount", f"/a=./{name}:application", cwd=tmp_path)
    assert [spile.ask(path).text for path in ("/", "/a")] == ["1", "1"]


def test_files_of_one_name_are_two_modules(start: Starter, tmp_path: Path) -> None:
    for number in ("one", "two"):
        (tmp_path / number).mkdir()
        (tmp_path / number / "site.wsgi").write_text(APPLICATION.format(said=repr(number)))
    spile = start.spile("one/site.wsgi", "--mount", "/two=two/site.wsgi", cwd=tmp_path)
    assert [spile.ask(path).text for path in ("/", "/two")] == ["one", "two"]


@pytest.mark.parametrize("name", ["site.wsgi", "site.py"])
def test_a_module_without_a_name_of_its_own_works_as_any(
    start: Starter, tmp_path: Path, name: str
) -> None:
    """`site` is one of Python's. Flask finds templates by `__name__`, and pickle classes."""
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates/page.txt").write_text("{{ facts }}")
    (tmp_path / name).write_text(
        "import pickle, dataclasses, site\n"
        "from flask import Flask, render_template\n"
        "@dataclasses.dataclass\n"
        "class Item:\n"
        "    number: int\n"
        "app = Flask(__name__)\n"
        "@app.route('/')\n"
        "def page():\n"
        "    same = pickle.loads(pickle.dumps(Item(1))) == Item(1)\n"
        "    facts = (same, __file__, '.' in __name__, hasattr(site, 'app'))\n"
        "    return render_template('page.txt', facts=repr(facts))\n"
    )
    answer = start.spile(f"./{name}", cwd=tmp_path).ask("/")
    expected = repr((True, str(tmp_path / name), False, False))
    assert answer.text.replace("&#39;", "'") == expected


def test_a_failing_file_shows_its_line(tmp_path: Path) -> None:
    (tmp_path / "shop.wsgi").write_text("first_line = 1\nraise RuntimeError('at import')\n")
    finished = run_spile("serve", "shop.wsgi", "--socket", "unix:never.sock", cwd=tmp_path)
    assert finished.status == 1
    assert f'File "{tmp_path}/shop.wsgi", line 2' in finished.err


def test_a_reload_watches_a_wsgi_file(start: Starter, tmp_path: Path) -> None:
    file = tmp_path / "shop.wsgi"
    file.write_text(APPLICATION.format(said="'old'"))
    spile = start.spile("shop.wsgi", "--reload", cwd=tmp_path)
    assert spile.ask("/").text == "old"
    file.write_text(APPLICATION.format(said="'the new one'"))
    wait_until(lambda: spile.ask("/").text == "the new one", "the new code to be served")
