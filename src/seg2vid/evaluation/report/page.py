"""The report of an evaluation: one HTML file for people, without any other file or network."""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from seg2vid.evaluation.report import reading as words
from seg2vid.evaluation.report.charts import Line, line_chart
from seg2vid.evaluation.report.media import Gallery, read_gallery
from seg2vid.evaluation.report.reading import Entry, Reading, frames_text, is_number, number_text
from seg2vid.tools.files import replacing


def write_evaluation_report(report: Entry, strips: Path, path: Path) -> None:
    """Write the report of an evaluation as one HTML file; nothing is computed, only shown.

    ``strips`` holds CLIP/CANDIDATE.jpg, the frames of a candidate one above the other; candidates
    without a picture are left out. Raises ``MediaError`` for a damaged picture or a place that
    cannot be written.
    """
    page = render(report, read_gallery(report, strips))
    with replacing(path) as temporary:
        temporary.write_text(page, "utf-8", "backslashreplace")


def render(report: Entry, gallery: Gallery) -> str:
    """Return the page of a report with the clips of a gallery."""
    reading, protocol = Reading(report), report["protocol"]
    titles = [c["title"] for c in report["candidates"] if c["role"] in ("model", "other")]
    template = environment().get_template("report.html")
    return template.render(
        reading=reading,
        report=report,
        protocol=protocol,
        provenance={"time": "", "commit": ""} | report["provenance"],
        title=", ".join(titles) or "Baselines",
        changes="; ".join(f"{key}: {value}" for key, value in protocol["changed"].items()),
        is_still=protocol["task"] == "stills",
        main=words.main_metric(report),
        panels=list(_panels(reading)),
        drawn={curve["candidate"] for curve in report["curves"]},
        gallery=gallery,
        sources=_sources(report),
    )


def environment() -> Environment:
    """Return the templates beside this file, in which every text is escaped."""
    made = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        extensions=["jinja2.ext.do"],
        keep_trailing_newline=True,
    )
    made.filters |= {"number": number_text, "frames": frames_text, "entry": _entry_text}
    made.tests["finite"] = is_number
    made.globals |= {name: getattr(words, name) for name in ("ROLES", "COMPETING", "ARROWS")}
    return made


def _panels(reading: Reading) -> Iterator[dict[str, Any]]:
    """Yield the curves of each metric that has any: its chart, and values of the lines by time."""
    for metric in reading.report["metrics"]:
        curves = {
            c["candidate"]: c for c in reading.report["curves"] if c["metric"] == metric["key"]
        }
        lines = [
            Line(
                candidate["title"],
                reading.strokes[candidate["key"]],
                *(curves[candidate["key"]][part] for part in ("times", "values", "lows", "highs")),
            )
            for candidate in reading.candidates
            if candidate["key"] in curves
        ]
        if lines:
            axis = metric.get("axis") or "frame"
            values = [dict(zip(line.times, line.values, strict=False)) for line in lines]
            times = sorted({time for line in lines for time in line.times})
            yield {
                "metric": metric,
                "axis": axis,
                "lines": lines,
                "chart": line_chart(lines, title=metric["title"], axis=axis),
                "rows": {time: [line.get(time) for line in values] for time in times},
            }


def _sources(report: Entry) -> dict[str, Mapping[str, Any]]:
    """Where the figures come from, in full, and what they cost."""
    return {
        "Protocol": {key: value for key, value in report["protocol"].items() if key != "about"},
        "Candidates": {
            c["key"]: " · ".join(filter(None, (c["title"], c.get("about"), c.get("sha256"))))
            for c in report["candidates"]
        },
        "Run": report["provenance"],
        "Cost": report["cost"],
    }


def _entry_text(value: object, key: object) -> str:
    """One value as text: bytes and seconds with their unit, a command as it is typed."""
    if key == "command" and isinstance(value, Sequence) and not isinstance(value, str):
        return shlex.join(str(part) for part in value)
    if isinstance(value, list | tuple):
        return ", ".join(str(part) for part in value) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if str(key).endswith("bytes") and isinstance(value, int | float):
        return f"{value / 2**30:.2f} GiB"
    if key == "seconds" and isinstance(value, int | float):
        return f"{value:.0f} s ({value / 60:.1f} minutes)"
    return str(value)
