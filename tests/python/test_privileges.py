"""`--user`, `--group` and `--umask`: as whom the processes run, and what they may reach."""

from __future__ import annotations

import os
import pwd
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from harness import APPS, Spile, Starter, run_spile
from harness.spile import environment, executable
from harness.waiting import PATIENCE, wait_until

USER = "nobody"

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may become another user")


def status(pid: int, field: str) -> list[str]:
    """A field of /proc/PID/status."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == field:
            return value.split()
    raise KeyError(field)


def ids(pid: int) -> tuple[set[str], set[str], set[str]]:
    """The user ids, group ids and further groups of a process."""
    return set(status(pid, "Uid")), set(status(pid, "Gid")), set(status(pid, "Groups"))


@pytest.fixture
def nobody() -> pwd.struct_passwd:
    """A user who is not root, and who may run the command under test."""
    user = pwd.getpwnam(USER)
    try:
        as_user(user, "--version")
    except (OSError, subprocess.CalledProcessError):
        pytest.skip(f"{executable()} is where {USER} cannot run it")
    return user


def as_user(user: pwd.struct_passwd, *arguments: str) -> None:
    """Runs spile as the user, in a directory that anybody may enter."""
    subprocess.run(
        [str(executable()), *arguments],
        user=user.pw_uid,
        group=user.pw_gid,
        extra_groups=[],
        cwd="/",
        env=environment(),
        check=True,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )


@as_root
def test_native_applications_run_as_the_user(start: Starter) -> None:
    user = pwd.getpwnam(USER)
    pidfile = start.folder() / "spile.pid"
    site = start.site("hello://", "--user", USER, "--pidfile", str(pidfile))
    assert site.get("/").status == 200
    uid, gid = str(user.pw_uid), str(user.pw_gid)
    assert ids(site.spile.pid) == ({uid}, {gid}, {gid})
    # It was made before, and the socket is the user's to serve.
    assert pidfile.read_text() == f"{site.spile.pid}\n"
    made = os.stat(str(site.spile.address))
    assert (made.st_uid, made.st_gid) == (user.pw_uid, user.pw_gid)
    site.spile.stop()
    # The directory is root's: what cannot be removed is emptied.
    assert pidfile.read_text() == ""


@as_root
def test_python_runs_as_the_user_everywhere(start: Starter, nobody: pwd.struct_passwd) -> None:
    site = start.site("environ:application", "--user", str(nobody.pw_uid), "-w", "2", cwd=APPS)
    site.spile.wait_for_log("ready")
    process = site.get("/").json()["process"]
    uid, gid = str(nobody.pw_uid), str(nobody.pw_gid)
    family = site.spile.family()
    assert process["pid"] in family
    assert len(family) == 4
    for pid in family:
        assert ids(pid) == ({uid}, {gid}, {gid})
    seen = {name: process["environment"][name] for name in ("HOME", "USER", "LOGNAME")}
    assert seen == {"HOME": nobody.pw_dir, "USER": USER, "LOGNAME": USER}


@as_root
def test_no_power_of_root_is_left(start: Starter) -> None:
    spile = start.spile("hello://", "--user", USER)
    spile.wait_for_log("ready")
    for power in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
        assert int(status(spile.pid, power)[0], 16) == 0, power


@as_root
def test_there_is_no_way_back(start: Starter, nobody: pwd.struct_passwd) -> None:
    site = start.site("sandboxed:application", "--user", str(nobody.pw_uid), cwd=APPS)
    answer = site.get("/user")
    assert (answer.status, answer.text) == (403, "EPERM")


@as_root
def test_a_sandbox_goes_with_another_user(start: Starter, nobody: pwd.struct_passwd) -> None:
    folder = start.folder()
    folder.chmod(0o755)
    for name in ("inside", "outside", "temporary"):
        (folder / name).mkdir()
        os.chown(folder / name, nobody.pw_uid, nobody.pw_gid)
    options = ["--user", str(nobody.pw_uid), "--sandbox", "--sandbox-write", str(folder / "inside")]
    env = {"TMPDIR": str(folder / "temporary")}
    site = start.site("sandboxed:application", *options, cwd=APPS, env=env)
    assert site.get(f"/write?{folder}/inside/file").status == 200
    assert (folder / "inside/file").stat().st_uid == nobody.pw_uid
    assert site.get(f"/write?{folder}/outside/file").text == "EACCES"


@as_root
def test_python_runs_in_the_group_everywhere(start: Starter) -> None:
    spile = start.spile("environ:application", "--user", "root", "--group", "4242")
    spile.wait_for_log("ready")
    process = spile.ask("/").json()["process"]
    family = spile.family()
    assert process["pid"] in family
    assert len(family) == 3
    for pid in family:
        assert ids(pid) == ({"0"}, {"4242"}, {"4242"})
    root = pwd.getpwuid(0)
    seen = {name: process["environment"][name] for name in ("HOME", "USER", "LOGNAME")}
    assert seen == {"HOME": root.pw_dir, "USER": root.pw_name, "LOGNAME": root.pw_name}


@as_root
def test_a_group_is_the_only_one(start: Starter) -> None:
    spile = start.spile("hello://", "--user", USER, "--group", "4242", "--socket-mode", "660")
    # The sockets are there before it becomes another.
    spile.wait_for_log("ready")
    assert ids(spile.pid) == ({str(pwd.getpwnam(USER).pw_uid)}, {"4242"}, {"4242"})
    made = os.stat(str(spile.address))
    assert (made.st_gid, stat.S_IMODE(made.st_mode)) == (4242, 0o660)


@as_root
def test_the_owner_of_the_socket_may_be_another(start: Starter) -> None:
    spile = start.spile("hello://", "--user", USER, "--socket-owner", ":4242")
    made = os.stat(str(spile.address))
    assert (made.st_uid, made.st_gid) == (pwd.getpwnam(USER).pw_uid, 4242)


@pytest.mark.parametrize("user", ["root", USER])
@as_root
def test_a_reload_gives_the_socket_another_owner_where_it_may(start: Starter, user: str) -> None:
    config = start.folder() / "spile.toml"
    config.parent.chmod(0o755)
    config.write_text("")
    spile = start.spile("hello://", "--user", user, "--config", str(config))
    made = os.stat(str(spile.address))
    config.write_text('socket-owner = ":4242"\n')
    finished = spile.control("reload")
    now = os.stat(str(spile.address))
    assert (now.st_ino, now.st_uid) == (made.st_ino, made.st_uid)
    if user == "root":
        assert (finished.status, now.st_gid) == (0, 4242)
    else:
        assert (finished.status, now.st_gid) == (1, made.st_gid)
        assert f"--socket-owner has changed, but unix:{spile.address} stays as it was" in spile.log


@as_root
def test_the_user_gets_an_access_log_where_it_may_make_none(start: Starter) -> None:
    folder = start.folder()
    folder.chmod(0o755)
    log = folder / "access.log"
    site = start.site("hello://", "--user", USER, "--access-log", str(log))
    assert site.get("/").status == 200
    wait_until(lambda: '"GET / ' in log.read_text(), "the line")
    assert log.stat().st_uid == pwd.getpwnam(USER).pw_uid
    site.spile.stop()

    log.unlink()
    log.touch(0o644)
    again = ["hello://", "--user", USER, "--access-log", str(log), "--socket", "a.sock"]
    finished = run_spile("serve", *again, cwd=folder)
    assert finished.status == 1
    assert f"cannot open the access log: {log}: Permission denied" in finished.err


@as_root
@pytest.mark.parametrize("command", ["serve", "check"])
def test_what_the_user_cannot_reach_is_a_mistake(
    start: Starter, command: str, nobody: pwd.struct_passwd
) -> None:
    folder = start.folder()
    folder.chmod(0o755)
    site = folder / "site"
    site.mkdir()
    site.chmod(0o755)
    app = site / "app.py"
    app.write_text("def application(environ, start_response): ...\n")
    who = f"user {USER} ({nobody.pw_uid}), group {nobody.pw_gid}"

    def mistakes(*arguments: str) -> list[str]:
        address = str(folder / "s.sock")
        options = [*arguments, "--chdir", str(site), "--user", USER, "-s", address]
        finished = run_spile(command, *options, cwd=folder)
        assert finished.status == 2, finished
        assert "hint: give that user the right" in finished.err
        found = [line for line in finished.err.splitlines() if line.startswith("error: ")]
        return [line.removeprefix("error: ") for line in found]

    app.chmod(0o600)
    for named in ("app", "app.py"):
        assert mistakes(named) == [f"APP: {who} may not read `{app}`"]
    app.chmod(0o644)
    writable = ["--sandbox", "--sandbox-write", str(site)]
    assert mistakes("app", *writable) == [f"--sandbox-write: {who} may not write to `{site}`"]
    site.chmod(0o700)
    assert mistakes("app") == [
        f"--chdir: {who} may not enter `{site}`",
        f"APP: {who} may not enter `{site}`, and so not reach `{app}`",
    ]
    assert mistakes(f"static://{site}") == [f"APP: {who} may not enter `{site}`"]


@as_root
def test_the_directory_that_bars_the_way_is_named(start: Starter) -> None:
    """However the path leads there: a virtual environment's Python is a link to another."""
    folder = start.folder()
    folder.chmod(0o755)
    closed = folder / "closed"
    inside = closed / "deep/inside"
    inside.mkdir(parents=True)
    (inside / "app.py").write_text("def application(environ, start_response): ...\n")
    (inside / "python").symlink_to(sys.executable)
    (closed / "deep").chmod(0o700)
    closed.chmod(0o755)
    (folder / "venv/bin").mkdir(parents=True)
    (folder / "venv/bin/python").symlink_to(inside / "python")
    (folder / "site").symlink_to(inside)
    (folder / "app.py").symlink_to(inside / "app.py")
    address = str(folder / "s.sock")
    for options, place in [
        (["app", "--chdir", str(folder / "site")], "--chdir"),
        (["app", "--chdir", str(folder)], "APP"),
        (["app", "--chdir", str(folder), "--venv", str(folder / "venv")], "--venv"),
        ([f"static://{folder}/site/x"], "APP"),
        (["hello://", "--access-log", str(folder / "site/access.log")], "--access-log"),
    ]:
        finished = run_spile("check", *options, "--user", USER, "-s", address, cwd=folder)
        lines = [line for line in finished.err.splitlines() if line.startswith(f"error: {place}")]
        assert any(f"may not enter `{closed}/deep`" in line for line in lines), finished.err


@as_root
def test_what_the_user_can_reach_is_no_mistake(
    start: Starter, nobody: pwd.struct_passwd, tmp_path: Path
) -> None:
    folder = start.folder()
    folder.chmod(0o711)
    site = folder / "site"
    (site / "media").mkdir(parents=True)
    (site / "app.py").write_text("def application(environ, start_response): ...\n")
    os.chown(site / "app.py", 0, nobody.pw_gid)
    (site / "app.py").chmod(0o640)
    os.chown(site / "media", nobody.pw_uid, 0)
    site.chmod(0o755)
    options = ["app", "--chdir", str(site), "--user", USER, "-s", str(folder / "s.sock")]
    # Something below it is the user's.
    options += ["--sandbox", "--sandbox-write", str(site)]
    finished = run_spile("check", *options, cwd=folder)
    assert finished.status == 0, finished
    # Nobody goes there without Python.
    tmp_path.chmod(0o700)
    without = ["hello://", "--chdir", str(tmp_path), "--user", USER, "-s", str(folder / "s.sock")]
    assert run_spile("check", *without, cwd=folder).status == 0


@as_root
def test_an_upgrade_need_not_open_the_pid_file(start: Starter, nobody: pwd.struct_passwd) -> None:
    folder = start.folder()
    folder.chmod(0o755)
    pidfile = folder / "spile.pid"
    spile = start.spile("hello://", "--user", USER, "--pidfile", str(pidfile))
    assert pidfile.stat().st_uid == 0
    spile.signal(signal.SIGUSR2)
    assert spile.wait() == 0, spile.log
    after = int(pidfile.read_text())
    assert ids(after)[0] == {str(nobody.pw_uid)}
    os.kill(after, signal.SIGTERM)
    wait_until(lambda: not spile.family(), "the new master to end")


@as_root
def test_a_reload_makes_no_pid_file(start: Starter, nobody: pwd.struct_passwd) -> None:
    """Its user may not; and the server has read nothing anew if it refuses for that."""
    folder = start.folder()
    folder.chmod(0o755)
    pidfile = folder / "spile.pid"
    options = ["--user", str(nobody.pw_uid), "--pidfile", str(pidfile)]
    spile = start.spile("environ:application", *options, cwd=APPS)
    spile.wait_for_log("ready")
    pidfile.unlink()
    spile.wait_for_log("the pid file is gone: cannot write the pid file")
    spile.wait_for_log("a restart makes it anew")
    spile.signal(signal.SIGHUP)
    spile.wait_for_log("reloaded in")


@as_root
def test_a_socket_that_only_root_can_make_is_told_so(
    start: Starter, nobody: pwd.struct_passwd
) -> None:
    folder = start.folder()
    folder.chmod(0o755)
    address = str(folder / "app.sock")
    options = ["--user", str(nobody.pw_uid), "--socket", f"unix:{address}"]
    python = start.spile("environ:application", *options, cwd=APPS)
    python.wait_for_log("ready")
    os.unlink(address)
    python.wait_for_log(f"Permission denied (os error 13), as user {USER} ({nobody.pw_uid})")
    python.wait_for_log("hint: restart spile as root")
    assert python.ask("/").status == 200, "the other socket is served"
    python.stop()

    native = start.spile("hello://", *options)
    native.wait_for_log("ready")
    os.unlink(address)
    native.wait_for_log("nobody can connect there: start spile anew to have it made")


@pytest.mark.parametrize("command", ["serve", "check"])
@pytest.mark.parametrize(("option", "kind"), [("--user", "user"), ("--group", "group")])
def test_who_does_not_exist_is_a_mistake(
    tmp_path: Path, command: str, option: str, kind: str
) -> None:
    finished = run_spile(
        command, "hello://", "-s", str(tmp_path / "s.sock"), option, "no-such-one", cwd=tmp_path
    )
    assert finished.status == 2
    assert f"error: {option}: there is no {kind} `no-such-one` on this machine" in finished.err
    assert "hint: " in finished.err


@as_root
def test_only_root_becomes_another_user(nobody: pwd.struct_passwd) -> None:
    with pytest.raises(subprocess.CalledProcessError) as caught:
        as_user(nobody, "serve", "hello://", "--socket", "127.0.0.1:0", "--user", "root")
    assert caught.value.returncode == 2
    assert "--user: only root may become user root (0), group 0" in caught.value.stderr
    # Who is that user already need not become it.
    as_user(nobody, "check", "hello://", "--socket", "127.0.0.1:0", "--user", USER)


def test_the_umask_is_everybody_s(start: Starter) -> None:
    spile: Spile = start.spile("environ:application", "--umask", "077")
    assert spile.ask("/").status == 200
    assert stat.S_IMODE(os.stat(str(spile.address)).st_mode) == 0o700
    for pid in spile.family():
        assert status(pid, "Umask") == ["0077"]


def test_a_wrong_umask_is_told_what_a_umask_is(tmp_path: Path) -> None:
    finished = run_spile("check", "hello://", "--umask", "999", cwd=tmp_path)
    assert finished.status == 2
    assert "--umask: `999` is not a umask" in finished.err
    assert "hint: give three octal digits, of what others shall not have" in finished.err
    (tmp_path / "spile.toml").write_text("umask = 077\n")
    finished = run_spile("check", "hello://", "--config", "spile.toml", cwd=tmp_path)
    assert finished.status == 2
    assert 'put quotes around it, as in "077"' in finished.err
