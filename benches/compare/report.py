"""The results for people: the table of README.md, and a page with everything."""

from __future__ import annotations

from typing import Any

from cases import Case

#: What the tables call the server that a case is held against.
SHORT = {"uwsgi": "uWSGI", "floor": "C loop", "alone": "without", "": ""}


#: What has to be known to read the tables right.
EXPLANATION = """\
CPU is user and system time of all processes of a server, and PSS their memory, without what the
kernel has for them. nginx makes a connection for each request to a uwsgi server; those to granian
and bjoern, which speak HTTP, it keeps, which spares them and itself an accept and a close. The C
loop accepts, reads, writes the bytes that spile answers with, and closes.
"""


def judged(case: Case, result: dict[str, Any]) -> dict[str, Any]:
    """A case's result with its figure, and whether that is as good as it has to be."""
    judgement = {
        "name": case.name,
        "title": case.title,
        "figure_of": case.figure,
        "server": case.servers[0],
        "against": case.against,
        **result,
    }
    one, other = compared(judgement)
    what = {"cpu": "cpu_us", "p99": "p99_ms", "memory": "bytes_per_connection"}[case.figure]
    figure = one.get(what)
    if figure is not None and case.against:
        figure = round(figure / other[what], 3) if what in other else None
    return {
        **judgement,
        "figure": figure,
        "goal": case.goal,
        "met": None if figure is None else figure <= case.goal,
    }


def summary(document: dict[str, Any]) -> str:
    """The table of README.md."""
    lines = [
        circumstances(document),
        "",
        "| case | beside | CPU a request, µs | of the other | ratio | at most | met | p99, ms "
        "| of the other |",
        "| --- |" + " --- |" * 8,
    ]
    for case in document["cases"]:
        one, other = compared(case)
        cells = [
            case["title"],
            SHORT[case["against"]],
            *(digits(row.get("cpu_us")) for row in (one, other)),
            *(amount(case, case[key]) for key in ("figure", "goal")),
            {True: "yes", False: "**no**", None: "not measured"}[case["met"]],
            *(digits(row.get("p99_ms")) for row in (one, other)),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def compared(case: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The rows that the figure comes from."""
    rows = {row["server"]: row for row in case["rows"]}
    return rows.get(case["server"], {}), rows.get(case["against"], {})


def circumstances(document: dict[str, Any]) -> str:
    machine, versions = document["machine"], document["versions"]
    names = {"spile": "spile", "uwsgi": "uWSGI"}
    programs = ", ".join(f"{names.get(name, name)} {version}" for name, version in versions.items())
    rounds = "One round" if document["rounds"] == 1 else f"Medians of {document['rounds']} rounds"
    command = f"`{document['command']}`{document.get('how', '')}"
    return (
        f"{command}, {document['date']}: {machine['processor']}, "
        f"{machine['processors']} processors, {machine['memory']}, Linux {machine['kernel']}; "
        f"{programs}. {rounds}, {document['seconds']} s of each server in each."
    )


def page(document: dict[str, Any]) -> str:
    """Everything: benches/results/latest.md."""
    parts = [
        "# What a request costs\n",
        summary(document),
        EXPLANATION,
        "![CPU time a request, as a part of that of uWSGI or the C loop](latest.svg)\n",
        *(section(case) for case in document["cases"]),
    ]
    return "\n".join(parts)


def section(case: dict[str, Any]) -> str:
    lines = [f"## {case['name']}", "", f"{case['title'][0].upper()}{case['title'][1:]}."]
    if "rate" in case:
        lines[-1] += f" The load is {case['rate']:g} requests/s."
    rows = [row for row in case["rows"] if "cpu_us" in row]
    if rows:
        lines += [
            "",
            f"| server | CPU a request, µs | rounds | {ratio_to(case)}nginx's CPU, µs | requests/s "
            "| p50, ms | p99, ms | p99.9, ms | errors | PSS, MiB |",
            "| --- |" + " --- |" * (9 + bool(case["against"])),
        ]
        lines += [full_row(case, row) for row in rows]
    lines += ["", *(f"    {row['command']}" for row in case["rows"] if "command" in row)]
    said = [row for row in case["rows"] if row.get("failure") or row.get("note")]
    if said:
        lines += ["", *(remark(row) for row in said)]
    return "\n".join(lines) + "\n"


def ratio_to(case: dict[str, Any]) -> str:
    return f"beside {SHORT[case['against']]} | " if case["against"] else ""


def full_row(case: dict[str, Any], row: dict[str, Any]) -> str:
    rounds = row["cpu_us_of_rounds"]
    cells = [
        row["name"],
        digits(row["cpu_us"]),
        f"{digits(min(rounds))} – {digits(max(rounds))}",
    ]
    if case["against"]:
        other = compared(case)[1].get("cpu_us")
        cells.append(f"{row['cpu_us'] / other:.2f}" if other else "")
    cells += [
        digits(row["nginx_cpu_us"]),
        digits(row["requests_per_second"]),
        *(digits(row[key]) for key in ("p50_ms", "p99_ms", "p999_ms")),
        str(row["errors"]),
        f"{row['pss_mib']:.1f}",
    ]
    return "| " + " | ".join(cells) + " |"


def remark(row: dict[str, Any]) -> str:
    what = f"not measured: {row['failure']}" if row.get("failure") else row["note"]
    return f"- {row['name']}: {what}"


def amount(case: dict[str, Any], number: float | None) -> str:
    if number is None:
        return ""
    return f"{number / 1024:.1f} KB" if case["figure_of"] == "memory" else f"{number:.2f}"


def digits(number: float | None) -> str:
    """Three or more that mean something."""
    if number is None:
        return ""
    return f"{number:,.{0 if number >= 100 else 1 if number >= 10 else 2}f}"
