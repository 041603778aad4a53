"""wsgi.input beyond PEP 3333: what libraries expect of a file, in memory and in a real one."""

from __future__ import annotations

import hashlib
import io
import random

import pytest

import inputs
from harness import Site, Starter

WORDS = random.Random(2).randbytes(20_000_000)
SHORT = b"first line\nsecond\n\nfourth, longer than the others\nno newline at the end"
#: Lines of all lengths up to a quarter of a megabyte, so many that they go into a file.
LONG = SHORT + b"".join(
    WORDS[at : at + 250_000].replace(b"\n", b"x") + b"\n" for at in range(0, len(WORDS), 250_000)
)
LONG += WORDS[:1_000_000]

BODIES = pytest.mark.parametrize("body", [SHORT, LONG, b""], ids=["memory", "file", "nothing"])


@pytest.fixture(scope="module")
def site(start_once: Starter) -> Site:
    return start_once.site("inputs:application")


@BODIES
def test_a_file_like_any_other(site: Site, body: bytes) -> None:
    for plan in (
        "tell,read:4,tell,seek:1,tell,read:3,seek:0,read:1",
        "seek:5,readline,tell,seek:0:2,read,tell",
        "seek:-3:2,read,seek:-10:1,read:4,tell",
        "seek:1000000000,read,readline,readlines,tell,seek:-10:1,tell,seek:-2000000000:1,read:2",
        "read1:5,read1:3,readline",
        "readinto:4,readinto:0,readinto1:10,tell,seek:0,readinto:70000,tell",
        "read:9000,readline,readline,read:7000,readline:100000,tell",
        "readlines:400000,readline:5,iter:2,read:20000",
        "seek:-100:2,readline,iter,readinto:5",
        "text,read",
        "readline,buffered,read",
        "read,seek:0,read",
    ):
        expected = inputs.play(io.BytesIO(body), plan)
        assert site.spile.ask(f"/ops?{plan}", "POST", body).json() == expected, plan


@BODIES
def test_read1_and_peek_without_a_number_give_some(site: Site, body: bytes) -> None:
    for plan in ("read1,tell", "peek,tell", "read:3,peek:2,tell"):
        *_, got, position = site.spile.ask(f"/ops?{plan}", "POST", body).json()
        start = 3 if plan.startswith("read:") and body else 0
        assert body[start:].startswith(got.encode("latin-1"))
        assert bool(got) == bool(body)
        assert position == (len(got) if plan.startswith("read1") else start)


@BODIES
def test_what_it_says_of_itself(site: Site, body: bytes) -> None:
    refused = {
        "fileno": "UnsupportedOperation",
        "detach": "UnsupportedOperation",
        "truncate": "UnsupportedOperation",
        "write": "UnsupportedOperation",
        "writelines": "UnsupportedOperation",
        "read a word": "TypeError",
        "readinto bytes": "TypeError",
        "readinto text": "TypeError",
        "seek before it": "ValueError",
        "seek from nowhere": "ValueError",
    }
    closed = ("read", "readline", "readlines", "tell", "readable", "flush", "__iter__")
    refused |= {f"closed: {name}": "ValueError" for name in closed}
    first = body[:3].decode()
    assert site.spile.ask("/file", "POST", body).json() == {
        "is": [True, True, False],
        "can": [True, True, False, False],
        "refuses": refused,
        "first": [first, first, False],
        "closed": True,
    }


@BODIES
def test_threads_that_read_one_input_share_it_out(site: Site, body: bytes) -> None:
    pieces = [body[at : at + 50_000] for at in range(0, len(body), 50_000)]
    expected = sorted(hashlib.sha256(piece).hexdigest() for piece in pieces)
    assert sorted(site.spile.ask("/threads", "POST", body).json()) == expected


def test_an_input_that_is_kept_outlives_its_request(site: Site) -> None:
    body = b"kept for later"
    assert site.spile.ask("/keep", "POST", body).json() == "kept"
    assert site.spile.ask("/kept", "POST", b"another").json() == " for later"
