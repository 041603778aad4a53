"""A real lighttpd in front of spile, configured by `nginx/other-servers/lighttpd.conf`."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from harness.front import Front, example
from harness.net import Port


def executable() -> str | None:
    """lighttpd; Debian has it in /usr/sbin, which a user's PATH may lack."""
    return shutil.which("lighttpd", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")


class Lighttpd(Front):
    """A lighttpd with the example's lines in its configuration.

    `main` is what an operator would have to raise beside it.
    """

    def __init__(self, changes: Iterable[tuple[str, str]], folder: Path, main: str = "") -> None:
        port = Port()
        self._ports = {"default": port}
        command = executable()
        assert command, "no lighttpd: install it, for example `apt-get install lighttpd`"
        (folder / "uploads").mkdir()
        log = folder / "lighttpd.log"
        configuration = folder / "lighttpd.conf"
        configuration.write_text(
            MAIN.format(
                folder=folder,
                port=port.number,
                main=main,
                example=example("other-servers/lighttpd.conf", changes),
            )
        )
        super().__init__([command, "-D", "-f", str(configuration)], log, folder, os.environ)


MAIN = """
server.bind = "127.0.0.1"
server.port = {port}
server.document-root = "{folder}"
server.upload-dirs = ( "{folder}/uploads" )
{main}
{example}
"""
