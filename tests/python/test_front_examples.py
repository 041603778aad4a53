"""The configurations in `nginx/`, as far as the tests of requests and responses leave them out."""

from __future__ import annotations

import pytest

from harness import Starter
from harness.fronts import KINDS, FrontSite, Upstream, upstream
from harness.lighttpd import Lighttpd
from harness.nginx import ExampleNginx
from harness.site import APPS, Site

HELLO = (APPS / "static/hello.txt").read_bytes()


@pytest.fixture(scope="module")
def upstream_alone(start_once: Starter) -> Upstream:
    return upstream(start_once, "fronts:application")


@pytest.mark.parametrize("kind", ["nginx", "apache", "lighttpd"])
def test_static_files_come_from_the_front_server(
    start: Starter, upstream_alone: Upstream, kind: str
) -> None:
    (found,) = [it for it in KINDS if it.name == kind]
    site = FrontSite(found, upstream_alone, start)
    assert site.get("/static/hello.txt").body == HELLO
    assert site.get("/static/none.txt").status == 404
    assert site.get("/hello").body == b"hello, world\n"


def test_files_that_the_application_allows(start: Starter, upstream_alone: Upstream) -> None:
    private = upstream_alone.files / "private"
    private.mkdir()
    (private / "a report.txt").write_bytes(b"private")
    changes = upstream_alone.unix
    nginx = start.add(ExampleNginx("x-accel-redirect.conf", changes, start.folder()))
    site = Site(upstream_alone.spile, nginx)

    allowed = "/sent_by_nginx?path=/private/a%2520report.txt"
    answer = site.get(allowed)
    assert (answer.status, answer.body) == (200, b"private")
    assert answer.header("X-Accel-Redirect") is None
    assert site.get(allowed, headers=[("Range", "bytes=0-2")]).body == b"pri"
    assert site.get("/private/a%20report.txt").status == 404


def test_lighttpd_without_fix_root_scriptname(start: Starter, upstream_alone: Upstream) -> None:
    """It takes the first part of a path for a script: a mount at the root misses that part."""
    changes = [*upstream_alone.unix, ('"fix-root-scriptname" => "enable"', "")]
    lighttpd = start.add(Lighttpd(changes, start.folder()))
    site = Site(upstream_alone.spile, lighttpd)

    whole = site.get("/request").json()["strings"]
    assert (whole["SCRIPT_NAME"], whole["PATH_INFO"]) == ("", "/request")
    split = site.get("/x/request/y").json()["strings"]
    assert (split["SCRIPT_NAME"], split["PATH_INFO"]) == ("/x", "/request/y")
