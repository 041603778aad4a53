"""`--sandbox`: what applications may do to the rest of the system, and that they go on working."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness import Site, Spile, Starter, run_spile, wait_until
from harness.process import parent_of
from harness.spile import without
from harness.workers import mold_of, wait_until_closed

APP = "sandboxed:application"

LANDLOCK = "landlock_create_ruleset,landlock_add_rule,landlock_restrict_self"

#: landlock_create_ruleset(2), the same number on all machines.
CREATE_RULESET = 444
#: Signals are restricted since that version.
SCOPES_SINCE = 6


def landlock_version() -> int:
    """What the kernel has; less than 1 for nothing."""
    return int(ctypes.CDLL(None).syscall(CREATE_RULESET, None, 0, 1))


needs_landlock = pytest.mark.skipif(
    landlock_version() < SCOPES_SINCE, reason="the kernel's Landlock is too old, or not there"
)


@dataclass
class Places:
    """A directory that may be written to, one that may not, and one for temporary files."""

    inside: Path
    outside: Path
    temporary: Path

    @property
    def environment(self) -> Mapping[str, str]:
        return {"TMPDIR": str(self.temporary)}

    @property
    def options(self) -> list[str]:
        return ["--sandbox", "--sandbox-write", str(self.inside)]


@pytest.fixture
def places(start: Starter) -> Places:
    folder = start.folder()
    names = ("inside", "outside", "temporary")
    for name in names:
        (folder / name).mkdir()
    return Places(*(folder / name for name in names))


def site_in(start: Starter, places: Places, *options: str, app: str = APP) -> Site:
    site = start.site(app, *places.options, *options, env=places.environment)
    site.spile.wait_for_log("ready")
    return site


def outcome(site: Site, question: str) -> int | str:
    """200, or the name of the error."""
    answer = site.get(question)
    assert answer.status in (200, 403), f"{answer.status} {answer.text[:200]}\n{site.spile.log}"
    return 200 if answer.status == 200 else answer.text


@needs_landlock
def test_an_application_writes_where_it_may_and_reads_everything(
    start: Starter, places: Places
) -> None:
    site = site_in(start, places)
    for directory in (places.inside, places.temporary):
        assert outcome(site, f"/write?{directory}/file") == 200
        assert (directory / "file").read_text() == "written"
    there = places.outside / "there"
    there.write_text("kept")
    for how in ("write", "run", "later", "remove"):
        assert outcome(site, f"/{how}?{there}") == "EACCES", how
    assert outcome(site, f"/write?{places.outside}/new") == "EACCES"
    assert outcome(site, f"/move?{places.inside}/file&{places.outside}/file") == "EACCES"
    assert outcome(site, f"/move?{places.inside}/file&{places.temporary}/moved") == 200
    assert [path.name for path in places.outside.iterdir()] == ["there"]
    for way in ("read", "file"):
        answer = site.get(f"/{way}?{there}")
        assert (answer.status, answer.text) == (200, "kept")


@needs_landlock
def test_what_applications_need_goes_on_working(start: Starter, places: Places) -> None:
    site = site_in(start, places, "-w", "2", "-t", "2")
    body = b"x" * (3 << 20)  # too long for memory: it goes through a temporary file
    assert site.post("/spool", body).text == f"{len(body)} {places.temporary}"
    assert outcome(site, "/lock") == 200
    assert outcome(site, f"/sqlite?{places.inside}/database") == 200
    assert outcome(site, f"/sqlite?{places.outside}/database") == "EACCES"
    assert outcome(site, f"/run?{places.inside}/by-a-shell") == 200
    assert outcome(site, "/run?/dev/null") == 200
    with socket.create_server(("127.0.0.1", 0)) as server:

        def greet() -> None:
            connection, _ = server.accept()
            with connection:
                connection.sendall(b"hello")

        thread = threading.Thread(target=greet)
        thread.start()
        assert site.get(f"/connect?{server.getsockname()[1]}").text == "hello"
        thread.join()


@needs_landlock
def test_temporary_files_go_where_the_variables_of_the_applications_say(
    start: Starter, places: Places
) -> None:
    site = site_in(start, places, "--env", f"TMPDIR={places.inside}")
    assert site.post("/spool", b"x" * (3 << 20)).text == f"{3 << 20} {places.inside}"
    assert outcome(site, f"/write?{places.temporary}/file") == "EACCES"


@needs_landlock
def test_processes_outside_are_neither_signalled_nor_inspected(
    start: Starter, places: Places
) -> None:
    site = site_in(start, places)
    master, mold = site.spile.pid, mold_of(site.spile)
    file = places.outside / "file"
    file.write_text("kept")
    for outside in (master, os.getpid()):
        assert outcome(site, f"/signal?{outside}") == "EPERM"
        assert outcome(site, f"/read?/proc/{outside}/root{file}") == "EACCES"
    assert outcome(site, f"/read?/proc/self/root{file}") == 200
    assert outcome(site, f"/signal?{mold}") == 200
    for pid in site.spile.family() - {master}:
        status = Path(f"/proc/{pid}/status").read_text()
        assert "\nNoNewPrivs:\t1\n" in status


@needs_landlock
@pytest.mark.parametrize("lazy", [[], ["--lazy"]])
def test_the_import_is_restricted_too(start: Starter, places: Places, lazy: list[str]) -> None:
    forbidden = ["--env", f"WRITE_AT_IMPORT={places.outside}/file"]
    assert site_in(start, places, *forbidden, *lazy).get("/imported").text == "EACCES"
    allowed = ["--env", f"WRITE_AT_IMPORT={places.inside}/file"]
    assert site_in(start, places, *allowed, *lazy).get("/imported").text == "written"


@needs_landlock
def test_code_that_runs_before_the_import_is_restricted_too(start: Starter, places: Places) -> None:
    # Python runs it at its start, as it does the .pth files of packages.
    (places.inside / "sitecustomize.py").write_text(
        "import contextlib, pathlib\n"
        "with contextlib.suppress(PermissionError):\n"
        f"    pathlib.Path({str(places.outside)!r}, 'file').write_text('written')\n"
        f"pathlib.Path({str(places.inside)!r}, 'file').write_text('written')\n"
    )
    site = site_in(start, places, "--env", f"PYTHONPATH={places.inside}")
    assert site.get("/imported").status == 200
    assert (places.inside / "file").exists()
    assert not (places.outside / "file").exists()


def rotated(site: Site, log: Path) -> Path:
    """Renames a log, as logrotate does, and waits for the new one: the old one's new name."""
    # A line is written some time after its response.
    wait_until(lambda: log.stat().st_size, "the first line")
    renamed = log.with_name(f"{log.name}.1")
    log.rename(renamed)
    site.spile.signal(signal.SIGUSR1)
    wait_until(log.exists, "the new file")
    # Each process opens it in its own time.
    wait_until_closed(site.spile, renamed)
    return renamed


@needs_landlock
def test_the_access_log_is_opened_anew(start: Starter, places: Places) -> None:
    log = places.outside / "access.log"
    site = site_in(start, places, "--access-log", str(log), "--access-log-format", "%U")
    assert outcome(site, f"/read?{log}") == 200
    renamed = rotated(site, log)
    assert outcome(site, f"/remove?{renamed}") == "EACCES"
    wait_until(lambda: log.read_text() == "/remove\n", "the line")
    assert renamed.read_text() == "/read\n"


@needs_landlock
def test_an_access_log_may_be_a_link(start: Starter, places: Places) -> None:
    link = places.outside / "access.log"
    log = places.outside / "log/meant.log"
    log.parent.mkdir()
    link.symlink_to("log/meant.log")
    site = site_in(start, places, "--access-log", str(link), "--access-log-format", "%U")
    assert outcome(site, f"/read?{link}") == 200
    renamed = rotated(site, log)
    assert outcome(site, f"/write?{places.outside}/file") == "EACCES"
    wait_until(lambda: log.read_text() == "/write\n", "the line")
    assert renamed.read_text() == "/read\n"


@pytest.mark.parametrize("command", ["serve", "check"])
@pytest.mark.parametrize("holds", ["--chdir", "--pythonpath", "the configuration file", "a link"])
def test_an_access_log_beside_code_is_a_mistake(places: Places, command: str, holds: str) -> None:
    code = places.outside / "code"
    code.mkdir()
    (code / "app.py").write_text("def application(environ, start_response): ...\n")
    log, at, options = code / "access.log", code, ["--chdir", str(code)]
    if holds == "--pythonpath":
        log, options = places.outside / "access.log", ["--pythonpath", str(code)]
    elif holds == "the configuration file":
        at = places.outside / "code/spile.toml"
        at.write_text("workers = 2\n")
        options = ["--config", str(at)]
    elif holds == "a link":
        log = places.temporary / "access.log"
        log.symlink_to(code / "access.log")
    options += ["--sandbox", "--access-log", str(log), "-s", str(places.inside / "s.sock")]
    finished = run_spile(
        command, "hello://", *options, cwd=places.inside, env=dict(places.environment)
    )
    assert finished.status == 2, finished
    said = "error: --access-log: with --sandbox applications may write below"
    assert f"{said} `{log.resolve().parent}`" in finished.err
    what = "--chdir" if holds == "a link" else holds
    assert f"{what} `{at}`" in finished.err
    assert "hint: give the log a directory of its own" in finished.err
    # Without a sandbox nothing is given away by it.
    without = [option for option in options if option != "--sandbox"]
    if command == "check":
        assert run_spile(command, "hello://", *without, cwd=places.inside).status == 0


@needs_landlock
def test_a_reload_decides_anew_what_may_be_written(start: Starter, places: Places) -> None:
    config = places.outside / "spile.toml"

    def configure(*writable: Path) -> None:
        named = ", ".join(f'"{path}"' for path in writable)
        config.write_text(f"sandbox = true\nsandbox-write = [{named}]\n")

    configure(places.inside)
    site = start.site(APP, "-c", str(config), env=places.environment)
    site.spile.wait_for_log("ready")
    file = places.outside / "file"
    assert outcome(site, f"/write?{file}") == "EACCES"
    configure(places.inside, places.outside)
    site.spile.reload()
    assert outcome(site, f"/write?{file}") == 200

    configure(places.outside / "missing")
    finished = site.spile.control("reload")
    assert finished.status == 1
    assert f"{places.outside}/missing` does not exist" in site.spile.log
    assert outcome(site, f"/write?{file}") == 200


@needs_landlock
def test_a_directory_that_was_made_anew_takes_a_reload(start: Starter, places: Places) -> None:
    site = site_in(start, places)
    places.inside.rename(places.inside.with_name("before"))
    places.inside.mkdir()
    assert outcome(site, f"/write?{places.inside}/file") == "EACCES"
    site.spile.reload()
    assert outcome(site, f"/write?{places.inside}/file") == 200


@needs_landlock
@pytest.mark.parametrize("app", [APP, "static:///etc"])
def test_an_upgrade_is_none_of_its_business(start: Starter, places: Places, app: str) -> None:
    pidfile = places.outside / "pid"
    site = site_in(start, places, "--pidfile", str(pidfile), app=app)
    site.spile.signal(signal.SIGUSR2)
    assert site.spile.wait() == 0, site.spile.log
    after = int(pidfile.read_text())
    assert after != site.spile.pid
    if app == APP:
        assert outcome(site, f"/write?{places.inside}/file") == 200
        assert outcome(site, f"/write?{places.outside}/file") == "EACCES"
    else:
        assert site.get("/hostname").status == 200
    # The new one is as free as the old one was: it removes its files.
    os.kill(after, signal.SIGTERM)
    wait_until(lambda: not site.spile.family(), "the new master and its processes to end")
    assert not pidfile.exists()
    assert not Path(str(site.spile.address)).exists()


@needs_landlock
def test_a_mold_that_is_started_again_is_restricted_again(start: Starter, places: Places) -> None:
    site = site_in(start, places)
    before = mold_of(site.spile)
    os.kill(before, signal.SIGKILL)
    site.spile.wait_for_log("ready again")
    assert before not in site.spile.family()
    assert outcome(site, f"/write?{places.outside}/file") == "EACCES"


@needs_landlock
def test_processes_end_with_a_master_that_is_killed(start: Starter, places: Places) -> None:
    site = site_in(start, places, "-w", "2")
    site.spile.signal(signal.SIGKILL)
    site.spile.wait()
    wait_until(lambda: not site.spile.family(), "the last process to end")


@needs_landlock
def test_an_import_ends_with_a_master_that_is_killed(start: Starter, places: Places) -> None:
    started = places.inside / "started"
    (places.inside / "endless.py").write_text(
        f"import pathlib, time\npathlib.Path({str(started)!r}).write_text('yes')\ntime.sleep(600)\n"
    )
    options = ["--chdir", str(places.inside), *places.options]
    spile: Spile = start.spile("endless:application", *options, env=places.environment)
    wait_until(started.exists, "the import to begin")
    mold = mold_of(spile)
    assert parent_of(mold) == spile.pid
    spile.signal(signal.SIGKILL)
    spile.wait()
    wait_until(lambda: not spile.family(), "the import to end")


@needs_landlock
def test_the_threads_of_a_native_server_are_restricted(start: Starter, places: Places) -> None:
    # What belongs to a process outside is what the sandbox takes from a server that only reads.
    theirs = f"static:///proc/{os.getpid()}"
    (places.outside / "file").write_text("kept")
    path = f"/root{places.outside}/file"
    assert start.site(theirs).get(path).text == "kept"
    site = start.site(theirs, *places.options, env=places.environment)
    assert site.get(path).status in (403, 404, 500)
    assert site.get("/comm").status == 200
    site.spile.signal(signal.SIGINT)
    assert site.spile.wait() == 0
    assert "panicked" not in site.spile.log


@pytest.mark.parametrize("app", [APP, "hello://"])
@pytest.mark.parametrize(
    ("error", "cure"), [("ENOSYS", "Linux 5.13 and newer have it"), ("EOPNOTSUPP", "lsm=landlock")]
)
def test_a_kernel_without_landlock_is_a_warning_and_no_reason_not_to_serve(
    start: Starter, places: Places, app: str, error: str, cure: str
) -> None:
    spile = start.spile(
        app, *places.options, env=places.environment, launcher=without(LANDLOCK, error)
    )
    log = spile.wait_for_log("ready")
    warnings = [line for line in log.splitlines() if " WARN " in line]
    assert len(warnings) == 1, log
    assert "--sandbox restricts nothing on this machine, for want of Landlock" in warnings[0]
    assert cure in log
    assert "writing is allowed" not in log
    if app == APP:
        answer = spile.ask("/write", QUERY_STRING=f"{places.outside}/file")
        assert answer.status == 200


def test_without_it_nothing_is_restricted(start: Starter, places: Places) -> None:
    site = start.site(APP, env=places.environment)
    assert outcome(site, f"/write?{places.outside}/file") == 200
    assert outcome(site, f"/signal?{site.spile.pid}") == 200
    assert "writing is allowed" not in site.spile.log


def test_the_log_and_the_check_say_what_may_be_written(start: Starter, places: Places) -> None:
    named = f"{places.temporary}, {places.inside}, /dev/shm"
    spile = start.spile(APP, *places.options, env=places.environment)
    if landlock_version() >= SCOPES_SINCE:
        spile.wait_for_log(f"sandbox: writing is allowed to {named}")
    else:
        spile.wait_for_log("--sandbox ")
    checked = run_spile(
        "check", APP, *places.options, cwd=places.outside, env=dict(places.environment)
    )
    assert f"may write   {named}, and nowhere else" in checked.out.decode()


@pytest.mark.parametrize("command", ["serve", "check"])
def test_a_place_that_is_not_there_is_a_mistake(places: Places, command: str) -> None:
    address = ["-s", str(places.inside / "s.sock")]
    missing = places.outside / "missing"
    options = ["hello://", "--sandbox", "--sandbox-write", str(missing), *address]
    finished = run_spile(command, *options, cwd=places.outside)
    assert finished.status == 2
    assert f"error: --sandbox-write: `{missing}` does not exist" in finished.err
    assert "hint: make it before" in finished.err
    finished = run_spile(
        command, "hello://", "--sandbox", *address, cwd=places.outside, env={"TMPDIR": str(missing)}
    )
    assert finished.status == 2
    assert f"error: TMPDIR: `{missing}` does not exist" in finished.err


@pytest.mark.parametrize("command", ["serve", "check"])
def test_a_place_without_a_sandbox_is_a_mistake(places: Places, command: str) -> None:
    options = ["--sandbox-write", str(places.inside), "-s", str(places.inside / "s.sock")]
    finished = run_spile(command, "hello://", *options, cwd=places.outside)
    assert finished.status == 2
    assert "error: --sandbox-write: without --sandbox applications may write" in finished.err
