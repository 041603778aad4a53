"""--reload: what the mold tells the master of the files that an application is made of."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import pytest

import spile

Start = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def reports(tmp_path: Path) -> Iterator[Start]:
    """Has a mold import an application; what it reports until it can fork, or has failed."""
    molds: list[subprocess.Popen[bytes]] = []
    channels: list[socket.socket] = []

    def start(module: str, **config: Any) -> list[dict[str, Any]]:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.settimeout(20)
        channels.append(ours)
        app = {"target": {"module": module}, "callable": None}
        everything = {
            "mounts": [{"prefix": "", "app": {"wsgi": app}}],
            "chdir": str(tmp_path),
            **{"pythonpath": [], "venv": None, "lazy": False, "reload": True, "warmup": []},
            **{"threads": 1, "workers_max": 1, "log_format": "text", "log_level": "info"},
            "request_timeout": 0,
            **config,
        }
        lifeline = os.open(os.devnull, os.O_RDONLY)
        setup = {
            **{"config": everything, "listeners": [], "lifeline": lifeline},
            "credentials": None,
            "scoreboard": lifeline,
            "replaces": False,
            "version": spile.__version__,
        }
        ours.send(json.dumps(setup).encode())
        molds.append(
            subprocess.Popen(
                [sys.executable, "-m", "spile._mold", str(theirs.fileno())],
                pass_fds=[theirs.fileno(), lifeline],
                stderr=subprocess.DEVNULL,
                cwd=tmp_path,
            )
        )
        os.close(lifeline)
        theirs.close()
        heard = []
        while not heard or heard[-1]["report"] != "imported":
            message = ours.recv(1 << 20)
            if not message:
                break
            assert len(message) <= 32 * 1024
            heard.append(json.loads(message))
        return heard

    yield start
    for channel in channels:
        channel.close()  # which ends its mold
    for mold in molds:
        mold.wait(20)


def files(reports: list[dict[str, Any]]) -> list[str]:
    return [file for one in reports if one["report"] == "modules" for file in one["files"]]


APPLICATION = "def application(environ, start_response): pass\n"


def test_files_of_imported_modules_are_told(reports: Start, tmp_path: Path) -> None:
    (tmp_path / "package").mkdir()
    (tmp_path / "package/__init__.py").touch()
    (tmp_path / "package/inner.py").touch()
    (tmp_path / "shop.py").write_text("import email.mime.text, package.inner\n" + APPLICATION)
    told = files(reports("shop"))
    own = [file for file in told if file.startswith(str(tmp_path))]
    names = ("package/__init__.py", "package/inner.py", "shop.py")
    assert own == [str(tmp_path / name) for name in names]
    assert not any("/email/" in file for file in told)


def test_installed_packages_are_told(reports: Start, tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text("import pytest\n" + APPLICATION)
    assert pytest.__file__ in files(reports("shop"))


def test_modules_that_the_warm_up_imports_are_told(reports: Start, tmp_path: Path) -> None:
    (tmp_path / "late.py").touch()
    (tmp_path / "shop.py").write_text(
        "def application(environ, start_response):\n    import late\n    raise ValueError\n"
    )
    assert str(tmp_path / "late.py") in files(reports("shop", warmup=["/"]))


def test_many_files_are_told_in_pieces(reports: Start, tmp_path: Path) -> None:
    names = [f"module_{'x' * 80}_{number}" for number in range(1000)]
    for name in names:
        (tmp_path / f"{name}.py").touch()
    (tmp_path / "shop.py").write_text("".join(f"import {name}\n" for name in names) + APPLICATION)
    heard = reports("shop")
    told = files(heard)
    assert {str(tmp_path / f"{name}.py") for name in names} < set(told)
    assert len(told) == len(set(told))
    assert len(heard) > 3


def test_nothing_is_told_without_the_option(reports: Start, tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(APPLICATION)
    assert [one["report"] for one in reports("shop", reload=False)] == ["imported"]


@pytest.mark.parametrize(
    ("broken", "mends"),
    [
        ("import missing_package.part", ["missing_package.py", "missing_package/__init__.py"]),
        ("1 +", []),
        ("raise ValueError", []),
        ("try:\n    1 / 0\nexcept ZeroDivisionError as error:\n    raise OSError from error", []),
    ],
    ids=["missing", "syntax", "raise", "cause"],
)
def test_files_that_may_mend_a_failed_import_are_told(
    reports: Start, tmp_path: Path, broken: str, mends: list[str]
) -> None:
    (tmp_path / "fine.py").touch()
    (tmp_path / "broken.py").write_text(broken)
    (tmp_path / "shop.py").write_text("import fine, broken\n" + APPLICATION)
    heard = reports("shop")
    assert [one["report"] for one in heard[-2:]] == ["modules", "not_imported"]
    expected = {str(tmp_path / name) for name in ("shop.py", "fine.py", "broken.py", *mends)}
    assert expected <= set(files(heard))


def test_where_a_missing_application_should_be_is_told(reports: Start, tmp_path: Path) -> None:
    assert str(tmp_path / "shop.py") in files(reports("shop"))


def test_a_lazy_mold_has_nothing_to_tell(reports: Start, tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text("raise ValueError\n")
    assert [one["report"] for one in reports("shop", lazy=True)] == ["imported"]
