"""spile and uWSGI under the same load, on the same application: requests lost, waits, memory.

Run by run.sh, which installs what is needed. Prints a table for docs/reliability.md.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import http.client
import os
import random
import re
import signal
import subprocess
import sys
import time
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Callable

from servers import APPS, WORKERS, Server, SpileServer, UwsgiServer, environment, make_folder

from harness import Load, Report, fetch
from harness.process import kill
from harness.waiting import wait_until

#: The warm-up that the documentation recommends: a page of each kind that needs nobody to log in.
WARMUP = ("--warmup", "/admin/login/")

#: What --warmup has seen.
LOG_IN = ["/admin/login/"]

#: Of the admin, with somebody logged in.
PAGES = [
    *LOG_IN,
    "/admin/",
    "/admin/auth/user/",
    "/admin/auth/user/add/",
    "/admin/auth/user/1/change/",
    "/admin/auth/group/",
    "/admin/auth/group/add/",
    "/admin/password_change/",
]
PASSWORD = "for tests only"


def main() -> None:
    options = parse_options()
    with make_folder() as folder:
        database = Path(folder) / "django.sqlite3"
        make_database(database)
        contenders = choose(options, database)
        results: dict[str, list[Round]] = {}
        for number in range(options.rounds):
            for make in contenders:
                result = measure(make, options)
                results.setdefault(result.name, []).append(result)
                print(f"round {number + 1}: {result}", file=sys.stderr, flush=True)
    print_table(results)


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--uwsgi", type=lambda path: Path(path).absolute(), required=True, help="the uwsgi program"
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--requests", type=int, default=2000, help="before memory is measured")
    parser.add_argument(
        "--rate", type=int, default=200, help="requests a second during reloads and kills"
    )
    parser.add_argument("--reloads", type=int, default=3, help="in each round")
    parser.add_argument("--kills", type=int, default=10, help="in each round")
    parser.add_argument("--only", default="", help="only servers whose name has this in it")
    return parser.parse_args()


def choose(options: argparse.Namespace, database: Path) -> list[Callable[[Path], Server]]:
    def spile(*arguments: str) -> Callable[[Path], Server]:
        return lambda folder: SpileServer(folder, arguments, database)

    def uwsgi(*arguments: str) -> Callable[[Path], Server]:
        return lambda folder: UwsgiServer(options.uwsgi, folder, arguments, database)

    named = {
        "spile": spile(),
        "spile --warmup": spile(*WARMUP),
        "uWSGI": uwsgi(),
        "uWSGI --lazy-apps": uwsgi("--lazy-apps"),
    }
    return [make for name, make in named.items() if options.only in name]


def make_database(path: Path) -> None:
    """A database with one user, who may do everything."""
    variables = {
        **os.environ,
        **environment(path),
        "DJANGO_SETTINGS_MODULE": "django_app.admin_settings",
        "PYTHONPATH": str(APPS),
        "DJANGO_SUPERUSER_PASSWORD": PASSWORD,
    }
    for command in (
        ["migrate"],
        ["createsuperuser", "--noinput", "--username", "admin", "--email", "admin@example.org"],
    ):
        subprocess.run(
            [sys.executable, "-m", "django", *command],
            env=variables,
            check=True,
            stdout=subprocess.DEVNULL,
        )


class Round:
    """What one server did in one round."""

    def __init__(self, name: str) -> None:
        self.name = name
        #: MiB of all processes together, after requests for LOG_IN, and then for PAGES.
        self.after_log_in = 0.0
        self.after_pages = 0.0
        self.reload: Report | None = None
        self.kill: Report | None = None

    def __str__(self) -> str:
        parts = [f"{self.name}: PSS {self.after_log_in:.1f}, then {self.after_pages:.1f} MiB"]
        for what, report in (("reload", self.reload), ("kill", self.kill)):
            if report:
                parts.append(
                    f"{what}: {report.lost} of {report.requests} lost, longest wait "
                    f"{report.longest_wait:.3f} s, silence {report.longest_silence:.3f} s"
                )
        return "; ".join(parts)


def measure(make: Callable[[Path], Server], options: argparse.Namespace) -> Round:
    with make_folder() as folder:
        server = make(Path(folder))
        try:
            server.wait_ready()
            result = Round(server.name)
            browse(server.port, options.requests, LOG_IN)
            result.after_log_in = server.memory_mib()
            browse(server.port, options.requests, PAGES)
            result.after_pages = server.memory_mib()
            if options.reloads:
                with loaded(server, Path(folder), options) as ended:
                    for _ in range(options.reloads):
                        server.reload()
                        # Both serve again, and for a while, before the next.
                        fetch(server.port, "/admin/login/", timeout=60)
                        time.sleep(1)
                result.reload = ended[0]
            if options.kills:
                with loaded(server, Path(folder), options) as ended:
                    kill_workers(server, options.kills)
                result.kill = ended[0]
            return result
        finally:
            server.destroy()


@contextmanager
def loaded(server: Server, folder: Path, options: argparse.Namespace) -> Iterator[list[Report]]:
    load = Load(server.port, folder, rate=options.rate)
    reports: list[Report] = []
    try:
        load.wait_ready()
        yield reports
        reports.append(load.stop())
    finally:
        load.destroy()


def kill_workers(server: Server, count: int) -> None:
    """One after another, each when the one before has been replaced."""
    for _ in range(count):
        alive = wait_until(
            lambda: workers if len(workers := server.workers()) == WORKERS else None,
            f"{server.name} to replace a worker",
            patience=60,
        )
        kill(random.choice(sorted(alive)), signal.SIGKILL)


def browse(port: int, count: int, pages: list[str]) -> None:
    """Requests of the pages, in turn, by as many clients as there are workers."""
    cookie = log_in(port)

    def client(offset: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        for number in range(offset, count, WORKERS):
            page = pages[number // WORKERS % len(pages)]
            headers = {} if page in LOG_IN else {"Cookie": cookie}
            connection.request("GET", page, headers=headers)
            response = connection.getresponse()
            response.read()
            if response.status != 200:
                raise AssertionError(f"{page}: {response.status}")
        connection.close()

    with concurrent.futures.ThreadPoolExecutor(WORKERS) as pool:
        list(pool.map(client, range(WORKERS)))


def log_in(port: int) -> str:
    """The cookie of a user who is logged in."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", "/admin/login/")
    response = connection.getresponse()
    page = response.read().decode()
    (token,) = re.findall(r'name="csrfmiddlewaretoken" value="([^"]+)"', page)
    cookies = [value.partition(";")[0] for value in response.headers.get_all("Set-Cookie", [])]
    form = {
        "username": "admin",
        "password": PASSWORD,
        "csrfmiddlewaretoken": token,
        "next": "/admin/",
    }
    connection.request(
        "POST",
        "/admin/login/",
        urllib.parse.urlencode(form),
        {"Cookie": "; ".join(cookies), "Content-Type": "application/x-www-form-urlencoded"},
    )
    response = connection.getresponse()
    response.read()
    if response.status != 302:
        raise AssertionError(f"logging in: {response.status}")
    (session,) = (
        value.partition(";")[0]
        for value in response.headers.get_all("Set-Cookie", [])
        if value.startswith("sessionid=")
    )
    connection.close()
    return session


def print_table(results: dict[str, list[Round]]) -> None:
    print(
        "| server | PSS after the log-in page, MiB | then after the admin's pages, MiB "
        "| lost at reload | longest wait, s | lost at kill -9 | longest wait, s |\n"
        "| --- | --- | --- | --- | --- | --- | --- |"
    )
    for name, rounds in results.items():
        cells = [f"`{name}`"]
        for figures in ([r.after_log_in for r in rounds], [r.after_pages for r in rounds]):
            cells.append(f"{median(figures):.1f}")
        for reports in ([r.reload for r in rounds], [r.kill for r in rounds]):
            seen = [report for report in reports if report]
            lost = sum(report.lost for report in seen)
            total = sum(report.requests for report in seen)
            waits = [report.longest_wait for report in seen]
            cells.append(f"{lost} of {total}" if seen else "")
            cells.append(f"{max(waits):.2f}" if seen else "")
        print("| " + " | ".join(cells) + " |")


if __name__ == "__main__":
    started = time.monotonic()
    main()
    print(f"in {time.monotonic() - started:.0f} s", file=sys.stderr)
