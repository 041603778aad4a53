"""The access log: what its lines are, and that nothing waits for it."""

from __future__ import annotations

import json
import os
import re
import signal
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from harness import APPS, Site, Spile, Starter, run_spile, wait_until
from harness.workers import wait_until_closed

TIME = r"\[\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d \+0000\]"


def lines_of(path: Path, count: int) -> list[str]:
    """The lines of a file once they are so many. Before that it may be in the middle of a write."""

    def text() -> str:
        return path.read_text() if path.exists() else ""

    wait_until(lambda: text().count("\n") >= count, f"{count} lines in {path}")
    assert text().count("\n") == count
    assert text().endswith("\n")
    return text().splitlines()


@pytest.fixture
def log(start: Starter) -> Path:
    return start.folder() / "access.log"


def site_with(start: Starter, log: Path, *arguments: str, app: str = "held:application") -> Site:
    return start.site(app, "--access-log", str(log), *arguments)


# What a line looks like.


def test_combined_is_the_default_and_common_its_beginning(start: Starter, log: Path) -> None:
    site = site_with(start, log)
    site.get("/pid?x=1", headers=[("Referer", "http://r/"), ("User-Agent", "curl/8")])
    site.head("/pid")
    site.get("/raise")
    got, head, raised = lines_of(log, 3)
    common = rf'127\.0\.0\.1 - - {TIME} "GET /pid\?x=1 HTTP/1\.1" 200 \d+'
    assert re.fullmatch(common + r' "http://r/" "curl/8"', got)
    assert re.fullmatch(rf'127.0.0.1 - - {TIME} "HEAD /pid HTTP/1.1" 200 - "-" "[^"]*"', head)
    assert re.fullmatch(rf'127.0.0.1 - - {TIME} "GET /raise HTTP/1.1" 500 \d+ "-" "[^"]*"', raised)

    other = log.with_name("common.log")
    site_with(start, other, "--access-log-format", "common").get("/pid?x=1")
    assert re.fullmatch(common, lines_of(other, 1)[0])


def test_json_by_its_own_option_and_by_that_of_the_log(start: Starter, log: Path) -> None:
    for name, option in (("a", "--access-log-format"), ("b", "--log-format")):
        path = log.with_name(name)
        site = site_with(start, path, option, "json")
        site.get("/pid?x=1", headers=[("User-Agent", 'a"b\\c\u00e9')])
        site.head("/pid")
        site.get("/raise")
        got, head, raised = (json.loads(line) for line in lines_of(path, 3))
        assert got["uri"] == "/pid?x=1"
        assert got["method"] == "GET"
        assert got["status"] == 200
        assert got["user_agent"].startswith('a"b\\c')
        assert got["referer"] is None
        assert got["seconds"] >= 0
        assert got["complete"] is True
        assert got["body_bytes"] == len(site.get("/pid").body)
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", got["time"])
        assert (head["method"], head["body_bytes"]) == ("HEAD", 0)
        assert raised["status"] == 500


def test_a_format_string(start: Starter, log: Path) -> None:
    text = "%h|%m|%U|%q|%H|%>s|%B|%T|%X|%P|%{X-Id}i|%{SERVER_NAME}e|%{NONE}e|%%"
    site = site_with(start, log, "--access-log-format", text)
    pid = site.get("/pid?x=1&y", headers=[("X-Id", "7")]).text
    [line] = lines_of(log, 1)
    process = pid.split()[0]
    fields = f"127.0.0.1|GET|/pid|?x=1&y|HTTP/1.1|200|{len(pid)}|0|-|{process}|7"
    assert line.startswith(fields + "|")
    assert line.endswith("|-|%")


def test_durations(start: Starter, log: Path) -> None:
    site = site_with(start, log, "--access-log-format", "%T %{ms}T %D")
    site.get("/pid?pause=0.05")
    seconds, milliseconds, microseconds = map(int, lines_of(log, 1)[0].split())
    assert milliseconds >= 50
    assert microseconds // 1000 == milliseconds
    assert milliseconds // 1000 == seconds


def test_the_path_has_the_mount_in_it(start: Starter, log: Path) -> None:
    arguments = ("--mount", "/below=environ:application", "--access-log-format", "%U%q")
    site = site_with(start, log, *arguments)
    site.get("/below/a%20b?c")
    assert lines_of(log, 1) == ["/below/a b?c"]


def test_a_response_that_was_cut_is_marked(start: Starter, log: Path) -> None:
    site = site_with(start, log, "--access-log-format", "%U %s %X", app="responses:application")
    site.get("/length?declared=50")
    site.get("/length_in_list?declared=11")
    assert lines_of(log, 2) == ["/length 200 X", "/length_in_list 200 -"]


def test_no_value_forges_a_line(start: Starter, log: Path) -> None:
    site = site_with(start, log)
    forged = '" 200 1 "-" "-"\\'
    site.get("/pid", headers=[("User-Agent", forged), ("Referer", "\u00e9\t")])
    site.spile.ask("/pid", REQUEST_URI="/\n1.2.3.4 - -", REMOTE_USER='x [y] "z')
    through, direct = lines_of(log, 2)
    assert through.endswith(r'"\x22 200 1 \x22-\x22 \x22-\x22\x5C"')
    assert r"/\x0A1.2.3.4 - - " in direct
    assert r" - x\x20[y]\x20\x22z [" in direct
    for line in (through, direct):
        assert line.isascii()
        assert line.count('"') == 6


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("%h %Z", "`%Z` at character 4"),
        ("%{Server}o", "`%{Server}o` at character 1"),
        ("%h %{Referer", "begins at character 4"),
        ("combind", "combind"),
        ("%h\n%s", "control character"),
    ],
)
def test_a_mistake_in_the_format(start: Starter, text: str, said: str) -> None:
    done = run_spile("check", "hello://", "--access-log-format", text, cwd=APPS)
    assert done.status == 2
    said_by = done.out.decode() + done.err
    assert said in said_by
    assert "--access-log-format" in said_by


# Several processes, ends, and slow disks.


def test_workers_share_a_file_and_none_of_their_lines_is_torn(start: Starter, log: Path) -> None:
    site = site_with(start, log, "-w", "4", "--access-log-format", "%P %{N}e %{PADDING}e .")
    count, padding = 3000, "p" * 300

    def ask(number: int) -> str:
        return site.spile.ask("/pid", N=str(number), PADDING=padding).text.split()[0]

    with ThreadPoolExecutor(16) as pool:
        pids = list(pool.map(ask, range(count)))
    lines = lines_of(log, count)
    expected = {f"{pid} {number} {padding} ." for number, pid in enumerate(pids)}
    assert set(lines) == expected
    assert len(Counter(pids)) > 1


@pytest.mark.parametrize("app", ["held:application", "hello://"])
def test_the_last_lines_are_written_before_the_end(start: Starter, log: Path, app: str) -> None:
    site = site_with(start, log, app=app)
    for _ in range(20):
        assert site.get("/pid").status == 200
    site.spile.stop()
    assert len(log.read_text().splitlines()) == 20


def test_a_quick_stop_writes_them_too(start: Starter, log: Path) -> None:
    site = site_with(start, log, app="hello://")
    assert site.get("/pid").status == 200
    site.spile.signal(signal.SIGINT)
    assert site.spile.wait() == 0
    assert len(log.read_text().splitlines()) == 1


class Reader:
    """The end of a named pipe that reads when told to."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)

    def read(self) -> bytes:
        try:
            return os.read(self._fd, 1 << 20)
        except BlockingIOError:
            return b""

    def close(self) -> None:
        os.close(self._fd)


def requests_beyond_the_queue(spile: Spile) -> int:
    """Lines of 128 KB, more of them than a pipe and the queue of 2 MiB hold."""
    count = 40
    for _ in range(count):
        assert spile.ask("/pid", FILL="\n" * 32_000).status == 200
    return count


@pytest.mark.parametrize("app", ["held:application", "hello://"])
def test_a_slow_reader_costs_lines_but_no_request(start: Starter, app: str) -> None:
    pipe = start.folder() / "pipe"
    os.mkfifo(pipe)
    # Nobody reads: opening it for writing alone would wait.
    site = site_with(start, pipe, "--access-log-format", "%s %{FILL}e", app=app)
    asked = requests_beyond_the_queue(site.spile)
    assert site.get("/pid").status == 200
    site.spile.wait_for_log("lines of the access log were dropped")

    reader = Reader(pipe)
    try:
        received = b""

        def is_through() -> bool:
            nonlocal received
            received += reader.read()
            return received.count(b"\n") > 0 and received.endswith(b"200 seen\n")

        # The queue has room again as soon as somebody reads.
        def is_seen() -> bool:
            site.spile.ask("/pid", FILL="seen")
            return is_through()

        wait_until(is_seen, "the reader to catch up")
        whole = [line for line in received.split(b"\n") if line.startswith(b"200 \\x0A")]
        assert 0 < len(whole) < asked
        assert {len(line) for line in whole} == {4 + 4 * 32_000}
    finally:
        reader.close()


def test_stopping_does_not_wait_for_a_reader_for_long(start: Starter) -> None:
    pipe = start.folder() / "pipe"
    os.mkfifo(pipe)
    site = site_with(start, pipe, "--access-log-format", "%s %{FILL}e")
    requests_beyond_the_queue(site.spile)
    site.spile.stop()


def test_a_full_disk_costs_lines_but_no_request(start: Starter) -> None:
    site = site_with(start, Path("/dev/full"))
    for _ in range(3):
        assert site.get("/pid").status == 200
    site.spile.wait_for_log("/dev/full")
    assert re.search(r"cannot write to the access log /dev/full: No space left", site.spile.log)
    assert site.get("/pid").status == 200


# Rotation.


@pytest.mark.parametrize("app", ["hello://", "environ:application"])
def test_usr1_opens_the_file_anew_and_loses_nothing(start: Starter, log: Path, app: str) -> None:
    site = site_with(start, log, "--access-log-format", "%q", "-w", "2", app=app)
    files = [log]
    rotations, each = 5, 200

    def ask(number: int) -> None:
        assert site.get(f"/?{number}").status == 200

    with ThreadPoolExecutor(4) as pool:
        for rotation in range(rotations):
            first = rotation * each
            asked = [pool.submit(ask, number) for number in range(first, first + each)]
            asked[0].result()
            files.append(log.with_name(f"old.{rotation}"))
            log.rename(files[-1])
            site.spile.signal(signal.SIGUSR1)
            for future in asked:
                future.result()
            wait_until(log.exists, "the new file")
    wait_until_closed(site.spile, files[-1])
    site.get("/?last")
    site.spile.stop()
    texts = [path.read_text() for path in files]
    # Of two workers each opens the file in its own time, so one in between may stay empty.
    assert len([text for text in texts if text]) > 2
    written = Counter("".join(texts).splitlines())
    assert written == Counter([*(f"?{n}" for n in range(rotations * each)), "?last"])
    assert "?last\n" in log.read_text()


def test_the_old_file_stays_if_there_can_be_no_new_one(start: Starter, log: Path) -> None:
    folder = log.parent / "below"
    folder.mkdir()
    log = folder / "access.log"
    site = site_with(start, log, app="hello://")
    site.get("/a")
    lines_of(log, 1)
    moved = folder.with_name("moved")
    folder.rename(moved)
    site.spile.signal(signal.SIGUSR1)
    site.spile.wait_for_log("cannot open the access log")
    assert f"{log} anew: No such file" in site.spile.log
    site.get("/b")
    lines_of(moved / "access.log", 2)


def test_usr1_without_a_log_or_with_standard_output(start: Starter) -> None:
    for target in ("off", "-"):
        site = start.site("hello://", "--access-log", target, "--access-log-format", "%m=%q")
        site.spile.signal(signal.SIGUSR1)
        assert site.get("/?after").status == 200
        site.spile.stop()
        assert ("GET=?after" in site.spile.log) == (target == "-")


# The log itself.


def test_every_line_of_the_log_names_its_process(start: Starter) -> None:
    for form in ("text", "json"):
        spile = start.spile("held:application", "--log-format", form)
        # A refusal is logged by the worker.
        with spile.connect() as connection:
            connection.send(b"GET / HTTP/1.1\r\n\r\n")
            connection.read_to_end()
        pid = spile.ask("/pid").text.split()[0]
        spile.stop()
        lines = spile.log.splitlines()
        if form == "json":
            said = [json.loads(line) for line in lines]
            named = {(line["process"], str(line["pid"])) for line in said}
        else:
            stamp = re.compile(r"\d{4}-\S+Z \[(\w+) (\d+)\] +(?:INFO|WARN|ERROR) ")
            named = {match.groups() for match in map(stamp.match, lines) if match}
        assert named == {("master", str(spile.pid)), ("worker", pid)}
