"""What an application may answer, and what becomes of it: PEP 3333, rules 5 to 11."""

from __future__ import annotations

import random
import socket
from pathlib import Path
from urllib.parse import quote

import pytest

import responses
from harness import Answer, Site, Starter, wait_until
from harness.http import finish, open_request
from harness.spile import without

CONTENT = random.Random(2).randbytes(1_000_003)


@pytest.fixture(scope="module")
def site(start_once: Starter, transport: str) -> Site:
    return start_once.site(
        "responses:application",
        "--threads",
        "2",
        socket=transport,
        servers={"unbuffered": ["uwsgi_buffering off;"]},
    )


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("files") / "content"
    path.write_bytes(CONTENT)
    return path


def counted(site: Site, key: str) -> int:
    return int(site.get(f"/count?key={key}").body)


def assert_closed_once(site: Site, key: str) -> None:
    wait_until(lambda: counted(site, key), "close()")
    assert counted(site, key) == 1


def without_date(answer: Answer) -> list[tuple[str, str]]:
    return [(name, value) for name, value in answer.headers if name != "Date"]


def raw(site: Site, path: str, method: str = "GET") -> tuple[bytes, bytes]:
    """Head and body as spile sends them, before nginx touches them."""
    with site.spile.connect() as connection:
        received, _ = connection.request(path, method).read_to_end()
    head, _, body = received.partition(b"\r\n\r\n")
    return head, body


def assert_internal_error(answer: Answer, *secrets: str) -> None:
    """A 500 that is whole and tells the client nothing about the cause."""
    assert answer.status == 500, answer.text[:500]
    assert answer.complete
    for word in ("Traceback", ".py", *secrets):
        assert word not in answer.text


# Rule 5: start_response and the moment the headers go out.


@pytest.mark.parametrize("view", ["hello", "hello_tuple", "hello_generator"])
def test_start_response_before_or_while_iterating(site: Site, view: str) -> None:
    answer = site.get(f"/{view}")
    assert (answer.status, answer.reason) == (200, "OK")
    assert answer.header("Content-Type") == "text/plain"
    assert answer.body == b"hello, world\n"
    assert answer.complete


def test_start_response_after_empty_chunks(site: Site) -> None:
    answer = site.get("/started_after_empty_chunks")
    assert (answer.status, answer.body) == (200, b"late start")


@pytest.mark.parametrize(
    "view", ["never_started", "never_started_empty", "chunk_before_start", "closes_without_start"]
)
def test_no_start_response_is_an_error(site: Site, view: str) -> None:
    seen = len(site.spile.log)
    assert_internal_error(site.get(f"/{view}"))
    site.spile.wait_for_log("start_response", since=seen)


def test_a_response_without_chunks(site: Site) -> None:
    answer = site.get("/no_chunks")
    assert (answer.status, answer.reason, answer.body) == (202, "Accepted", b"")
    assert answer.header("X-Kind") == "empty"
    assert answer.complete


def test_a_response_of_empty_chunks(site: Site) -> None:
    answer = site.get("/empty_chunks_only")
    assert (answer.status, answer.body, answer.complete) == (200, b"", True)


def test_the_old_sequence_protocol_is_an_iterable_too(site: Site) -> None:
    assert site.get("/sequence_protocol").body == b"abc"


def test_write_alone(site: Site) -> None:
    assert site.get("/write_only").body == b"one two"


def test_written_bytes_come_before_the_iterable(site: Site) -> None:
    """granian has no write()."""
    assert site.get("/write_then_iterable").body == (
        b"written first, and second, iterated third, and fourth"
    )


@pytest.mark.parametrize("too", ["", "a block"], ids=["nothing", "a block"])
def test_returning_while_another_thread_writes(
    start: Starter, key: str, gate: Path, too: str
) -> None:
    swift, slow = 32 << 20, 8 << 20
    spile = start.spile("responses:application", "--threads", "2")
    with spile.connect() as connection:
        path = f"/written_by_a_thread?key={key}&gate={gate}&size={swift + slow}&too={quote(too)}"
        received = connection.request(path).read_until(b"\r\n\r\n")
        # For a client that has been so quick the thread waits four seconds.
        while len(received) < swift:
            received += connection.socket.recv(1 << 20)
        gate.touch()
        wait_until(lambda: spile.ask(f"/count?key={key}").text == "1", "the application's end")
        rest, end = connection.read_to_end()
    body = (received + rest).partition(b"\r\n\r\n")[2]
    assert body == b"x" * (swift + slow)
    assert end == ("reset" if too else "eof")
    if too:
        spile.wait_for_log("two threads use one response")


def test_write_refuses_str(site: Site) -> None:
    seen = len(site.spile.log)
    assert_internal_error(site.get("/write_str"))
    site.spile.wait_for_log("str", since=seen)


# Rule 6: start_response again.


@pytest.mark.parametrize("view", ["replaced", "replaced_after_empty_chunks"])
def test_exc_info_before_the_headers_went_out_replaces_them(site: Site, view: str) -> None:
    answer = site.get(f"/{view}")
    assert (answer.status, answer.reason, answer.body) == (503, "Replaced", b"replaced")
    assert answer.header("X-Second") == "2"
    assert answer.header("X-First") is None


@pytest.mark.parametrize("view", ["too_late_to_replace", "too_late_after_write"])
def test_exc_info_after_the_headers_went_out_is_raised_again(
    site: Site, key: str, view: str
) -> None:
    seen = len(site.spile.log)
    answer = site.get(f"/{view}?key={key}")
    assert answer.status == 200
    assert not answer.complete
    assert b"did not raise" not in answer.body
    assert counted(site, key) == 1
    assert "the application's own error" in site.spile.log[seen:]


def test_exc_info_on_the_first_call(site: Site) -> None:
    answer = site.get("/first_start_with_exc_info")
    assert (answer.status, answer.reason, answer.body) == (500, "Oops", b"oops")


def test_exc_info_may_be_none(site: Site) -> None:
    assert site.get("/exc_info_none").body == b"fine"


def test_a_second_call_without_exc_info_is_an_error(site: Site) -> None:
    seen = len(site.spile.log)
    assert_internal_error(site.get("/started_twice"))
    site.spile.wait_for_log("start_response", since=seen)


# Rule 7: nothing is held back.


@pytest.mark.every_transport
@pytest.mark.parametrize("view", ["streams", "streams_with_length", "write_streams"])
def test_a_chunk_is_sent_before_the_next_is_made(site: Site, view: str, gate: Path) -> None:
    connection = open_request(site.port("unbuffered"), f"/{view}?gate={gate}")
    response = connection.getresponse()
    assert response.status == 200
    assert response.read(6) == b"first\n"
    # Only now may the application go on.
    gate.touch()
    assert finish(response).body == b"second\n"
    connection.close()


@pytest.mark.every_transport
@pytest.mark.parametrize("view", ["streams", "write_streams"])
def test_the_head_goes_out_with_the_first_chunk(site: Site, view: str, gate: Path) -> None:
    with site.spile.connect() as connection:
        connection.request(f"/{view}?gate={gate}")
        assert connection.read_until(b"first\n").endswith(b"\r\n\r\nfirst\n")
        gate.touch()
        assert connection.read_to_end() == (b"second\n", "eof")


@pytest.mark.every_transport
def test_ten_thousand_small_chunks(site: Site) -> None:
    assert site.get("/numbered?n=10000").body == b"".join(b"chunk %d\n" % n for n in range(10_000))


@pytest.mark.every_transport
def test_chunks_larger_than_any_socket_buffer(site: Site) -> None:
    body = site.get("/sized?size=3000000&n=4").body
    assert body == b"".join(bytes([65 + n]) * 3_000_000 for n in range(4))


# Rule 8: close().


@pytest.mark.parametrize(
    "path",
    [
        "closes",
        "raises_in_body",
        "raises_in_body_with_length",
        "raises_in_close",
        "str_chunk",
        "str_chunk_later",
        "closes_without_start",
        "length?declared=5",
        "length?declared=1000",
        "head_probe?as=generator",
        "bodyless?as=generator&line=204%20No%20Content",
        "bodyless?as=generator&line=304%20Not%20Modified",
    ],
)
def test_close_is_called_once(site: Site, key: str, path: str) -> None:
    method = "HEAD" if path.startswith("head") else "GET"
    site.fetch(f"/{path}{'&' if '?' in path else '?'}key={key}", method=method)
    assert_closed_once(site, key)


@pytest.mark.every_transport
def test_close_is_called_once_when_the_client_left(site: Site, key: str) -> None:
    connection = open_request(site.port("unbuffered"), f"/endless?key={key}")
    response = connection.getresponse()
    assert len(response.read(1000)) == 1000
    response.close()
    connection.close()
    assert_closed_once(site, key)


@pytest.mark.every_transport
def test_close_is_called_once_when_nginx_left(site: Site, key: str) -> None:
    with site.spile.connect() as connection:
        connection.request(f"/endless?key={key}")
        connection.read_until(b"x" * 1000)
    assert_closed_once(site, key)


def test_a_client_that_leaves_is_no_error(site: Site, key: str) -> None:
    seen = len(site.spile.log)
    with site.spile.connect() as connection:
        connection.request(f"/endless?key={key}")
        connection.read_until(b"x" * 1000)
    assert_closed_once(site, key)
    assert "Traceback" not in site.spile.log[seen:]


@pytest.mark.every_transport
@pytest.mark.parametrize(
    ("method", "parameters", "sent"),
    [
        ("HEAD", "", b""),
        ("GET", "&line=204%20No%20Content", b""),
        ("GET", "&line=304%20Not%20Modified", b""),
        ("GET", "&declared=100", b"x" * 100),
    ],
    ids=["HEAD", "204", "304", "Content-Length"],
)
def test_an_endless_body_ends_where_no_more_of_it_may_be_sent(
    site: Site, key: str, method: str, parameters: str, sent: bytes
) -> None:
    with site.spile.connect() as connection:
        connection.request(f"/endless?key={key}{parameters}", method)
        received, end = connection.read_to_end()
    assert received.partition(b"\r\n\r\n")[2] == sent
    assert end == "eof"
    assert_closed_once(site, key)


@pytest.mark.parametrize("method", ["HEAD", "GET"])
def test_writing_more_than_may_be_sent_ends_when_nginx_left(
    start: Starter, key: str, method: str
) -> None:
    spile = start.spile("responses:application", "--threads", "2")
    with spile.connect() as connection:
        connection.request(f"/endless_write?key={key}", method)
        connection.read_until(b"\r\n\r\n")
    wait_until(lambda: spile.ask(f"/count?key={key}").text == "1", "the application to be told")


def test_an_exception_in_close_costs_only_a_log_line(site: Site, key: str) -> None:
    seen = len(site.spile.log)
    answer = site.get(f"/raises_in_close?key={key}")
    assert (answer.status, answer.body) == (200, b"whole body")
    site.spile.wait_for_log("raised in close", since=seen)
    assert site.get("/hello").status == 200


# Rule 9: wsgi.file_wrapper.


@pytest.mark.every_transport
@pytest.mark.parametrize("length", ["", f"&length={len(CONTENT)}"], ids=["no length", "length"])
@pytest.mark.parametrize("block", ["", "&block=1000"], ids=["no block", "block"])
def test_a_file_is_sent_exactly(site: Site, file: Path, length: str, block: str) -> None:
    answer = site.get(f"/file?path={file}{length}{block}")
    assert answer.status == 200
    assert answer.body == CONTENT
    assert answer.complete


def test_a_file_starts_at_its_current_offset(site: Site, file: Path) -> None:
    assert site.get(f"/file?path={file}&seek=777").body == CONTENT[777:]


def test_the_offset_is_the_file_objects_and_not_the_descriptors(site: Site, file: Path) -> None:
    """A buffered file that gave 10 bytes has taken thousands from its descriptor."""
    assert site.get(f"/file?path={file}&read=10").body == CONTENT[10:]


def test_a_file_at_its_end_is_an_empty_body(site: Site, file: Path) -> None:
    answer = site.get(f"/file?path={file}&seek={len(CONTENT)}")
    assert (answer.status, answer.body, answer.complete) == (200, b"", True)


@pytest.mark.every_transport
def test_no_more_of_a_file_than_content_length(site: Site, file: Path) -> None:
    """How frameworks answer a range request."""
    head, body = raw(site, f"/file?path={file}&seek=100&length=50")
    assert body == CONTENT[100:150]
    assert b"Content-Length: 50" in head


@pytest.mark.every_transport
def test_a_file_shorter_than_content_length_is_not_complete(site: Site, file: Path) -> None:
    answer = site.get(f"/file?path={file}&seek=1000000&length=100")
    assert not answer.complete
    assert CONTENT[1000000:].startswith(answer.body)


@pytest.mark.every_transport
def test_a_head_request_for_a_file(site: Site, file: Path) -> None:
    head, body = raw(site, f"/file?path={file}&length={len(CONTENT)}", "HEAD")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert f"Content-Length: {len(CONTENT)}".encode() in head
    assert body == b""


def test_a_file_without_a_descriptor(site: Site, key: str) -> None:
    assert site.get(f"/file_without_descriptor?key={key}").body == b"0123456789" * 10_000
    assert_closed_once(site, key)


def test_a_file_whose_fileno_raises(site: Site) -> None:
    assert site.get("/file_bytes_io").body == (b"0123456789" * 10_000)[5:]


def test_a_file_with_nothing_but_read(site: Site) -> None:
    assert site.get("/file_without_close").body == b"only read()"


@pytest.mark.every_transport
@pytest.mark.parametrize("path", ["/proc/version", "/sys/kernel/mm/transparent_hugepage/enabled"])
def test_a_file_whose_size_is_not_what_it_holds(site: Site, path: str) -> None:
    """/proc has files of 0 bytes, and /sys of 4096, that hold something else."""
    if not Path(path).exists():
        pytest.skip("the kernel has no such file")
    answer = site.get(f"/file?path={path}")
    assert (answer.status, answer.complete) == (200, True)
    assert answer.body == Path(path).read_bytes()


def test_a_file_that_is_open_for_writing_alone(site: Site, file: Path) -> None:
    assert site.get(f"/file_for_writing?path={file}").status == 500


@pytest.mark.parametrize("error", ["EINVAL", "ENOSYS", "EPERM"])
def test_a_file_is_sent_where_sendfile_is_refused(start: Starter, file: Path, error: str) -> None:
    """By a file system that cannot do it, an old kernel, or a filter of system calls."""
    spile = start.spile(
        "responses:application",
        *("--mount", f"/static=static://{file.parent}"),
        launcher=without("sendfile", error),
    )
    for path in [f"/file?path={file}", f"/static/{file.name}"]:
        answer = spile.ask(path)
        assert (answer.status, answer.body, answer.complete) == (200, CONTENT, True)
    assert spile.ask(f"/file?path={file}&seek=100&length=50").body == CONTENT[100:150]
    part = spile.ask(f"/static/{file.name}", HTTP_RANGE="bytes=10-99")
    assert (part.status, part.body) == (206, CONTENT[10:100])
    with spile.connect() as connection:
        connection.request(f"/file?path={file}")
        # The one thread is free for others before this client has taken anything.
        assert spile.ask("/hello").status == 200
        assert connection.answer().body == CONTENT


def test_the_files_close_is_called(site: Site, file: Path, key: str) -> None:
    assert site.get(f"/file_closes?path={file}&key={key}").body == CONTENT
    assert_closed_once(site, key)


def test_middleware_may_iterate_the_wrapper(site: Site, key: str) -> None:
    assert site.get(f"/file_through_middleware?key={key}").body == b"LOWER CASE " * 1000
    assert_closed_once(site, key)


@pytest.mark.every_transport
def test_a_file_after_written_bytes(site: Site, file: Path) -> None:
    assert site.get(f"/file_after_write?path={file}").body == b"written, then: " + CONTENT


# A client that leaves while nothing is sent.


@pytest.mark.every_transport
@pytest.mark.parametrize("first", ["", "yes"], ids=["before the head", "after a block"])
@pytest.mark.parametrize("way", ["nginx", "itself"])
def test_a_client_that_leaves_ends_a_body_of_empty_blocks(
    site: Site, key: str, first: str, way: str
) -> None:
    """Nothing is written that could fail, and its thread would be lost."""
    path = f"/empty_blocks?key={key}&first={first}"
    if way == "nginx":
        client = open_request(site.port("unbuffered"), path)
    else:
        client = site.spile.connect().request(path).socket
    wait_until(lambda: counted(site, f"{key}-begun"), "the application to run")
    client.close()
    assert_closed_once(site, key)


def test_a_client_that_only_ends_its_side_is_waited_for(start: Starter) -> None:
    """On a unix socket, where it can be told from one that has left."""
    log = start.folder() / "access.log"
    spile = start.spile("responses:application", "--access-log", str(log), "-t", "2")
    with spile.connect() as connection:
        connection.request("/empty_blocks?key=ended&seconds=0.5").socket.shutdown(socket.SHUT_WR)
        assert connection.answer().body == b"last"
    with spile.connect() as connection:
        connection.request("/empty_blocks?key=left")
        wait_until(lambda: spile.ask("/count?key=left-begun").body == b"1", "it to run")
    wait_until(lambda: " 499 " in log.read_text(), "the access log to tell that it has left")


# Rule 10: what start_response accepts.


@pytest.mark.parametrize("which", responses.BAD_STATUSES)
def test_a_wrong_status_is_refused(site: Site, which: str) -> None:
    seen = len(site.spile.log)
    answer = site.get(f"/bad_status?which={quote(which)}")
    assert_internal_error(answer, "accepted")
    assert answer.header("X-Injected") is None
    assert "status" in site.spile.wait_for_log("Traceback", since=seen).lower()


@pytest.mark.parametrize("which", responses.BAD_HEADERS)
def test_a_wrong_header_is_refused(site: Site, which: str) -> None:
    seen = len(site.spile.log)
    answer = site.get(f"/bad_header?which={quote(which)}")
    assert_internal_error(answer, "accepted")
    assert answer.header("X-Injected") is None
    assert "header" in site.spile.wait_for_log("Traceback", since=seen).lower()


@pytest.mark.parametrize("which", [*responses.HOP_BY_HOP, "Connection", "TRANSFER-ENCODING"])
def test_a_hop_by_hop_header_is_left_out(site: Site, which: str) -> None:
    head, body = raw(site, f"/hop_by_hop?which={which}")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert f"\n{which}:".lower().encode() not in head.lower()
    assert body == b"accepted"
    answer = site.get(f"/hop_by_hop?which={which}")
    assert (answer.status, answer.body, answer.complete) == (200, b"accepted", True)


def test_events_as_their_examples_have_them(site: Site) -> None:
    answer = site.get("/events")
    assert (answer.status, answer.complete) == (200, True)
    assert answer.header("Content-Type") == "text/event-stream"
    assert answer.body == b"data: 1\n\ndata: 2\n\n"


def test_copied_headers_of_a_response_in_chunks(site: Site) -> None:
    """nginx makes chunks of its own; those that the application made are a body like any other."""
    answer = site.get("/proxied")
    assert (answer.status, answer.reason, answer.body) == (200, "OK", b"hello")
    assert answer.complete
    assert site.get("/proxied?as=chunks").body == b"5\r\nhello\r\n0\r\n\r\n"


@pytest.mark.parametrize(
    "given",
    ["length=11&length=11", "length=11,%2011", "length=11&length=11,11&length=%2011"],
)
def test_equal_lengths_count_as_one(site: Site, given: str) -> None:
    head, body = raw(site, f"/lengths?{given}")
    assert head.lower().count(b"content-length:") == 1
    assert body == b"hello world"
    answer = site.get(f"/lengths?{given}")
    assert (answer.header("Content-Length"), answer.body) == ("11", b"hello world")


@pytest.mark.parametrize("given", ["length=11&length=5", "length=11,5", "length=11&length=11,5"])
def test_different_lengths_are_refused(site: Site, given: str) -> None:
    seen = len(site.spile.log)
    assert_internal_error(site.get(f"/lengths?{given}"), "hello")
    site.spile.wait_for_log("Content-Length was given twice, as 11 and as 5", since=seen)


def test_a_status_without_a_reason_gets_the_usual_one(site: Site) -> None:
    for line, reason in [("200", "OK"), ("404", "Not Found"), ("299", "Unknown")]:
        head, _ = raw(site, f"/status?line={line}")
        assert head.split(b"\r\n")[0] == f"HTTP/1.1 {line} {reason}".encode()
        assert site.get(f"/status?line={line}").status == int(line)


def test_what_is_corrected_is_said_once_for_each_application(start: Starter) -> None:
    """Whichever worker answers, and whether or not another has said it."""
    spile = start.spile(
        "responses:application",
        "--mount",
        "/other=responses:application",
        *("--workers", "2", "--threads", "1", "--max-requests", "2"),
    )
    pids = set()
    for _ in range(100):
        for path in ["/events", "/proxied", "/other/events"]:
            assert spile.ask(path).status == 200
        pids.add(spile.ask("/pid").body)
        if len(pids) > 3:
            break
    assert len(pids) > 3
    lines = [line for line in spile.log.splitlines() if "answers with" in line]
    named = "answers with the hop-by-hop header"
    assert len(lines) == 3, spile.log
    assert f"the application at / {named} Connection" in lines[0]
    assert f"the application at / {named}s Keep-Alive, Transfer-Encoding" in lines[1]
    assert "a status without a reason" in lines[1]
    assert f"the application at /other {named} Connection" in lines[2]


def test_a_refusal_is_an_exception_the_application_can_handle(site: Site) -> None:
    answer = site.get("/bad_then_good")
    assert (answer.status, answer.reason, answer.body) == (200, "Handled", b"handled")


def test_the_reason_phrase_is_kept(site: Site) -> None:
    """granian loses it."""
    assert site.get("/reason").reason == "Fine By Me"


@pytest.mark.parametrize("line", ["201 Created", "299 Odd", "404 Not Here", "599 Whatever"])
def test_any_status_is_kept(site: Site, line: str) -> None:
    answer = site.get(f"/status?line={quote(line)}")
    assert f"{answer.status} {answer.reason}" == line
    assert answer.body == b"body"


def test_the_response_begins_with_an_http_status_line(site: Site) -> None:
    """`Status:` would reach nginx's client, and Apache refuses it."""
    head, _ = raw(site, "/reason")
    assert head.split(b"\r\n")[0] == b"HTTP/1.1 200 Fine By Me"
    assert b"\nstatus:" not in head.lower()
    assert b"transfer-encoding" not in head.lower()


def test_repeated_headers_keep_their_order(site: Site) -> None:
    answer = site.get("/repeated_headers")
    assert answer.all("Set-Cookie") == ["a=1", "b=2; Path=/", "c=3"]
    head, _ = raw(site, "/repeated_headers")
    names = [line.split(b":")[0] for line in head.split(b"\r\n")[1:]]
    assert names[:5] == [b"Content-Type", b"Set-Cookie", b"X-Between", b"Set-Cookie", b"Set-Cookie"]


def test_many_headers(site: Site) -> None:
    answer = site.get("/many_headers")
    got = [(name, value) for name, value in answer.headers if name.startswith("X-Field-")]
    assert got == [(f"X-Field-{n}", f"value {n}") for n in range(60)]


def test_latin_1_headers_go_out_as_they_are(site: Site) -> None:
    head, _ = raw(site, "/latin_1_headers")
    lines = head.split(b"\r\n")
    assert lines[0] == b"HTTP/1.1 200 Tr\xe8s bien"
    assert b"X-Name: J\xfcrgen" in lines
    assert site.get("/latin_1_headers").header("X-Name") == "J\xfcrgen"


def test_an_empty_header_value(site: Site) -> None:
    head, _ = raw(site, "/latin_1_headers")
    assert b"X-Empty:" in [line.rstrip() for line in head.split(b"\r\n")]


def test_header_names_keep_their_case(site: Site) -> None:
    assert b"X-mIxEd-CaSe: kept" in raw(site, "/header_case")[0].split(b"\r\n")


# Rule 10: the application's Content-Length.


@pytest.mark.every_transport
@pytest.mark.parametrize("view", ["length", "length_in_list"])
def test_no_more_than_content_length_is_sent(site: Site, view: str) -> None:
    head, body = raw(site, f"/{view}?declared=5")
    assert body == b"hello"
    assert head.lower().count(b"content-length") == 1
    answer = site.get(f"/{view}?declared=5")
    assert (answer.body, answer.complete) == (b"hello", True)


@pytest.mark.every_transport
@pytest.mark.parametrize("view", ["length", "length_in_list"])
def test_fewer_than_content_length_is_logged_and_not_complete(site: Site, view: str) -> None:
    seen = len(site.spile.log)
    answer = site.get(f"/{view}?declared=1234567")
    assert not answer.complete
    # A reset may overtake what was sent before it.
    assert b"hello world".startswith(answer.body)
    site.spile.wait_for_log("1234567", since=seen)


def test_exactly_content_length(site: Site) -> None:
    answer = site.get("/length?declared=11")
    assert (answer.body, answer.header("Content-Length")) == (b"hello world", "11")


@pytest.mark.parametrize("declared", ["-1", "abc", "", "1,2"])
def test_a_content_length_that_is_no_number_is_refused(site: Site, declared: str) -> None:
    seen = len(site.spile.log)
    assert_internal_error(site.get(f"/length?declared={declared}"))
    site.spile.wait_for_log("Content-Length", since=seen)


# Rule 11: lengths the server adds, and responses without a body.


def test_content_length_is_added_to_a_list_of_one(site: Site) -> None:
    head, body = raw(site, "/hello")
    assert b"Content-Length: 13" in head.split(b"\r\n")
    assert body == b"hello, world\n"


def test_content_length_is_not_guessed_for_a_generator(site: Site) -> None:
    head, _ = raw(site, "/hello_generator")
    assert b"content-length" not in head.lower()


@pytest.mark.parametrize("kind", ["list", "generator", "write", "declared"])
def test_head_has_the_headers_of_get_and_no_body(site: Site, kind: str, key: str) -> None:
    path = f"/head_probe?as={kind}&key={key}"
    get_head, get_body = raw(site, path)
    head_head, head_body = raw(site, path, "HEAD")
    assert get_body == b"body"
    assert head_body == b""
    assert head_head == get_head


def test_head_through_nginx(site: Site) -> None:
    answer = site.head("/hello")
    assert (answer.status, answer.body) == (200, b"")
    assert without_date(answer) == without_date(site.get("/hello"))


@pytest.mark.parametrize("line", ["204 No Content", "304 Not Modified"])
@pytest.mark.parametrize("kind", ["list", "generator"])
def test_a_status_without_a_body_has_none(site: Site, line: str, kind: str, key: str) -> None:
    path = f"/bodyless?line={quote(line)}&as={kind}&key={key}"
    head, body = raw(site, path)
    assert body == b""
    assert b"content-length" not in head.lower()
    answer = site.get(path)
    assert (f"{answer.status} {answer.reason}", answer.body) == (line, b"")
    assert answer.complete


@pytest.mark.parametrize("kind", ["list", "generator"])
def test_the_length_of_a_body_that_there_cannot_be_is_not_told(
    site: Site, kind: str, key: str
) -> None:
    """RFC 9110, section 8.6; with a 304 it is that of the body there would be."""
    path = f"/bodyless?as={kind}&key={key}&declared=16&line="
    head, body = raw(site, path + "204%20No%20Content")
    assert (b"content-length" in head.lower(), body) == (False, b"")
    head, body = raw(site, path + "304%20Not%20Modified")
    assert (b"Content-Length: 16" in head, body) == (True, b"")


@pytest.mark.parametrize("line", ["204 No Content", "304 Not Modified"])
def test_no_length_is_added_where_there_is_no_body(site: Site, line: str) -> None:
    head, body = raw(site, f"/bodyless_right?line={quote(line)}")
    assert (b"content-length" in head.lower(), body) == (False, b"")


# Errors of the application.


@pytest.mark.parametrize(
    ("view", "message"),
    [
        ("raises", "raised before start_response"),
        ("raises_after_start", "raised after start_response"),
        ("raises_before_first_chunk", "raised before the first chunk"),
        ("raises_after_empty_chunk", "raised after an empty chunk"),
        ("raises_a_surrogate", "a name that is no UTF-8: \\udcff"),
    ],
)
def test_an_exception_before_the_first_chunk_is_a_500(site: Site, view: str, message: str) -> None:
    """uWSGI sends the 200 with an empty body, or no byte at all."""
    seen = len(site.spile.log)
    assert_internal_error(site.get(f"/{view}"), message)
    log = site.spile.wait_for_log(message, since=seen)
    assert "Traceback (most recent call last)" in log
    assert f"in {view}" in log
    assert "responses.py" in log


@pytest.mark.every_transport
@pytest.mark.parametrize(
    ("view", "message", "sent"),
    [
        ("raises_in_body", "raised in mid-body", b"first chunk\nsecond chunk\n"),
        ("raises_in_body_with_length", "raised in mid-body", b"first chunk\nsecond chunk\n"),
        ("raises_after_write", "raised after write", b"written\n"),
        ("str_chunk_later", "not str", b"bytes first\n"),
    ],
)
@pytest.mark.parametrize("server", ["default", "unbuffered"])
def test_an_exception_in_mid_body_is_never_a_clean_end(
    site: Site, key: str, view: str, message: str, sent: bytes, server: str
) -> None:
    seen = len(site.spile.log)
    answer = site.get(f"/{view}?key={key}", server=server)
    assert not answer.complete
    assert answer.status == 200
    assert sent.startswith(answer.body)
    log = site.spile.wait_for_log(message, since=seen)
    # What the application did not raise itself has no traceback of its own.
    assert ("Traceback (most recent call last)" in log) == view.startswith("raises")


@pytest.mark.every_transport
@pytest.mark.parametrize("view", ["raises_in_body", "raises_after_write"])
def test_an_exception_in_mid_body_resets_the_connection(site: Site, view: str, key: str) -> None:
    with site.spile.connect() as connection:
        _, end = connection.request(f"/{view}?key={key}").read_to_end()
    assert end == "reset"


@pytest.mark.parametrize("kind", ["SystemExit", "KeyboardInterrupt"])
def test_an_application_cannot_end_its_worker(site: Site, kind: str) -> None:
    before = site.get("/pid").body
    seen = len(site.spile.log)
    assert_internal_error(site.get(f"/exits?kind={kind}"))
    site.spile.wait_for_log(kind, since=seen)
    assert site.get("/pid").body == before


# What is not an iterable of bytes.


def test_bare_bytes_are_one_chunk_with_one_warning(start: Starter) -> None:
    """Other servers accept them, so applications return them; byte by byte would be slow."""
    spile = start.spile("responses:application")
    for _ in range(3):
        answer = spile.ask("/bare_bytes")
        assert (answer.status, answer.body) == (200, b"bare bytes")
    spile.stop()
    warnings = [line for line in spile.log.splitlines() if "warn" in line.lower()]
    assert len([line for line in warnings if "bytes" in line]) == 1, warnings


@pytest.mark.parametrize(
    ("view", "found"),
    [
        ("str_chunk", "str"),
        ("str_chunk_in_list", "str"),
        ("bare_str", "str"),
        ("int_chunk", "int"),
        ("none", "None"),
        ("number", "int"),
    ],
)
def test_anything_but_bytes_is_a_500_that_names_the_type(
    site: Site, view: str, found: str, key: str
) -> None:
    seen = len(site.spile.log)
    assert_internal_error(site.get(f"/{view}?key={key}"))
    site.spile.wait_for_log(found, since=seen)


# Rule 4: wsgi.errors.


def test_errors_reach_the_log(site: Site) -> None:
    seen = len(site.spile.log)
    assert site.get("/errors").body == b"logged"
    log = site.spile.wait_for_log("without a newline", since=seen)
    for line in (
        "written to errors",
        "a line of several",
        "and another",
        "printed to errors Jürgen ☃",
        "in two pieces",
    ):
        assert line in log


# Between requests.


@pytest.mark.every_transport
def test_the_connection_ends_with_the_response(site: Site) -> None:
    """No nginx keeps a uwsgi connection, and Apache reads to its end."""
    with site.spile.connect() as connection:
        received, end = connection.request("/hello").read_to_end()
    assert received.endswith(b"hello, world\n")
    assert end == "eof"
