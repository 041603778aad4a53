"""The habits of other servers' users: their options, their configuration, misspelt variables."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from harness import APPS, Finished, Starter, run_spile


def tips(finished: Finished) -> list[str]:
    assert finished.status == 2, finished
    return re.findall(r"tip: (.*)", finished.err)


@pytest.mark.parametrize("command", ["serve", "check"])
@pytest.mark.parametrize(
    ("arguments", "ours"),
    [
        (["--bind", "127.0.0.1:8000"], "gunicorn's --bind is --socket here"),
        (["-b", "127.0.0.1:8000"], "gunicorn's -b is --socket here"),
        (["--timeout", "30"], "gunicorn's --timeout is --request-timeout here"),
        (["--preload"], "gunicorn's --preload is what spile always does"),
        (["-k", "gevent"], "gunicorn's -k has no counterpart here"),
        (["--log-file=-"], "gunicorn's --log-file has no counterpart here: the log is standard"),
        (
            ["--wsgi-file", "app.py"],
            "uWSGI's --wsgi-file is APP (the argument without dashes) here",
        ),
        (["--module", "app:app"], "uWSGI's --module is APP"),
        (["--processes=4"], "uWSGI's --processes is --workers here"),
        (["-M"], "uWSGI's -M is what spile always does"),
        (["--harakiri", "30"], "uWSGI's --harakiri is --request-timeout here"),
        (["--uid", "www-data"], "uWSGI's --uid is --user here"),
        (["--ini", "uwsgi.ini"], "uWSGI's --ini is --config here"),
        (["--host", "0.0.0.0"], "uvicorn's and granian's --host is --socket here"),
        (["--blocking-threads", "2"], "granian's --blocking-threads is --threads here"),
    ],
)
def test_an_option_of_another_server_names_ours(
    tmp_path: Path, command: str, arguments: list[str], ours: str
) -> None:
    said = tips(run_spile(command, "app:app", *arguments, cwd=tmp_path))
    assert any(ours in tip for tip in said), said
    assert not any("similar" in tip for tip in said)


def test_all_of_a_command_line_is_told_at_once(tmp_path: Path) -> None:
    line = ["app:app", "-b", ":8000", "-w", "4", "--timeout=30", "--access-logfile", "-"]
    said = "\n".join(tips(run_spile("serve", *line, cwd=tmp_path)))
    for ours in ("--socket", "--request-timeout", "--access-log here"):
        assert ours in said
    assert "-w" not in said


def test_without_a_command_it_says_which(tmp_path: Path) -> None:
    said = tips(run_spile("app:app", "-w", "2", cwd=tmp_path))
    assert said == ["a command comes first, as in 'spile serve app:app -w 2'"]
    said = tips(run_spile("--bind", ":8000", "app:app", cwd=tmp_path))
    assert "spile serve" in said[0]
    assert "--socket" in said[1]


def test_a_key_of_another_server_names_ours(tmp_path: Path) -> None:
    config = tmp_path / "spile.toml"
    config.write_text('bind = ":8000"\nworker_class = "sync"\nharakiri = 30\nmaster = true\n')
    finished = run_spile("check", "echo://", "-c", str(config), cwd=tmp_path)
    assert finished.status == 2
    found = re.findall(r"line (\d), .*\n  hint: (.*)", finished.err)
    said = dict(found)
    assert said["1"].startswith("gunicorn's `bind` is `socket` here")
    assert "`worker-class` has no counterpart" in said["2"]
    assert said["3"].startswith("uWSGI's `harakiri` is `request-timeout` here")
    assert "uWSGI's `master` is what spile always does" in said["4"]


@pytest.mark.parametrize(
    ("name", "text", "what", "page"),
    [
        ("uwsgi.ini", "[uwsgi]\nmodule = app:app\n", "uWSGI", "moving-from-uwsgi.md"),
        ("shop.yaml", "uwsgi:\n  module: app:app\n", "uWSGI", "moving-from-uwsgi.md"),
        ("gunicorn.conf.py", "bind = ':8000'\n", "gunicorn", "moving-from-gunicorn.md"),
        ("settings.json", "{}", "JSON", "TOML"),
    ],
)
def test_the_configuration_of_another_server_is_recognised(
    tmp_path: Path, name: str, text: str, what: str, page: str
) -> None:
    (tmp_path / name).write_text(text)
    for command in ("serve", "check"):
        finished = run_spile(command, "echo://", "--config", name, cwd=tmp_path)
        assert finished.status == 2
        found = re.findall(r"^error: (.*)\n  hint: (.+)$", finished.err, re.MULTILINE)
        assert len(found) == 1, finished.err
        assert found[0][0].startswith(f"--config: `{name}` is ")
        assert what in found[0][0]
        assert page in found[0][1]


MISSPELT = {
    "SPILE_WORKER": "2",
    "SPILE_BIND": ":8000",
    # Of Kubernetes, for a service of that name; and of the application.
    "SPILE_PORT": "tcp://10.0.0.1:3031",
    "SPILE_PORT_3031_TCP_ADDR": "10.0.0.1",
    "SPILE_SERVICE_HOST": "10.0.0.1",
    "SPILE_COLOUR": "red",
}


def test_a_misspelt_variable_is_a_warning(start: Starter, tmp_path: Path) -> None:
    spile = start.spile("echo://", env=MISSPELT)
    finished = run_spile("check", "echo://", cwd=tmp_path, env=MISSPELT)
    assert finished.status == 0
    for said in (spile.log, finished.out.decode()):
        assert re.search(
            r"SPILE_WORKER: it sets no option.*did you mean SPILE_WORKERS\?", said, re.S
        )
        assert re.search(r"SPILE_BIND: it sets no option.*is SPILE_SOCKET here", said, re.S)
        for silent in ("SPILE_PORT", "SPILE_SERVICE_HOST", "SPILE_COLOUR"):
            assert silent not in said


def test_it_is_told_beside_the_mistakes_too(tmp_path: Path) -> None:
    finished = run_spile("serve", cwd=tmp_path, env={"SPILE_APPS": "echo://"})
    assert finished.status == 2
    assert "did you mean SPILE_APP?" in finished.err


def test_values_in_a_variable_may_have_commas(start: Starter) -> None:
    env = {
        "SPILE_ENV": "ALLOWED=a.example,b.example,DEBUG=1,QUERY=x\\,y=z",
        "SPILE_MOUNT": "/a=environ:application\n/b=echo://",
    }
    spile = start.spile("environ:application", env=env, cwd=APPS)
    seen = spile.ask("/").json()["process"]["environment"]
    assert seen["ALLOWED"] == "a.example,b.example"
    assert (seen["DEBUG"], seen["QUERY"]) == ("1", "x,y=z")
    assert spile.ask("/b").status == 200
    assert b"environment" not in spile.ask("/b").body


def test_no_hint_has_pip_fetch_a_package_by_its_name(tmp_path: Path) -> None:
    python = tmp_path / "python"
    answer = json.dumps(
        {
            **{"version": "3.12.0", "prefix": "/", "venv": False},
            **{"spile": None, "location": None, "error": None},
        }
    )
    python.write_text(f"#!/bin/sh\necho '{answer}'\n")
    python.chmod(0o755)
    for options in (["--python", str(python)], ["--venv", str(tmp_path / "none")]):
        finished = run_spile("check", "environ:application", *options, cwd=APPS)
        assert finished.status == 2
        assert "pip install . (it is not on PyPI yet)" in finished.err
        assert not re.search(r"pip install (--\S+ )*spile", finished.err)
