"""Runs Django's own tests with their requests over the wire: nginx, spile, and back (wire.py).

The test client's handler, and the server of LiveServerTestCase, are replaced by django_wire.py.
Only tests that made a request that way count; the others never came near a server.
"""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

#: The modules of Django's tests in which requests are made.
MODULES = Path(__file__).with_name("django_modules.txt")


def main() -> None:
    tests = Path.cwd()
    sys.path.insert(0, str(tests))
    import django_wire

    django_wire.install()
    chosen = sys.argv[1:] or MODULES.read_text().split()
    sys.argv = [
        str(tests / "runtests.py"),
        *("--settings", "django_settings", "--parallel", "1", "--noinput", "-v", "1"),
        *chosen,
    ]
    runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    main()
