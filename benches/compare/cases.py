"""What is compared, and what the figures have to be: the least that spile promises."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from gauge import Load
from servers import Work

MIB = 1 << 20

#: All that speak for a small WSGI application.
EVERYBODY = ("spile", "uwsgi", "gunicorn", "granian", "bjoern")


@dataclass(frozen=True)
class Case:
    """Some work, who does it, and what it may cost."""

    name: str
    #: For tables.
    title: str
    work: Work
    #: Keys of servers; the first is the one that the goal is about.
    servers: Sequence[str]
    #: The server that it is held against; "alone" is itself, without the silent connections.
    against: str
    #: The most that the figure may be.
    goal: float
    #: What the figure is: "cpu", processor time as a part of the other's; "p99", a part of that
    #: without silent connections; "memory", bytes a connection.
    figure: str = "cpu"
    path: str = "/"
    load: Load = field(default_factory=Load)
    #: The part of full load that the load is; the rate is measured before the first round.
    part_of_full: float | None = None
    #: The body that has to come back, or its length.
    answer: bytes | int = b"hello, world\n"
    #: A body to post when the answer is checked.
    post: bytes | None = None
    #: For nginx: directives of the server, and what takes the place of its uwsgi_params.
    directives: Sequence[str] = ()
    params: str | None = None
    #: Bytes of a file to serve, at $BENCH_FILE.
    file: int = 0
    #: Connections that are open and silent.
    silent: int = 0


#: The bodies of requests stay in nginx's memory, or go to the server as they come.
BUFFERED = (f"client_body_buffer_size {32 * MIB};",)
UNBUFFERED = ("uwsgi_request_buffering off;",)


def upload(name: str, title: str, size: int, *, goal: float, buffered: bool = True) -> Case:
    """A POST whose body is read 64 KiB at a time, to two workers."""
    return Case(
        f"upload-{name}" if buffered else f"upload-{name}-unbuffered",
        f"upload of {title}" if buffered else f"upload of {title}, not buffered by nginx",
        Work("pages:received", workers=2),
        ("spile", "uwsgi"),
        against="uwsgi",
        goal=goal,
        load=Load(connections=8, post=size),
        post=b"x" * size,
        answer=b"%d\n" % size,
        directives=BUFFERED if buffered else UNBUFFERED,
    )


CASES: Mapping[str, Case] = {
    case.name: case
    for case in (
        Case(
            "wsgi-hello",
            "WSGI hello, one worker, one thread",
            Work("pages:hello"),
            (*EVERYBODY, "floor"),
            against="uwsgi",
            goal=0.75,
        ),
        Case(
            "wsgi-idle-workers",
            "WSGI hello, 8 workers, a tenth of the load",
            Work("pages:hello", workers=8),
            ("spile", "uwsgi", "uwsgi-lock"),
            against="uwsgi",
            goal=0.8,
            part_of_full=0.1,
        ),
        Case(
            "wsgi-threads",
            "WSGI hello, one worker, 8 threads",
            Work("pages:hello", threads=8),
            ("spile", "uwsgi", "gunicorn", "granian"),
            against="uwsgi",
            goal=0.8,
        ),
        Case(
            "flask-hello",
            "Flask hello",
            Work("flask_app:app"),
            EVERYBODY,
            against="uwsgi",
            goal=1.0,
            path="/hello/world",
            answer=b"Hello, world!",
        ),
        Case(
            "django-hello",
            "Django hello",
            Work("django_app.wsgi:application"),
            EVERYBODY,
            against="uwsgi",
            goal=1.0,
            path="/hello/world",
            answer=b"Hello, world!",
        ),
        Case(
            "post-10k",
            "POST of 10 KB, read and echoed",
            Work("pages:echo"),
            ("spile", "uwsgi"),
            against="uwsgi",
            goal=0.9,
            load=Load(post=10 << 10),
            post=b"x" * (10 << 10),
            answer=b"x" * (10 << 10),
        ),
        upload("64k", "64 KiB", 64 << 10, goal=1.15),
        upload("64k", "64 KiB", 64 << 10, goal=1.15, buffered=False),
        upload("256k", "256 KiB", 256 << 10, goal=1.15),
        upload("1m", "1 MiB", MIB, goal=1.15),
        upload("1m", "1 MiB", MIB, goal=1.15, buffered=False),
        upload("5m", "5 MiB", 5 * MIB, goal=1.3),
        upload("20m", "20 MiB", 20 * MIB, goal=1.3),
        upload("20m", "20 MiB", 20 * MIB, goal=1.3, buffered=False),
        Case(
            "list-1m",
            "1 MB response from a list",
            Work("pages:megabyte"),
            ("spile", "uwsgi"),
            against="uwsgi",
            goal=0.9,
            answer=MIB,
        ),
        Case(
            "file-100m",
            "100 MB file through file_wrapper",
            Work("pages:file"),
            ("spile", "uwsgi"),
            against="uwsgi",
            goal=0.9,
            load=Load(connections=2, response=100 * MIB),
            answer=100 * MIB,
            # Or nginx would write what wrk has not read yet to a disk.
            directives=("uwsgi_max_temp_file_size 0;",),
            file=100 * MIB,
        ),
        Case(
            "chunks-1000",
            "1,000 small chunks from a generator",
            Work("pages:chunks"),
            ("spile", "uwsgi"),
            against="uwsgi",
            goal=0.9,
            answer=33 * 1000,
        ),
        Case(
            "native-hello",
            "`spile serve hello://`",
            Work("hello://"),
            ("spile", "floor"),
            against="floor",
            goal=1.15,
        ),
        Case(
            "native-axum",
            "an axum route through the tower adapter",
            Work("axum"),
            ("axum", "floor"),
            against="floor",
            goal=1.5,
            answer=b"hello\n",
        ),
        Case(
            "idle-connections",
            "memory of an idle connection that has sent nothing",
            Work("pages:hello"),
            ("spile", "uwsgi"),
            against="",
            goal=4096,
            figure="memory",
            silent=10_000,
        ),
        Case(
            "silent-load",
            "p99 of a load with 10,000 silent connections beside it",
            Work("pages:hello"),
            ("spile",),
            against="alone",
            goal=1.2,
            figure="p99",
            silent=10_000,
        ),
    )
}
