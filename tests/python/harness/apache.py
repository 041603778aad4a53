"""A real Apache in front of spile, configured by `nginx/other-servers/apache.conf`."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from harness.front import Front, example
from harness.net import Port


def executable() -> str | None:
    """Apache, under its names on Debian and elsewhere."""
    path = os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin"
    return shutil.which("apache2", path=path) or shutil.which("httpd", path=path)


def modules() -> Path:
    """Where the distribution keeps the modules."""
    places = [Path("/usr/lib/apache2/modules"), Path("/usr/lib64/httpd/modules")]
    found = [place for place in places if place.is_dir()]
    assert found, f"no modules of Apache in {places}"
    return found[0]


class Apache(Front):
    """An Apache of one process with the example's virtual host.

    Where the tests are root its process is nobody, who must be able to reach the application's
    socket; Apache cannot run as root. `main` is what an operator would have to raise beside it.
    """

    def __init__(self, changes: Iterable[tuple[str, str]], folder: Path, main: str = "") -> None:
        port = Port()
        self._ports = {"default": port}
        command = executable()
        assert command, "no Apache: install it, for example `apt-get install apache2-bin`"
        changes = [("*:80", f"127.0.0.1:{port.number}"), *changes]
        log = folder / "apache.log"
        configuration = folder / "apache.conf"
        configuration.write_text(
            MAIN.format(
                folder=folder,
                log=log,
                port=port.number,
                user='User "#65534"\nGroup "#65534"' if os.geteuid() == 0 else "",
                load="\n".join(load(name) for name in MODULES),
                main=main,
                host=example("other-servers/apache.conf", changes),
            )
        )
        super().__init__(
            [command, "-d", str(folder), "-f", str(configuration), "-D", "FOREGROUND"],
            log,
            folder,
            os.environ,
        )


def load(name: str) -> str:
    """The directive for a module; none where it is linked into the program."""
    file = modules() / f"mod_{name}.so"
    return f"LoadModule {name}_module {file}" if file.exists() else ""


MODULES = ["mpm_event", "unixd", "authz_core", "alias", "proxy", "proxy_uwsgi"]

MAIN = """
{load}
{user}
ServerName localhost
Listen 127.0.0.1:{port}
DefaultRuntimeDir {folder}
PidFile {folder}/apache.pid
ErrorLog {log}
LogLevel info
StartServers 1
ServerLimit 1
ThreadsPerChild 16
MaxRequestWorkers 16
{main}
{host}
"""
