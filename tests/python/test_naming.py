"""How an application is named, found and loaded, and what is said when it is not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from harness import Finished, Starter, run_spile

#: Answers with its `name`, so that a test sees which application it reached.
SOURCE = """
import functools

name = {name!r}

class Named:
    def __init__(self, name):
        self.name = name
    def __call__(self, environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [self.name.encode()]

application = Named(name + ":application")
other = Named(name + ":other")

def factory():
    return Named(name + ":factory()")

# As Werkzeug's `Request.application` does.
def answering(view):
    @functools.wraps(view)
    def application(environ, start_response):
        return Named(view(environ))(environ, start_response)
    return application

@answering
def decorated(request):
    return name + ":decorated"

class site:
    inner = Named(name + ":site.inner")

not_callable = 42
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A project: top.py, package/, package/deep/wsgi.py, elsewhere/far.py."""
    for file in (
        "top.py",
        "package/__init__.py",
        "package/deep/__init__.py",
        "package/deep/wsgi.py",
        "elsewhere/far.py",
        "elsewhere/with-dash.py",
    ):
        path = tmp_path / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(SOURCE.format(name=path.stem))
    # Named like spile's own kinds of applications.
    for kind in ("wsgi", "hello", "echo", "static"):
        (tmp_path / f"{kind}.py").write_text(SOURCE.format(name=kind))
    flask = SOURCE.format(name="flasky").replace("application", "app")
    (tmp_path / "flasky.py").write_text(flask)
    return tmp_path


def reached(start: Starter, folder: Path, *arguments: str) -> str:
    return start.spile(*arguments, cwd=folder).ask("/").text


def failed(folder: Path, *arguments: str) -> Finished:
    """`spile serve` that must give up by itself, and say so on stderr."""
    finished = run_spile("serve", *arguments, "--socket", "unix:never.sock", cwd=folder)
    assert finished.status != 0, finished
    assert not (folder / "never.sock").exists()
    return finished


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("top:application", "top:application"),
        ("top:other", "top:other"),
        ("top", "top:application"),
        ("top:factory()", "top:factory()"),
        ("top:site.inner", "top:site.inner"),
        ("top:decorated", "top:decorated"),
        ("package", "__init__:application"),
        ("package.deep.wsgi:other", "wsgi:other"),
        ("package.deep.wsgi", "wsgi:application"),
        ("top.py", "top:application"),
        ("./top.py", "top:application"),
        ("top.py:other", "top:other"),
        ("top.py:factory()", "top:factory()"),
        ("elsewhere/far.py", "far:application"),
        ("elsewhere/far.py:other", "far:other"),
        ("elsewhere/with-dash.py:other", "with-dash:other"),
        ("flasky", "flasky:app"),
        ("flasky.py", "flasky:app"),
        ("wsgi:other", "wsgi:other"),
        ("hello:other", "hello:other"),
        ("echo:application", "echo:application"),
        ("static:factory()", "static:factory()"),
        ("wsgi://top:other", "top:other"),
        ("wsgi://elsewhere/far.py:other", "far:other"),
    ],
)
def test_names(start: Starter, folder: Path, name: str, expected: str) -> None:
    assert reached(start, folder, name) == expected


@pytest.mark.parametrize(
    ("app", "text"),
    [("static://package/deep", "hi"), ("static://{folder}/package/deep", "hi"), ("echo://", "GET")],
    ids=["relative", "absolute", "echo"],
)
def test_urls(start: Starter, folder: Path, app: str, text: str) -> None:
    (folder / "package/deep/hi.txt").write_text("hi\n")
    spile = start.spile(app.format(folder=folder), cwd=folder)
    assert text in spile.ask("/hi.txt").text


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("static:public", "to serve the files of that directory: static://public"),
        ("wsgi:top", "for the module of that name: wsgi://top"),
    ],
)
def test_a_module_named_like_a_kind_that_is_missing(tmp_path: Path, name: str, said: str) -> None:
    for _ in range(2):
        finished = failed(tmp_path, name)
        assert finished.status == 1
        assert said in finished.err
        assert said in run_spile("check", name, cwd=tmp_path).err
        # It imports as a package, with nothing in it.
        (tmp_path / name.split(":")[0]).mkdir(exist_ok=True)


def test_an_absolute_path(start: Starter, folder: Path, tmp_path_factory) -> None:
    away = tmp_path_factory.mktemp("away")
    assert reached(start, away, str(folder / "elsewhere/far.py") + ":other") == "far:other"


def test_a_file_may_import_its_neighbours(start: Starter, folder: Path) -> None:
    (folder / "elsewhere/near.py").write_text("from far import other as application\n")
    assert reached(start, folder, "elsewhere/near.py") == "far:other"


def test_modules_are_found_in_the_current_directory_and_in_chdir(
    start: Starter, folder: Path
) -> None:
    assert reached(start, folder, "top") == "top:application"
    assert reached(start, folder, "far", "--chdir", "elsewhere") == "far:application"
    assert reached(start, folder, "far.py:other", "--chdir=elsewhere") == "far:other"


def test_chdir_is_the_applications_directory(start: Starter, folder: Path) -> None:
    (folder / "elsewhere/cwd.py").write_text(
        "import os\n"
        "def application(environ, start_response):\n"
        "    start_response('200 OK', [])\n"
        "    return [os.getcwd().encode()]\n"
    )
    assert reached(start, folder, "cwd", "--chdir", "elsewhere") == str(folder / "elsewhere")


def test_pythonpath(start: Starter, folder: Path) -> None:
    assert reached(start, folder, "far", "--pythonpath", "elsewhere") == "far:application"
    several = ("--pythonpath", "elsewhere", "--pythonpath", "package/deep")
    assert reached(start, folder, "far", *several) == "far:application"
    assert reached(start, folder, "wsgi:other", *several) == "wsgi:other"


def test_pythonpath_comes_before_the_current_directory(start: Starter, folder: Path) -> None:
    (folder / "far.py").write_text(SOURCE.format(name="near"))
    assert reached(start, folder, "far", "--pythonpath", "elsewhere") == "far:application"


def test_env(start: Starter, folder: Path) -> None:
    (folder / "env.py").write_text(
        "import os\n"
        "at_import = os.environ.get('TEST_A'), os.environ.get('TEST_B')\n"
        "def application(environ, start_response):\n"
        "    start_response('200 OK', [])\n"
        "    now = os.environ.get('TEST_A'), os.environ.get('TEST_B')\n"
        "    return [repr((at_import, now, 'TEST_A' in environ)).encode()]\n"
    )
    seen = reached(start, folder, "env", "--env", "TEST_A=one", "--env", "TEST_B=two=2")
    assert seen == repr((("one", "two=2"), ("one", "two=2"), False))


# What goes wrong while the application is loaded: status 1, the traceback, what was looked for.


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("missing:app", ["missing", "top.py"]),
        ("package.missing:app", ["package.missing"]),
        ("missing.py", ["missing.py"]),
        ("elsewhere/missing.py:app", ["elsewhere/missing.py"]),
    ],
)
def test_what_is_not_there(folder: Path, name: str, said: list[str]) -> None:
    finished = failed(folder, name)
    assert finished.status == 1, finished.err
    assert said[0] in finished.err
    # The place that was searched.
    assert str(folder) in finished.err


@pytest.mark.parametrize("name", ["top:missing", "top.py:missing", "top:missing()"])
def test_a_missing_attribute_is_named(folder: Path, name: str) -> None:
    finished = failed(folder, name)
    assert finished.status == 1, finished.err
    assert "missing" in finished.err
    assert "top" in finished.err


@pytest.mark.parametrize("options", [[], ["--lazy"]], ids=["mold", "lazy"])
def test_without_a_default_the_callables_are_named(folder: Path, options: list[str]) -> None:
    (folder / "flasky.py").write_text(SOURCE.format(name="x").replace("application", "main"))
    finished = failed(folder, "flasky", *options)
    assert finished.status == 1
    checked = run_spile("check", "flasky", cwd=folder)
    assert checked.status == 2
    for said in (finished.err, checked.err):
        assert "neither `application` nor `app`" in said
        for name in ("main", "other", "factory", "decorated"):
            assert name in said
        assert "not_callable" not in said


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("import no_such_dependency\n", "No module named 'no_such_dependency'"),
        ("def application(:\n", "SyntaxError"),
        ("raise RuntimeError('at import')\n", "RuntimeError: at import"),
        ("import sys\nsys.exit(0)\n", "SystemExit"),
    ],
    ids=["dependency", "syntax", "exception", "exit"],
)
@pytest.mark.parametrize("name", ["broken:application", "broken.py"])
def test_a_failing_import_shows_the_traceback(
    folder: Path, name: str, source: str, said: str
) -> None:
    (folder / "broken.py").write_text("first_line = 1\n" + source)
    finished = failed(folder, name)
    assert finished.status == 1, finished.err
    assert said in finished.err
    assert "broken.py" in finished.err
    assert "line 2" in finished.err or "SystemExit" in finished.err


def test_a_failing_factory_shows_the_traceback(folder: Path) -> None:
    (folder / "broken.py").write_text("def make():\n    raise RuntimeError('in the factory')\n")
    finished = failed(folder, "broken:make()")
    assert finished.status == 1
    assert "RuntimeError: in the factory" in finished.err
    assert "line 2, in make" in finished.err


@pytest.mark.parametrize("name", ["top:not_callable", "top.py:not_callable", "top:name"])
def test_what_is_not_callable_is_refused(folder: Path, name: str) -> None:
    finished = failed(folder, name)
    assert finished.status == 1
    for said in (finished.err, run_spile("check", name, cwd=folder).err):
        assert "which cannot be called" in said


def test_every_mount_is_loaded_before_any_is_served(folder: Path) -> None:
    finished = failed(folder, "--mount", "/a=top", "--mount", "/b=missing_module")
    assert finished.status == 1
    assert "missing_module" in finished.err


# What is wrong in the options themselves: status 2, before anything is started.


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "application"),
        (["top", "--workers", "0"], "workers"),
        (["top", "--workers", "many"], "many"),
        (["top", "--threads=-1"], "threads"),
        (["top", "--no-such-option"], "--no-such-option"),
        (["top:a b"], "a b"),
        (["top", "--socket", "nowhere"], "nowhere"),
        (["top", "--socket", "127.0.0.1:99999"], "99999"),
        (["top", "--socket-mode", "9"], "9"),
        (["top", "--mount", "/no-equals-sign"], "/no-equals-sign"),
        (["top", "--env", "NO_VALUE"], "--env"),
        (["top", "--config", "missing.toml"], "missing.toml"),
        (["top", "--log-format", "xml"], "xml"),
        # These show only on the machine, but they are mistakes in the options all the same.
        (["static://missing_folder"], "missing_folder"),
        (["top:factory("], "brackets"),
        (["top:factory('x)"], "quotation marks"),
        (["--mount", "/a=top:factory('x)"], "quotation marks"),
        (["top:site().inner"], "`site()`"),
        (["asgi://top:app"], "not served yet"),
        (["paste://production.ini"], "paste.deploy"),
        (["uwsgi://127.0.0.1:3032"], "uwsgi_pass"),
        (["http://127.0.0.1:8000"], "proxy_pass"),
        (["statik://public"], "static://"),
        (["echo:"], "write echo://"),
        (["hello:"], "write hello://"),
        (["static:."], "write static://."),
        (["static:a/b"], "write static://a/b"),
        (["static:/srv/x"], "write static:///srv/x"),
        (["wsgi:top:application"], "write wsgi://top:application"),
        (["top", "--chdir", "missing_folder"], "missing_folder"),
        (["top", "--venv", "missing_venv"], "missing_venv"),
        (["top", "--python", "missing_python"], "missing_python"),
    ],
    ids=lambda value: " ".join(value) or "nothing" if isinstance(value, list) else None,
)
def test_a_mistake_in_the_options_is_status_2(
    folder: Path, arguments: list[str], said: str
) -> None:
    finished = failed(folder, *arguments)
    assert finished.status == 2, finished.err
    assert said in finished.err


def test_nothing_is_written_into_the_project(start: Starter, folder: Path) -> None:
    before = sorted(os.listdir(folder))
    reached(start, folder, "top")
    assert sorted(os.listdir(folder)) == before
