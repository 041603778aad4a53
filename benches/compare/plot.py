"""Plots as SVG, small enough to be written by hand: dots in rows, and lines over an axis."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

#: Of the servers, by key: distinct also for those who do not tell red from green.
COLOURS = {
    "spile": "#d55e00",
    "axum": "#d55e00",
    "uwsgi": "#0072b2",
    "uwsgi-lock": "#56b4e9",
    "gunicorn": "#009e73",
    "granian": "#cc79a7",
    "bjoern": "#b8860b",
    "floor": "#888888",
}
LABELS = {"uwsgi": "uWSGI", "uwsgi-lock": "uWSGI --thunder-lock", "floor": "C loop"}

STYLE = """<style>
text { font: 12px system-ui, sans-serif; fill: #222 }
.title { font-size: 14px; font-weight: 600 }
.axis { stroke: #999; stroke-width: 1 }
.grid { stroke: #ddd; stroke-width: 1 }
.goal { stroke: #222; stroke-width: 2 }
@media (prefers-color-scheme: dark) {
  text { fill: #ddd } .grid { stroke: #444 } .goal { stroke: #eee } .paper { fill: #15181c }
}
</style>"""


def svg(width: float, height: float, parts: Iterable[str]) -> str:
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:g}" height="{height:g}" '
        f'viewBox="0 0 {width:g} {height:g}">'
    )
    paper = f'<rect class="paper" width="{width:g}" height="{height:g}" fill="#fff"/>'
    return "\n".join([head, STYLE, paper, *parts, "</svg>"]) + "\n"


def text(x: float, y: float, words: str, anchor: str = "start", kind: str = "") -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"'
    return f'<text {place} class="{kind}">{escape(words)}</text>'


def line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def dot(x: float, y: float, key: str, radius: float, title: str, hollow: bool = False) -> str:
    colour = COLOURS[key]
    fill = f'fill="none" stroke="{colour}"' if hollow else f'fill="{colour}"'
    return (
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:g}" {fill}>'
        f"<title>{escape(title)}</title></circle>"
    )


def legend(x: float, y: float, keys: Sequence[str]) -> list[str]:
    parts = []
    for key in keys:
        label = LABELS.get(key, key)
        parts += [dot(x, y - 4, key, 5, label), text(x + 10, y, label)]
        x += 30 + 7.2 * len(label)
    return parts


@dataclass(frozen=True)
class Scale:
    """From values to places on the page."""

    low: float
    high: float
    start: float
    end: float
    logarithmic: bool = True

    def at(self, value: float) -> float:
        low, high = self.low, self.high
        if self.logarithmic:
            low, high, value = math.log(low), math.log(high), math.log(max(value, self.low))
        return self.start + (value - low) / (high - low) * (self.end - self.start)

    def ticks(self) -> list[float]:
        """Round values to label: 1, 2, 5, 10, ... or even steps."""
        if self.logarithmic:
            steps = (1, 2, 5) if self.high / self.low < 300 else (1,)
            powers = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            marks = [step * 10.0**power for power in powers for step in steps]
        else:
            step = 10 ** math.floor(math.log10((self.high - self.low) / 2))
            while (self.high - self.low) / step > 6:
                step *= 2
            marks = [number * step for number in range(math.floor(self.high / step) + 1)]
        return [mark for mark in marks if self.low * 0.999 <= mark <= self.high * 1.001]


@dataclass(frozen=True)
class Panel:
    """One figure of a study, drawn between these places."""

    title: str
    key: str
    left: float
    right: float


PANELS = (
    Panel("CPU time a request, µs", "cpu_us", 70, 440),
    Panel("p99, ms", "p99_ms", 520, 890),
)


def lines(study: dict[str, Any]) -> str:
    """Processor time and p99 of each server, by what grows; hollow where requests failed."""
    top, bottom = 90, 340
    keys = [key for key, points in study["servers"].items() if any("cpu_us" in p for p in points)]
    title = study["title"][0].upper() + study["title"][1:]
    drawn = [text(20, 24, title, kind="title"), *legend(25, 50, keys)]
    positive = [value for value in study["values"] if value]
    # Zero has no logarithm: its place is a decade below the first that has.
    lowest = positive[0] / 10 if 0 in study["values"] else positive[0]
    for panel in PANELS:
        points = {
            key: [(p["value"], p[panel.key], p) for p in study["servers"][key] if "cpu_us" in p]
            for key in keys
        }
        figures = [figure for line in points.values() for _, figure, _ in line if figure > 0]
        across = Scale(lowest, positive[-1], panel.left, panel.right)
        up = Scale(min(figures, default=1) / 1.3, max(figures, default=2) * 1.3, bottom, top)
        drawn.append(text(panel.left, top - 12, panel.title))
        for mark in up.ticks():
            drawn.append(line(panel.left, up.at(mark), panel.right, up.at(mark), "grid"))
            drawn.append(text(panel.left - 6, up.at(mark) + 4, f"{mark:,g}", "end"))
        for value in study["values"]:
            drawn.append(line(across.at(value), bottom, across.at(value), bottom + 4, "axis"))
            drawn.append(text(across.at(value), bottom + 18, short(value), "middle"))
        drawn.append(text((panel.left + panel.right) / 2, bottom + 38, study["unit"], "middle"))
        for key, places in points.items():
            path = " ".join(f"{across.at(x):.1f},{up.at(y):.1f}" for x, y, _ in places)
            colour = COLOURS[key]
            drawn.append(
                f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>'
            )
            for x, y, point in places:
                said = f"{LABELS.get(key, key)}, {x:,}: {y:g}"
                if point["errors"]:
                    said += f", {point['errors']} of {point['requests']} failed"
                hollow = bool(point["errors"])
                drawn.append(dot(across.at(x), up.at(y), key, 3.5, said, hollow))
    drawn.append(text(20, bottom + 62, origin(study)))
    return svg(920, bottom + 75, drawn)


def origin(document: dict[str, Any]) -> str:
    machine = document["machine"]
    rounds = "one round" if document["rounds"] == 1 else f"medians of {document['rounds']} rounds"
    return (
        f"{document['date']}, {machine['processor']}, {machine['processors']} processors, "
        f"Linux {machine['kernel']}; {rounds} of {document['seconds']} s"
    )


def short(value: int) -> str:
    """For an axis: 16K for 16384, and 1000 as it is."""
    for unit, letter in ((1 << 20, "M"), (1 << 10, "K")):
        if value and value % unit == 0:
            return f"{value // unit}{letter}"
    return str(value)


def ratios(document: dict[str, Any]) -> str:
    """A row for each case: the processor time of each server, as a part of that of one of them."""
    rows = []
    for case in document["cases"]:
        costs = {row["server"]: row["cpu_us"] for row in case["rows"] if "cpu_us" in row}
        if case["figure_of"] == "cpu" and case["against"] in costs:
            parts = {key: cost / costs[case["against"]] for key, cost in costs.items()}
            rows.append((case, parts))
    left, right, top, step = 330, 860, 70, 26
    highest = max((part for _, parts in rows for part in parts.values()), default=1)
    lowest = min((part for _, parts in rows for part in parts.values()), default=1)
    across = Scale(min(0.4, lowest / 1.1), max(2.5, highest * 1.1), left, right)
    bottom = top + step * len(rows)
    keys = [key for key in COLOURS if key != "axum" and any(key in parts for _, parts in rows)]
    drawn = [text(20, 24, "CPU time a request: 1 is uWSGI, or the bare C loop", kind="title")]
    drawn += legend(25, 48, keys)
    for mark in across.ticks():
        kind = "axis" if mark == 1 else "grid"
        drawn += [line(across.at(mark), top, across.at(mark), bottom, kind)]
        drawn += [text(across.at(mark), bottom + 16, f"{mark:g}", "middle")]
    for number, (case, parts) in enumerate(rows):
        y = top + step * (number + 0.5)
        drawn.append(text(left - 10, y + 4, case["title"].replace("`", ""), "end"))
        drawn.append(text(right + 50, y + 4, f"{case['figure']:.2f}", "end"))
        goal = across.at(case["goal"])
        drawn.append(line(goal, y - 9, goal, y + 9, "goal"))
        for key, part in sorted(parts.items(), key=lambda one: one[0] in ("spile", "axum")):
            title = f"{LABELS.get(key, key)}: {part:.2f}"
            drawn.append(dot(across.at(part), y, key, 5, title))
    drawn.append(text(right + 50, top - 6, "spile", "end"))
    drawn.append(text(right, bottom + 36, "bars: the most that spile may need", "end"))
    drawn.append(text(20, bottom + 36, origin(document)))
    return svg(right + 70, bottom + 50, drawn)
