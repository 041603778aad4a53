"""How the cost of a request grows: `make bench SCALE=1`. A plot and a JSON document each."""

from __future__ import annotations

import dataclasses
import resource
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable

import measure
from cases import MIB, Case
from gauge import Load
from servers import Work

KIB = 1 << 10

#: The bodies of responses and requests are kept off the disk.
IN_MEMORY = ("uwsgi_max_temp_file_size 0;", f"client_body_buffer_size {16 * MIB};")


@dataclass(frozen=True)
class Study:
    """One case at growing sizes."""

    name: str
    title: str
    #: What grows.
    unit: str
    values: Sequence[int]
    servers: Sequence[str]
    case: Callable[[int], Case]


def hello(work: Work, **more: Any) -> Case:
    """The hello of the other cases, with what a study changes."""
    case = Case("", "", work, (), against="uwsgi", goal=0)
    return dataclasses.replace(case, **more)


def with_variables(count: int) -> Case:
    """So many variables: four, the host, and small ones."""
    needed = ("REQUEST_METHOD $request_method", "PATH_INFO $document_uri")
    needed += ("QUERY_STRING $query_string", "SERVER_PROTOCOL $server_protocol")
    small = tuple(f'VARIABLE_{number:04} "a value of twenty-two"' for number in range(count - 5))
    # nginx sends the request's own header, Host, by itself.
    params = "".join(f"uwsgi_param {param};\n" for param in needed + small)
    # By default uWSGI takes 4 KiB of variables.
    work = Work("pages:hello", options={"uwsgi": ["--buffer-size", "65535", "--max-vars", "1024"]})
    return hello(work, params=params)


def with_response(size: int) -> Case:
    load = Load(connections=8, response=size if size >= 100 * KIB else None)
    return hello(
        Work("pages:sized"), path=f"/?{size}", load=load, answer=size, directives=IN_MEMORY
    )


def with_request(size: int) -> Case:
    return hello(
        Work("pages:received"),
        load=Load(connections=8, post=size),
        post=b"x" * size,
        answer=b"%d\n" % size,
        directives=IN_MEMORY,
    )


def with_workers(count: int) -> Case:
    return hello(Work("pages:hello", workers=count))


def with_idle_workers(count: int) -> Case:
    return hello(Work("pages:hello", workers=count), part_of_full=0.1)


def with_connections(count: int) -> Case:
    listen = min(4096, int(Path("/proc/sys/net/core/somaxconn").read_text()))
    # uWSGI's own 100 would be full at once.
    work = Work("pages:hello", options={"uwsgi": ["--listen", str(listen)]})
    # nginx has two for each.
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2 - 250
    return hello(work, load=Load(connections=min(count, most)))


BODIES = (0, KIB, 4 * KIB, 16 * KIB, 64 * KIB, 256 * KIB, MIB, 10 * MIB)
WORKERS = (1, 2, 4, 8, 16, 32)

STUDIES: Mapping[str, Study] = {
    study.name: study
    for study in (
        Study(
            "scale-variables",
            "WSGI hello, by the number of variables",
            "variables",
            (5, 10, 25, 50, 100, 250, 500, 1000),
            ("spile", "uwsgi", "floor"),
            with_variables,
        ),
        Study(
            "scale-response",
            "a response of so many bytes from a list",
            "bytes",
            BODIES,
            ("spile", "uwsgi", "floor"),
            with_response,
        ),
        Study(
            "scale-request",
            "a POST of so many bytes, read",
            "bytes",
            BODIES,
            ("spile", "uwsgi"),
            with_request,
        ),
        Study(
            "scale-workers",
            "WSGI hello at full load, by the number of workers",
            "workers",
            WORKERS,
            ("spile", "uwsgi", "uwsgi-lock"),
            with_workers,
        ),
        Study(
            "scale-workers-idle",
            "WSGI hello at a tenth of the load, by the number of workers",
            "workers",
            WORKERS,
            ("spile", "uwsgi", "uwsgi-lock"),
            with_idle_workers,
        ),
        Study(
            "scale-connections",
            "WSGI hello, by the number of connections to nginx",
            "connections",
            (1, 4, 16, 64, 256, 1000, 4000, 10_000),
            ("spile", "uwsgi", "floor"),
            with_connections,
        ),
    )
}


def run(study: Study, keys: Sequence[str], plan: measure.Plan) -> dict[str, Any]:
    """A line for each server: what measure.run says of it at each value."""
    points: dict[str, list[dict[str, Any]]] = {key: [] for key in keys}
    for value in study.values:
        case = dataclasses.replace(study.case(value), name=f"{study.name}, {value}", servers=keys)
        for row in measure.run(case, keys, plan)["rows"]:
            points[row["server"]].append({"value": value, **row})
    return {
        "name": study.name,
        "title": study.title,
        "unit": study.unit,
        "values": list(study.values),
        "servers": points,
    }
