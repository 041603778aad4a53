"""bjoern has no command of its own: serve_bjoern.py SOCKET MODULE:CALLABLE."""

import importlib
import sys

import bjoern

socket, application = sys.argv[1:]
module, _, name = application.partition(":")
sys.path.insert(0, "")
bjoern.run(getattr(importlib.import_module(module), name), f"unix:{socket}")
