"""--metrics, read as Prometheus reads it."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_plain

from harness import Answer, Starter, fetch, run_spile, wait_until
from harness.net import Port, connect, exchange
from harness.workers import stats

#: What Prometheus 3 sends.
ACCEPT = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
    "application/openmetrics-text;version=0.0.1;q=0.5,"
    "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)

NAMES = {
    "spile_build",
    "spile_uptime_seconds",
    "spile_requests",
    "spile_request_duration_seconds",
    "spile_requests_in_flight",
    "spile_request_bytes",
    "spile_response_bytes",
    "spile_refused",
    "spile_access_log_dropped",
    "spile_workers",
    "spile_workers_wanted",
    "spile_worker_rss_bytes",
    "spile_worker_restarts",
    "spile_reloads",
    "spile_listen_queue_length",
    "spile_listen_queue_limit",
}


@pytest.fixture(scope="module")
def port(start_once: Starter) -> Iterator[int]:
    port = Port()
    start_once.spile("hello://", "--metrics", f"127.0.0.1:{port.number}")
    yield port.number
    port.release()


def test_openmetrics_is_what_prometheus_gets(port: int) -> None:
    answer = fetch(port, "/metrics", headers=[("Accept", ACCEPT)])
    assert answer.status == 200
    kind = answer.header("Content-Type")
    assert kind == "application/openmetrics-text; version=1.0.0; charset=utf-8"
    families = {family.name: family for family in read_openmetrics(answer.text)}
    assert families.keys() == NAMES
    assert all(family.documentation for family in families.values())
    requests = families["spile_requests"]
    assert requests.type == "counter"
    assert {sample.labels["status"] for sample in requests.samples} >= {"2xx", "5xx"}
    assert {sample.labels["mount"] for sample in requests.samples} == {"/"}


def test_everybody_else_gets_the_older_text(port: int) -> None:
    answer = fetch(port, "/metrics")
    assert answer.header("Content-Type") == "text/plain; version=0.0.4; charset=utf-8"
    families = {family.name: family for family in read_plain(answer.text)}
    assert families["spile_requests"].type == "counter"
    assert families["spile_request_duration_seconds"].type == "histogram"
    assert families["spile_build_info"].samples[0].value == 1
    assert "unknown" not in {family.type for family in families.values()}


def test_head_has_the_head(port: int) -> None:
    answer = fetch(port, "/metrics", method="HEAD")
    assert (answer.status, answer.body) == (200, b"")
    assert int(answer.header("Content-Length") or 0) > 100


def test_nothing_else_is_there(port: int) -> None:
    assert fetch(port, "/").status == 404
    answer = fetch(port, "/metrics", method="POST", body=b"x")
    assert (answer.status, answer.header("Allow")) == (405, "GET, HEAD")


def test_clients_that_say_nothing_or_garbage_keep_nobody_from_the_metrics(port: int) -> None:
    address = ("127.0.0.1", port)
    silent = [connect(address) for _ in range(10)]
    exchange(address, b"\0" * 100_000)
    assert fetch(port, "/metrics").status == 200
    for sock in silent:
        sock.close()


def test_a_unix_socket_will_do(start: Starter) -> None:
    path = start.folder() / "metrics.sock"
    spile = start.spile("hello://", "--metrics", f"unix:{path}")
    received, _ = exchange(str(path), b"GET /metrics HTTP/1.0\r\n\r\n")
    assert b"spile_workers_wanted 1\n" in Answer.parse(received).body
    spile.stop()
    assert not path.exists()


def test_an_address_that_is_taken_is_an_error(start: Starter, port: int) -> None:
    folder = start.folder()
    arguments = ["--socket", "a.sock", "--metrics", f"127.0.0.1:{port}"]
    finished = run_spile("serve", "hello://", *arguments, cwd=folder)
    assert finished.status == 1
    assert f"no metrics: 127.0.0.1:{port} is in use" in finished.err
    assert "another --metrics" in finished.err


def value(port: int, name: str, **labels: str) -> float:
    """The sum of the samples of that name with those labels."""
    families = read_plain(fetch(port, "/metrics").text)
    samples = [sample for family in families for sample in family.samples if sample.name == name]
    assert samples, f"there is no {name}"
    return sum(one.value for one in samples if labels.items() <= one.labels.items())


def test_python_workers_are_summed_up_dead_ones_too(start: Starter, port: int) -> None:
    at = Port()
    site = start.site(
        *["held", "--mount", "/flask=flask_app:app", "-w", "2"],
        *["--metrics", f"127.0.0.1:{at.number}"],
    )

    def requests(**labels: str) -> float:
        return value(at.number, "spile_requests_total", **labels)

    for path in ["/pid", "/pid", "/raise", "/flask/none", "/flask/hello/you"]:
        site.get(path)
    wait_until(lambda: requests() == 5, "five requests")
    assert requests(mount="/", status="2xx") == 2
    assert requests(mount="/", status="5xx") == 1
    assert requests(mount="/flask", status="4xx") == 1
    assert value(at.number, "spile_worker_rss_bytes") > 1 << 20
    for worker in stats(site.spile)["workers"]:
        os.kill(worker["pid"], signal.SIGKILL)

    def restarts(reason: str) -> float:
        return value(at.number, "spile_worker_restarts_total", reason=reason)

    wait_until(lambda: restarts("killed") == 2, "two workers to be killed")
    assert requests() == 5
    assert value(at.number, "spile_request_duration_seconds_count") == 5
    assert value(at.number, "spile_request_duration_seconds_bucket", le="+Inf") == 5
    assert site.get("/pid").status == 200
    assert site.spile.control("reload").status == 0
    wait_until(lambda: requests() == 6, "the sixth request")
    wait_until(lambda: restarts("reload") == 2, "two workers to be replaced")
    assert value(at.number, "spile_reloads_total", result="success") == 1
    # Python or not, the names are the same.
    native, python = (
        {family.name for family in read_openmetrics(answer.text)}
        for answer in (
            fetch(it, "/metrics", headers=[("Accept", ACCEPT)]) for it in (port, at.number)
        )
    )
    assert native == python == NAMES
    at.release()
