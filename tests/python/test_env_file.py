"""--env-file: variables of the applications in a file."""

from __future__ import annotations

import json
import re
from pathlib import Path

from harness import APPS, Spile, Starter, run_spile

FILE = """\
# What nobody should see in a log.
export SECRET_KEY='a # b\\n${c}'
DATABASE_URL=postgres://shop:hunter2@db/shop?a=1,b=2
GREETING="first line
second\\tline"   # two of them
DEBUG=0
EMPTY=
"""


def seen(spile: Spile) -> dict[str, str]:
    found: dict[str, str] = spile.ask("/").json()["process"]["environment"]
    return found


def test_applications_get_its_variables_and_a_reload_reads_it_again(start: Starter) -> None:
    folder = start.folder()
    file = folder / "shop.env"
    file.write_text(FILE)
    options = ["--env-file", str(file), "--env", "DEBUG=1", "-c", str(folder / "spile.toml")]
    (folder / "spile.toml").write_text("workers = 1\n")
    spile = start.spile("environ:application", *options, cwd=APPS)
    first = seen(spile)
    assert first["SECRET_KEY"] == "a # b\\n${c}"
    assert first["DATABASE_URL"] == "postgres://shop:hunter2@db/shop?a=1,b=2"
    assert first["GREETING"] == "first line\nsecond\tline"
    assert first["EMPTY"] == ""
    # The option wins over the file.
    assert first["DEBUG"] == "1"
    file.write_text("SECRET_KEY=changed-secret\n")
    spile.reload()
    second = seen(spile)
    assert second["SECRET_KEY"] == "changed-secret"
    assert "DATABASE_URL" not in second
    file.write_text("SECRET_KEY\n")
    assert spile.control("reload").status == 1
    assert seen(spile)["SECRET_KEY"] == "changed-secret"
    assert f"{file}, line 1: the line is not NAME=VALUE" in spile.log
    stats = spile.control("stats").out.decode()
    for secret in ("hunter2", "a # b", "changed-secret"):
        assert secret not in spile.log
        assert secret not in json.dumps(stats)


def test_it_may_be_named_in_the_file_and_in_a_variable(start: Starter) -> None:
    folder = start.folder()
    (folder / "a.env").write_text("A=1\nB=1\n")
    (folder / "b.env").write_text("B=2\n")
    config = folder / "spile.toml"
    # Relative ones mean the directory that spile is started in.
    config.write_text(f'chdir = "{APPS}"\nenv-file = ["a.env", "b.env"]\n')
    arguments = ["environ:application", "-c", str(config)]
    found = seen(start.spile(*arguments, cwd=folder))
    assert (found["A"], found["B"]) == ("1", "2")
    env = {"SPILE_ENV_FILE": "b.env"}
    found = seen(start.spile(*arguments, cwd=folder, env=env))
    assert "A" not in found
    assert found["B"] == "2"


def test_check_tells_every_mistake_with_its_line_and_no_value(tmp_path: Path) -> None:
    lines = [
        "PASSWORD=hunter2 # for now",
        "TOKEN",
        "OTHER = 1 2=3",
        "URL=postgres://${USER}:hunter4@db/",
        r"PATTERN=\d+",
        "SPILE_WORKERS=4",
        "LAST='hunter5",
    ]
    (tmp_path / "shop.env").write_text("\n".join(lines) + "\n")
    files = ["shop.env", "missing.env", "/dev/zero"]
    options = [word for file in files for word in ("--env-file", file)]
    finished = run_spile("check", "echo://", *options, cwd=tmp_path)
    assert finished.status == 2
    found = re.findall(r"^error: shop\.env, line (\d): (.*)\n  hint: .+$", finished.err, re.M)
    assert [line for line, _ in found] == ["1", "2", "4", "5", "7"]
    assert "--env-file: cannot read `missing.env`: no such file" in finished.err
    assert "--env-file: cannot read `/dev/zero`: it is longer than" in finished.err
    said = finished.out.decode()
    # It is the applications', and sets no option.
    assert "shop.env, line 6: SPILE_WORKERS is for the applications" in said
    assert re.search(r"environment +OTHER, SPILE_WORKERS", said)
    for secret in ("hunter2", "hunter4", "hunter5"):
        assert secret not in finished.err + said
