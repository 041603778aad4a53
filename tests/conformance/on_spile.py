"""What the suites' plugins share: an application of theirs on spile, behind nginx."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from harness import OWN_PARAMS, Site, Starter

HERE = Path(__file__).resolve().parent

#: Whether every application is wrapped in wsgiref.validate.
VALIDATED = os.environ.get("CONFORMANCE_VALIDATED") == "1"

#: nginx's own, for applications that want no type and no length rather than empty ones.
CGI_PARAMS = OWN_PARAMS.replace("$content_type;", "$content_type if_not_empty;").replace(
    "$content_length;", "$content_length if_not_empty;"
)

#: What wsgiref.validate says where nobody can hear an exception.
COMPLAINT = "Iterator garbage collected without being closed"


def serve(
    starter: Starter,
    app: str,
    folder: Path,
    *arguments: str,
    threads: int = 4,
    params: str = OWN_PARAMS,
    directives: Sequence[str] = (),
    servers: Mapping[str, Sequence[str]] | None = None,
    env: Mapping[str, str] | None = None,
) -> Site:
    """The application `module:callable` of a folder.

    `directives` are those of nginx's default server, unless there are others in `servers`.
    """
    env = dict(env or {})
    if VALIDATED:
        env["CONFORMANCE_APP"] = app
        app = "validated:application"
    site = starter.site(
        *(app, "--python", sys.executable, "--pythonpath", str(HERE), "--threads", str(threads)),
        *arguments,
        params=params,
        servers=servers or {"default": directives},
        cwd=folder,
        env=env,
    )
    # No test's time-out is spent on importing the application.
    site.spile.wait_for_log(" ready")
    return site


def finish(site: Site) -> None:
    """To be called when the tests are through: keeps the log of spile, and reads it."""
    log = site.spile.log
    with Path(os.environ["CONFORMANCE_SPILE_LOG"]).open("a") as kept:
        kept.write(log)
    assert COMPLAINT not in log, COMPLAINT
