"""What spile is started in: signals, descriptors, a directory, a kernel that lacks something."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from harness import APPS, Starter, run_spile, wait_until
from harness.process import kill
from harness.spile import ROOT, without

# Signals.

#: Ignores and blocks all that can be, then becomes the command.
WITHOUT_SIGNALS = """
import os, signal, sys
numbers = signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}
for number in numbers:
    signal.signal(number, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
os.execvp(sys.argv[1], sys.argv[1:])
"""

#: What a worker, its threads, and a program that it starts ignore and block.
SIGNALS = """
import glob, subprocess

def application(environ, start_response):
    start_response("200 OK", [])
    texts = [open(name).read() for name in glob.glob("/proc/self/task/*/status")]
    started = subprocess.run(["cat", "/proc/self/status"], stdout=subprocess.PIPE, check=True)
    texts.append(started.stdout.decode())
    lines = [line for text in texts for line in text.splitlines()]
    return ["\\n".join(line for line in lines if line[:6] in ("SigIgn", "SigBlk")).encode()]
"""

#: SIGPIPE and SIGXFSZ, which Python ignores.
PYTHONS = 1 << signal.SIGPIPE - 1 | 1 << signal.SIGXFSZ - 1
#: Those that are the C library's alone.
LIBCS = 1 << 32 - 1 | 1 << 33 - 1


@pytest.fixture
def deaf() -> list[str]:
    return [sys.executable, "-c", WITHOUT_SIGNALS]


def test_signals_that_somebody_has_ignored_or_blocked_work(start: Starter, deaf: list[str]) -> None:
    folder = start.folder()
    (folder / "app.py").write_text(SIGNALS)
    spile = start.spile("app", "-w", "2", "-t", "2", cwd=folder, launcher=deaf)
    spile.wait_for_log("ready")
    lines = [line.split(":\t") for line in spile.ask("/").text.splitlines()]
    values = {(name, int(mask, 16) & ~LIBCS) for name, mask in lines}
    assert values <= {("SigBlk", 0), ("SigIgn", 0), ("SigIgn", PYTHONS)}
    since = len(spile.log)
    spile.signal(signal.SIGHUP)  # as from a terminal that nohup has made spile deaf to
    spile.wait_for_log("generation 2 serves", since)
    kill(min(spile.worker_pids()), signal.SIGKILL)
    spile.wait_for_log("was killed by signal 9")
    spile.stop()


def test_check_hears_of_its_children_whoever_has_it_ignore_them(deaf: list[str]) -> None:
    command = [*deaf, str(ROOT / ".venv/bin/spile"), "check", "faulty:application"]
    command[3] = os.environ.get("SPILE_BIN", command[3])
    checked = subprocess.run(command, cwd=APPS, capture_output=True, text=True, timeout=60)
    assert checked.returncode == 0, checked.stderr


# Descriptors.

#: Has standard output and descriptor 7 be sockets to a path, then becomes the command.
WITH_SOCKETS = """
import os, socket, sys
for fd in (1, 7):
    out = socket.socket(socket.AF_UNIX)
    out.connect(sys.argv[1])
    os.dup2(out.fileno(), fd, inheritable=True)
os.execvp(sys.argv[2], sys.argv[2:])
"""


@pytest.mark.parametrize("app", ["faulty:application", "static://."])
@pytest.mark.parametrize("log", ["/dev/stdout", "/proc/self/fd/7", "/dev/fd/7", "a link"])
def test_an_access_log_goes_to_a_socket(start: Starter, app: str, log: str) -> None:
    """As where systemd's journal is standard output."""
    folder = start.folder()
    if log == "a link":
        log = str(folder / "access.log")
        os.symlink("/dev/stdout", log)
    with socket.socket(socket.AF_UNIX) as journal:
        journal.bind(str(folder / "journal"))
        journal.listen()
        launcher = [sys.executable, "-c", WITH_SOCKETS, str(folder / "journal")]
        spile = start.spile(app, "--access-log", log, launcher=launcher)
        ends = [journal.accept()[0] for _ in range(2)]
    spile.wait_for_log("ready")
    assert spile.ask("/pid").status in (200, 404)
    end = ends[1 if log.endswith("7") else 0]
    end.settimeout(20)
    assert b"/pid" in end.recv(4096)
    spile.signal(signal.SIGUSR1)
    spile.ask("/pid")
    assert b"/pid" in end.recv(4096)
    assert "cannot open" not in spile.log
    for end in ends:
        end.close()


@pytest.mark.parametrize("verb", ["serve", "check"])
def test_an_access_log_that_is_not_open_is_a_mistake(verb: str) -> None:
    options = ["faulty:application", "-s", "127.0.0.1:0", "--access-log", "/proc/self/fd/77"]
    finished = run_spile(verb, *options, cwd=APPS)
    assert finished.status == 2
    assert "descriptor 77 is not open for writing" in finished.err


# A directory.


def release(folder: Path, name: str) -> None:
    (folder / name).mkdir()
    (folder / name / "app.py").write_text(
        "def application(environ, start_response):\n"
        "    start_response('200 OK', [])\n"
        f"    return [b'{name}']\n"
    )


def switch(folder: Path, name: str) -> None:
    (folder / "new").symlink_to(name)
    (folder / "new").rename(folder / "current")


@pytest.mark.parametrize("how", ["reload", "upgrade"])
def test_a_link_that_was_switched_leads_to_the_new_code(start: Starter, how: str) -> None:
    folder = start.folder()
    for name in ("one", "two"):
        release(folder, name)
    switch(folder, "one")
    pidfile = folder / "pid"
    named = ["--pidfile", str(pidfile)] if how == "upgrade" else []
    spile = start.spile(
        *("app", *named),
        cwd=folder / "current",
        env={"PWD": str(folder / "current")},
    )
    spile.wait_for_log("ready")
    assert spile.ask("/").text == "one"
    switch(folder, "two")
    if how == "reload":
        spile.reload()
        assert spile.ask("/").text == "two"
        return
    spile.signal(signal.SIGUSR2)
    assert spile.wait() == 0
    assert spile.ask("/").text == "two"
    kill(int(pidfile.read_text()), signal.SIGTERM)
    wait_until(lambda: not spile.family(), "the new master to end")


@pytest.mark.parametrize("options", [["--chdir"], []], ids=["chdir", "a file"])
def test_a_directory_that_was_removed_is_missed_by_nobody_who_names_others(
    start: Starter, options: list[str]
) -> None:
    folder = start.folder()
    release(folder, "app")
    there = folder / "start"
    there.mkdir()
    app = folder / "app/app.py"
    named = ["app", "--chdir", str(app.parent)] if options else [str(app)]
    spile = start.spile(*named, cwd=there)
    spile.wait_for_log("ready")
    shutil.rmtree(there)
    app.write_text(app.read_text().replace("b'app'", "b'changed'"))
    spile.reload()
    assert spile.ask("/").text == "changed"


# A kernel.

#: Hides /proc, then becomes the command.
WITHOUT_PROC = ["unshare", "--mount", "sh", "-c", 'mount -t tmpfs none /proc && exec "$@"', "sh"]


def permits(*command: str) -> bool:
    try:
        return subprocess.run([*command, "true"], capture_output=True).returncode == 0
    except OSError:
        return False


@pytest.mark.skipif(not permits(*WITHOUT_PROC), reason="no mount name space may be made here")
def test_python_is_served_without_proc(start: Starter) -> None:
    spile = start.spile("faulty:application", "-w", "2", "-t", "2", launcher=WITHOUT_PROC)
    spile.wait_for_log("ready")
    assert spile.ask("/pid").status == 200
    # What an application forks gives up the sockets without a list of them.
    child = int(spile.ask("/fork").text)
    pid = int(spile.ask("/pid").text)
    kill(pid, signal.SIGKILL)
    spile.wait_for_log(f"(process {pid}) was killed by signal 9")
    assert spile.ask("/pid").status == 200
    spile.reload()
    kill(child, signal.SIGKILL)
    spile.stop()


@pytest.mark.parametrize("error", ["ENOSYS", "EPERM"])
def test_a_filter_that_refuses_newer_system_calls_costs_nothing(start: Starter, error: str) -> None:
    calls = "pidfd_open,pidfd_send_signal,close_range,statx,openat2,faccessat2,copy_file_range"
    spile = start.spile("faulty:application", launcher=without(calls, error))
    spile.wait_for_log("ready")
    with spile.connect() as connection:
        connection.request("/segfault")
        assert connection.read_to_end()[0] == b""
    spile.wait_for_log("running GET /segfault")
    assert spile.ask("/pid").status == 200
    spile.reload()
    spile.stop()


@pytest.mark.parametrize("error", ["ENOSYS", "EPERM"])
def test_a_call_that_nothing_goes_without_is_named(start: Starter, error: str) -> None:
    spile = start.spile("faulty:application", launcher=without("memfd_create", error))
    assert spile.wait() == 1
    assert "memfd_create(2)" in spile.log
    assert "seccomp" in spile.log
