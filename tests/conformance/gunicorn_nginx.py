"""A pytest plugin for gunicorn's tests/docker/uwsgi: spile and nginx in place of its containers.

Their conftest.py, which needs Docker, is left out; what the tests take from it is here.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from harness import Site, Starter
from on_spile import finish, serve

conftest = types.ModuleType("conftest")
# A mark that skips without Docker.
conftest.docker_available = lambda tests: tests
sys.modules["conftest"] = conftest


@pytest.fixture(scope="session")
def site(request: pytest.FixtureRequest) -> Iterator[Site]:
    """As their nginx.conf and docker-compose.yml have it."""
    folder = Path(str(request.config.rootpath))
    params = (folder / "uwsgi_params").read_text() + ADDED_PARAMS
    starter = Starter()
    try:
        site = serve(
            starter, "app:application", folder, "-w", "2", params=params, directives=DIRECTIVES
        )
        yield site
        finish(site)
    finally:
        starter.close()


ADDED_PARAMS = """
uwsgi_param HTTP_X_FORWARDED_FOR $proxy_add_x_forwarded_for;
uwsgi_param HTTP_X_REAL_IP $remote_addr;
"""

DIRECTIVES = (
    "uwsgi_buffer_size 32k;",
    "uwsgi_buffers 8 32k;",
    "uwsgi_busy_buffers_size 64k;",
    "uwsgi_read_timeout 300s;",
)


@pytest.fixture
def nginx_url(site: Site) -> str:
    return f"http://127.0.0.1:{site.port()}"


@pytest.fixture
def session() -> Iterator[requests.Session]:
    with requests.Session() as session:
        session.headers["Connection"] = "keep-alive"
        yield session
