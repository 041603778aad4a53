"""Requests that take longer than they may: interrupted, answered, and told where they hung."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from harness import Site, Starter

ONE_LANE = ("hanging:application", "--workers", "1", "--threads", "1")


@pytest.fixture(scope="module")
def site(start_once: Starter) -> Site:
    """One worker of one thread, which every test gives back."""
    return start_once.site(*ONE_LANE, "--request-timeout", "0.3")


def worker(site: Site) -> bytes:
    return site.get("/quick").body


def test_a_loop_is_interrupted_and_the_log_says_where_it_was(site: Site) -> None:
    before, since = worker(site), len(site.spile.log)
    assert site.get("/spin").status == 504
    log = site.spile.wait_for_log(
        "spile.RequestTimeout: the request takes longer than 0.3 s", since
    )
    assert "GET /spin takes longer than 0.3 s" in log
    place, traceback = log.split("GET /spin hangs at\n")[1].split(
        "GET /spin: the application failed\n"
    )
    for said in (place, traceback):
        assert "# the line where it hangs" in said
        assert 'hanging.py", line' in said
        assert "_mold.py" not in said
    assert worker(site) == before


def test_the_application_may_answer(site: Site) -> None:
    before = worker(site)
    answer = site.get("/caught")
    assert (answer.status, answer.reason) == (503, "Busy")
    assert answer.text == (
        "spile.RequestTimeout: the request takes longer than 0.3 s (--request-timeout)"
    )
    assert worker(site) == before


def test_a_frameworks_error_page_is_the_answer(site: Site) -> None:
    answer = site.get("/flask")
    assert (answer.status, answer.text) == (503, "the error page: RequestTimeout")


@pytest.mark.parametrize("wait", ["/sleep", "/receive", "/select", "/lock"])
def test_a_wait_on_the_main_thread_is_interrupted(site: Site, wait: str) -> None:
    before, since = worker(site), len(site.spile.log)
    assert site.get(wait).status == 504
    assert worker(site) == before
    assert "stuck" not in site.spile.log[since:]


def test_a_response_that_has_begun_is_broken_off(site: Site) -> None:
    before = worker(site)
    answer = site.get("/stream")
    assert (answer.status, answer.complete) == (200, False)
    assert worker(site) == before


def test_requests_of_the_limits_length_are_never_charged_wrongly(start: Starter) -> None:
    site = start.site(
        "hanging:application", "--workers", "1", "--threads", "3", "--request-timeout", "0.1"
    )
    before = worker(site)

    def ask(number: int) -> tuple[str, int]:
        if number % 3 == 0:
            return "quick", site.get("/quick").status
        # From clearly in time to just too late, and all between.
        return "pause", site.get(f"/pause?{0.09 + number % 30 / 2000:.4f}").status

    with ThreadPoolExecutor(3) as pool:
        answers = Counter(pool.map(ask, range(180)))
    assert answers["quick", 200] == 60
    assert answers["pause", 200] + answers["pause", 504] == 120
    assert answers["pause", 200] > 0
    assert answers["pause", 504] > 0
    assert worker(site) == before
    log = site.spile.log
    assert log.count("the application failed") == answers["pause", 504]
    assert "GET /quick" not in log
    assert "Exception ignored" not in log


# What nothing interrupts. Stopping, which ends each of these tests too, does not wait for it.


def test_c_code_is_left_alone_and_its_client_gets_504(start: Starter) -> None:
    site = start.site(*ONE_LANE, "--request-timeout", "0.3")
    answer = site.get("/c")
    assert (answer.status, answer.body) == (504, b"504 Gateway Timeout\n")
    log = site.spile.wait_for_log("GET /c was cut off after 2.")
    assert "in deadlock" in log.split("GET /c hangs at\n")[1]


def test_c_code_that_holds_the_interpreter_is_no_different(start: Starter) -> None:
    site = start.site(*ONE_LANE, "--request-timeout", "0.3")
    assert site.get("/c_with_lock").status == 504
    site.spile.wait_for_log("GET /c_with_lock was cut off after 2.")


def test_another_thread_serves_on(start: Starter) -> None:
    site = start.site(
        "hanging:application", "--workers", "1", "--threads", "2", "--request-timeout", "0.3"
    )
    before = worker(site)
    with ThreadPoolExecutor(1) as pool:
        stuck = pool.submit(site.get, "/c")
        site.spile.wait_for_log("GET /c takes longer than 0.3 s")
        assert worker(site) == before
        while not stuck.done():
            assert site.get("/quick").status == 200
        assert stuck.result().status == 504
    assert "GET /quick takes" not in site.spile.log


def test_a_response_that_has_begun_in_c_code_is_broken_off(start: Starter) -> None:
    site = start.site(*ONE_LANE, "--request-timeout", "0.3")
    answer = site.get("/stream_c")
    assert (answer.status, answer.complete) == (200, False)
