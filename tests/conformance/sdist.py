"""The tests of others: source distributions from PyPI, unpacked once below the cache folder."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import tempfile
from importlib import metadata
from pathlib import Path


def unpacked(package: str, cache: Path) -> Path:
    """The source of the version that is installed here; downloaded unless it is there."""
    version = metadata.version(package)
    folder = cache / f"{package.lower()}-{version}"
    if not folder.is_dir():
        print(f"conformance: downloading the source of {package} {version}", file=sys.stderr)
        with tempfile.TemporaryDirectory(dir=cache) as scratch:
            download(f"{package}=={version}", Path(scratch)).rename(folder)
    return folder


def download(requirement: str, folder: Path) -> Path:
    """Fetches and unpacks a source distribution: the one folder that is in it."""
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"),
            *("--no-deps", "--no-binary", ":all:", "--dest", str(folder), requirement),
        ],
        check=True,
    )
    (archive,) = folder.iterdir()
    with tarfile.open(archive) as tar:
        # The filter came with security releases of the Python versions that are served.
        if hasattr(tarfile, "data_filter"):
            tar.extractall(folder, filter="data")
        else:
            tar.extractall(folder)
    (source,) = (path for path in folder.iterdir() if path.is_dir())
    return source
