"""The figures of an evaluation as HTML tables: the summary, all figures by group, the classes."""

import html
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from seg2vid.evaluation.report.charts import bar, is_number
from seg2vid.evaluation.report.reading import (
    ARROWS,
    COMPETING,
    GROUPS,
    ROLES,
    Reading,
    clamp_decimals,
    frames_text,
    number_text,
)

MOST_COLUMNS = 8
"""Metrics in the summary."""
MAIN = (
    *("lpips", "fvd", "fid", "miou_truth", "miou_own"),
    *("epe_backward", "ms_ssim", "psnr", "pairwise_lpips"),
)
"""Metrics that come first in the summary where they are there; then the first of each group."""


class Notes:
    """Remarks of a table: each is written once below it and marked by a number above."""

    def __init__(self) -> None:
        """Begin without any."""
        self.texts: list[str] = []

    def mark(self, text: str) -> str:
        """Return the mark for a remark, empty for an empty one."""
        if not text:
            return ""
        if text not in self.texts:
            self.texts.append(text)
        return f"<sup>{self.texts.index(text) + 1}</sup>"

    def lines(self) -> str:
        """Return the remarks as a list."""
        items = "".join(f"<li>{html.escape(text)}</li>" for text in self.texts)
        return f'<ol class="notes">{items}</ol>' if items else ""


def figure_cell(figure: Mapping[str, Any], decimals: int, *, is_best: bool, mark: str = "") -> str:
    """Return a table cell with the value, its interval below and the mark of its remark."""
    value = number_text(figure["value"], decimals)
    text = f"<b>{value}</b>" if is_best else value
    interval = ""
    if is_number(figure.get("low")) and is_number(figure.get("high")):
        ends = [number_text(figure[end], decimals) for end in ("low", "high")]
        interval = f"<small>{ends[0]} … {ends[1]}</small>"
    kind = "number best" if is_best else "number"
    return f'<td class="{kind}"><span class="value">{text}{mark}</span>{interval}</td>'


def role_mark(candidate: Mapping[str, Any]) -> str:
    """Return the role of a candidate as a small label."""
    role = candidate["role"]
    return f'<span class="role {role}">{ROLES[role]}</span>'


def even_table(columns: int) -> str:
    """Return the opening tag of a table whose columns of figures are equally wide."""
    return f'<table class="even" style="min-width:{10 + 7.5 * columns:g}rem">'


def scrolling(table: str, name: str) -> str:
    """Return a table that scrolls sideways on a narrow screen and can be reached by keyboard."""
    label = html.escape(name)
    return f'<div class="scroll" tabindex="0" role="region" aria-label="{label}">{table}</div>'


def main_metrics(reading: Reading) -> list[Mapping[str, Any]]:
    """Return the metrics of the summary, at most eight: known ones, then firsts of each group."""
    metrics = reading.metrics()
    chosen = [m for key in MAIN for m in metrics if m["key"] == key]
    for group in GROUPS:
        chosen += [m for m in reading.metrics(group)[:1] if m not in chosen]
    chosen += [m for m in metrics if m not in chosen]
    kept = chosen[:MOST_COLUMNS]
    return [m for m in metrics if m in kept]


def summary_table(reading: Reading) -> str:
    """Return candidates x main metrics, each over its longest span of frames."""
    metrics, notes = main_metrics(reading), Notes()
    heads = "".join(_summary_head(reading, metric) for metric in metrics)
    bodies = []
    for is_apart in (False, True):
        group = [c for c in reading.candidates if (c["role"] not in COMPETING) == is_apart]
        rows = "".join(_summary_row(reading, metrics, c, notes) for c in group)
        title = (
            f'<tr class="apart"><th scope="rowgroup" colspan="{len(metrics) + 1}">'
            '<span class="about">For orientation, not competing: they see more than the others'
            "</span></th></tr>"
        )
        bodies.append(f"<tbody>{title if is_apart else ''}{rows}</tbody>" if rows else "")
    caption = (
        '<caption><span class="about">Main figures, below each its 95 % interval. Bold and shaded: '
        "the best of those that compete, whether or not the difference is more than noise."
        "</span></caption>"
    )
    table = f'<table>{caption}<thead><tr><th scope="col">candidate</th>{heads}</tr></thead>'
    return scrolling(f"{table}{''.join(bodies)}</table>", "main figures") + notes.lines()


def _summary_head(reading: Reading, metric: Mapping[str, Any]) -> str:
    """Name, unit, direction and frames of a metric."""
    frames = frames_text(reading.frames_of(metric["key"])[-1])
    unit = f", {html.escape(metric['unit'])}" if metric["unit"] else ""
    arrow = html.escape(ARROWS.get(metric["better"], ""))
    return (
        f'<th scope="col" class="number" title="{html.escape(metric["about"])}">'
        f"{html.escape(metric['title'])}{unit}<small>{arrow}</small><small>{frames}</small></th>"
    )


def _summary_row(
    reading: Reading,
    metrics: Sequence[Mapping[str, Any]],
    candidate: Mapping[str, Any],
    notes: Notes,
) -> str:
    """One candidate: its title, role, what it is, and its figures."""
    cells = []
    for metric in metrics:
        frames = reading.frames_of(metric["key"])[-1]
        figure = reading.figure(candidate["key"], metric["key"], frames)
        is_best = candidate["key"] in reading.best(metric, frames)
        mark = notes.mark(figure.get("remark") or "")
        cells.append(
            figure_cell(figure, reading.decimals(metric["key"]), is_best=is_best, mark=mark)
        )
    about = html.escape(candidate.get("about") or "")
    return (
        f'<tr class="{candidate["role"]}"><th scope="row">{html.escape(candidate["title"])} '
        f"{role_mark(candidate)}<small>{about}</small></th>{''.join(cells)}</tr>"
    )


def group_table(reading: Reading, group: str) -> str:
    """Return all figures of a group of metrics: a row for each metric and span of frames."""
    metrics, notes = reading.metrics(group), Notes()
    if not metrics:
        return ""
    heads = "".join(
        f'<th scope="col" class="number {c["role"]}">{html.escape(c["title"])}<br>'
        f"{role_mark(c)}</th>"
        for c in reading.candidates
    )
    head = f'<thead><tr><th scope="col">frames</th>{heads}'
    head += '<th scope="col" class="number count">n</th></tr>'
    bodies = "".join(_metric_rows(reading, metric, notes) for metric in metrics)
    caption = f"<caption>{html.escape(GROUPS.get(group, group))}</caption>"
    table = f"{even_table(len(reading.candidates))}{caption}{head}</thead>{bodies}</table>"
    return scrolling(table, GROUPS.get(group, group)) + notes.lines()


def _metric_rows(reading: Reading, metric: Mapping[str, Any], notes: Notes) -> str:
    """A heading that explains the metric, then its figures by frames."""
    unit = f" in {html.escape(metric['unit'])}" if metric["unit"] else ""
    heading = (
        f'<tr class="metric"><th scope="rowgroup" colspan="{len(reading.candidates) + 2}">'
        f'<div class="about">{html.escape(metric["title"])}{unit} '
        f'<span class="direction">{ARROWS.get(metric["better"], "")}</span>'
        f"<small>{html.escape(metric['about'])}</small></div></th></tr>"
    )
    rows = []
    for frames in reading.frames_of(metric["key"]):
        best = reading.best(metric, frames)
        figures = {
            c["key"]: reading.figure(c["key"], metric["key"], frames) for c in reading.candidates
        }
        cells = "".join(
            figure_cell(
                figure,
                reading.decimals(metric["key"]),
                is_best=key in best,
                mark=notes.mark(figure.get("remark") or ""),
            )
            for key, figure in figures.items()
        )
        counts = sorted({f["count"] for f in figures.values() if f.get("count") is not None})
        count = "–".join(
            f"{edge:g}" for edge in dict.fromkeys((counts or [0])[:: max(len(counts) - 1, 1)])
        )
        rows.append(
            f'<tr><th scope="row">{html.escape(frames_text(frames))}</th>{cells}'
            f'<td class="number">{count if counts else "–"}</td></tr>'
        )
    return f"<tbody>{heading}{''.join(rows)}</tbody>"


def class_tables(reading: Reading) -> Iterator[str]:
    """Yield a table with bars for each metric by class, the most frequent class first."""
    figures = reading.report["classes"]
    titles = {m["key"]: m for m in reading.report["metrics"]}
    for key in dict.fromkeys(figure["metric"] for figure in figures):
        metric = titles.get(key, {"title": key, "unit": "", "better": "", "about": ""})
        yield _class_table(reading, metric, [f for f in figures if f["metric"] == key])


def _class_table(
    reading: Reading, metric: Mapping[str, Any], figures: Sequence[Mapping[str, Any]]
) -> str:
    """One metric: classes x candidates."""
    shares = {f["class"]: f.get("share") for f in figures}
    classes = sorted(shares, key=lambda name: -(shares[name] or 0))
    by_place = {(f["class"], f["candidate"]): f for f in figures}
    judged = [c for c in reading.candidates if any(f["candidate"] == c["key"] for f in figures)]
    numbers = [f[e] for f in figures for e in ("value", "high") if is_number(f.get(e))]
    largest, strokes = max(numbers, default=0.0), reading.strokes()
    decimals = clamp_decimals(2 - math.floor(math.log10(largest))) if largest > 0 else 2
    rows = []
    for name in classes:
        cells = []
        for candidate in judged:
            figure = by_place.get((name, candidate["key"]), {"value": None})
            cell = figure_cell(figure, decimals, is_best=False).removesuffix("</td>")
            if is_number(figure["value"]):
                hue = strokes[candidate["key"]].hue
                cell += bar(figure["value"], figure, largest=largest, hue=hue)
            cells.append(f"{cell}</td>")
        share = shares[name]
        text = f"{share:.1%}" if is_number(share) else "–"
        rows.append(
            f'<tr><th scope="row">{html.escape(name)}</th><td class="number">{text}</td>'
            f"{''.join(cells)}</tr>"
        )
    heads = "".join(
        f'<th scope="col" class="number">{html.escape(c["title"])}<br>{role_mark(c)}</th>'
        for c in judged
    )
    caption = " ".join((metric["title"], ARROWS.get(metric["better"], ""))).strip()
    table = (
        f'{even_table(len(judged))}<caption><span class="about">{html.escape(caption)}'
        f"<small>{html.escape(metric['about'])}</small></span></caption>"
        '<thead><tr><th scope="col">class</th><th scope="col" class="number share">of pixels</th>'
        f"{heads}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
    )
    return scrolling(table, caption)
