"""The mold's lines of the log, in the format of the master's and the workers' (tracing's)."""

from __future__ import annotations

import datetime
import json
import os
from typing import Any

from ._spile import write_to_log

_LEVELS = ("error", "warn", "info", "debug", "trace")


class Log:
    """Lines on standard error."""

    #: What this process is among spile's.
    process = "mold"

    def __init__(self, config: dict[str, Any]) -> None:
        self._json = config.get("log_format") == "json"
        self._least = _LEVELS.index(config.get("log_level", "info"))

    def error(self, message: str, hint: str | None = None) -> None:
        self._write("error", message, hint)

    def warn(self, message: str, hint: str | None = None) -> None:
        self._write("warn", message, hint)

    def info(self, message: str) -> None:
        self._write("info", message, None)

    def debug(self, message: str) -> None:
        self._write("debug", message, None)

    def _write(self, level: str, message: str, hint: str | None) -> None:
        if _LEVELS.index(level) > self._least:
            return
        now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        if self._json:
            fields: dict[str, Any] = {"pid": os.getpid(), "process": self.process}
            fields.update(timestamp=now, level=level.upper(), message=message)
            if hint is not None:
                fields["hint"] = hint
            line = json.dumps(fields)
        else:
            line = f"{now} [{self.process} {os.getpid()}] {level.upper():>5} {message}"
            if hint is not None:
                line += f"\n  hint: {hint}"
        # A file's name may hold what is no text. In one piece: other processes write there too.
        text = f"{line}\n".encode("utf-8", "backslashreplace").decode()
        write_to_log(text, self.process, self._json)
