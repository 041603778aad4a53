"""The console script: hands its arguments to the same Rust ``main`` as the spile binary."""

import signal
import sys

from ._spile import main as run


def main() -> None:
    # Python's own handler would make a KeyboardInterrupt of the signal that Rust acts on.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    sys.exit(run(["spile", *sys.argv[1:]], sys.executable or None))


if __name__ == "__main__":
    main()
