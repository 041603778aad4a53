"""The suites: whose tests they are and how each is run."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Suite:
    """Tests of another project."""

    name: str
    #: On PyPI; the tests are of the version that is installed.
    package: str
    #: Where in its source they are run.
    folder: str
    #: For the interpreter. Our modules can be imported.
    arguments: tuple[str, ...]
    #: Seconds after which something hangs.
    limit: int = 300

    def command(self) -> list[str]:
        return [sys.executable, *self.arguments]


def pytest_suite(
    name: str, package: str, folder: str, plugin: str, file: str, *more: str, limit: int = 300
) -> Suite:
    """A suite that pytest can run, with a plugin of ours in the place of its own fixtures."""
    arguments = (
        *("-m", "pytest", "-q", "--tb=short", "-p", "no:cacheprovider", "-p", "outcomes"),
        *("-p", plugin, "--rootdir=.", "-c", str(HERE / "pytest.ini"), "--timeout=60", file, *more),
    )
    return Suite(name, package, folder, arguments, limit)


#: The longest first.
SUITES = (
    Suite("django", "Django", "tests", (str(HERE / "django_live.py"),), limit=2400),
    pytest_suite(
        *("gunicorn", "gunicorn", "tests/docker/uwsgi", "gunicorn_nginx"),
        *("test_uwsgi_integration.py", "--noconftest"),
    ),
    pytest_suite("requests", "requests", ".", "requests_httpbin", "tests/test_requests.py"),
    pytest_suite(
        *("werkzeug", "Werkzeug", "tests", "werkzeug_live", "test_serving.py", "--noconftest"),
    ),
    pytest_suite("waitress", "waitress", ".", "waitress_live", "tests/test_functional.py"),
)
