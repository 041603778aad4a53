# ruff: noqa: E402
# Which Python this is, and whether it has spile. Run with -c; prints one line of JSON.
import sys

# "" is the current directory, where the application may have a module named like one of Python's.
sys.path = [entry for entry in sys.path if entry]

import json

facts = {
    "version": ".".join(map(str, sys.version_info[:3])),
    "prefix": sys.prefix,
    "venv": sys.prefix != getattr(sys, "base_prefix", sys.prefix),
    "spile": None,
    "location": None,
    "error": None,
}
try:
    import spile

    # A folder that only happens to be named spile imports as a namespace, without a file.
    if getattr(spile, "__file__", None):
        facts["location"] = spile.__file__
        from importlib import metadata

        facts["spile"] = metadata.version("spile")
except Exception as error:
    missing = isinstance(error, ModuleNotFoundError) and error.name == "spile"
    if not missing:
        facts["error"] = f"{type(error).__name__}: {error}"
print("\n" + json.dumps(facts))
