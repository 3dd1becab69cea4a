"""The report of an evaluation: one HTML file for people, without any other file or network."""

import html
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from seg2vid.evaluation.report.charts import Line, is_number, legend, line_chart
from seg2vid.evaluation.report.gallery import gallery
from seg2vid.evaluation.report.media import clip_values, main_metric
from seg2vid.evaluation.report.reading import COMPETING, GROUPS, Reading, number_text
from seg2vid.evaluation.report.style import STYLE
from seg2vid.evaluation.report.tables import class_tables, group_table, scrolling, summary_table
from seg2vid.tools.files import replacing


def write_evaluation_report(report: Mapping[str, Any], strips: Path, path: Path) -> None:
    """Write the report of an evaluation as one HTML file; nothing is computed, only shown.

    ``strips`` holds CLIP/CANDIDATE.jpg, the judged frames of a candidate one above the other;
    candidates without a picture are left out. Raises ``MediaError`` for a damaged picture or a
    place that cannot be written.
    """
    reading = Reading(report)
    parts = [
        *_head(reading),
        *_warnings(report),
        *_summary(reading),
        *_all_figures(reading),
        *_curves(reading),
        *_classes(reading),
        *gallery(reading, strips),
        *_diversity(reading),
        *_provenance(report),
        *_citation(report),
    ]
    title = html.escape(f"{_model_titles(report)} under {report['protocol']['name']}")
    page = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title}</title><style>{STYLE}</style></head><body>{''.join(parts)}</body></html>\n"
    )
    with replacing(path) as temporary:
        temporary.write_text(page, "utf-8")


def _model_titles(report: Mapping[str, Any]) -> str:
    """Titles of what is judged, joined."""
    judged = [c["title"] for c in report["candidates"] if c["role"] in ("model", "other")]
    return ", ".join(judged) or "Baselines"


def _head(reading: Reading) -> Iterator[str]:
    """What was judged, under which protocol, when; and where to find what."""
    report, protocol = reading.report, reading.report["protocol"]
    name = html.escape(protocol["name"])
    frames = "" if protocol["task"] == "stills" else f" · {protocol['num_frames']} frames"
    yield f"<h1>{html.escape(_model_titles(report))} <br>under {name}</h1>"
    yield (
        f"<p>{html.escape(protocol['about'])}</p><p>{html.escape(protocol['task'])} · "
        f"{len(report['clips']['names'])} clips · {protocol['width']}x{protocol['height']} pixels"
        f"{frames} · {protocol['samples']} samples · "
        f"{html.escape(str(report['provenance'].get('time', '')))}</p>"
    )
    sections = ["summary", "figures", "curves", "classes", "clips", "diversity", "provenance"]
    links = "".join(f'<a href="#{name}">{name}</a>' for name in [*sections, "cite"])
    yield f'<nav aria-label="sections">{links}</nav>'


def _warnings(report: Mapping[str, Any]) -> Iterator[str]:
    """What a reader must know before any figure."""
    protocol, provenance = report["protocol"], report["provenance"]
    name = html.escape(protocol["name"])
    if protocol["changed"]:
        changes = "; ".join(f"{key}: {value}" for key, value in protocol["changed"].items())
        yield (
            f"<aside><strong>Not {name} as frozen.</strong> Changed: {html.escape(changes)}. "
            f"These figures may not be compared with, or cited as, {name}.</aside>"
        )
    if provenance.get("data_is_as_frozen") is False:
        yield (
            "<aside><strong>Other data than the protocol froze.</strong> The checksum of the data "
            "differs from the frozen one, so these figures compare with this run alone.</aside>"
        )
    if str(provenance.get("commit", "")).endswith("+"):
        yield (
            "<aside><strong>Code with changes that were not committed.</strong> The commit below "
            "alone does not repeat these figures.</aside>"
        )
    if report["remarks"]:
        items = "".join(f"<li>{html.escape(remark)}</li>" for remark in report["remarks"])
        yield f"<aside><strong>Read these figures with care</strong><ul>{items}</ul></aside>"


def _summary(reading: Reading) -> Iterator[str]:
    """The main figures, and how often the model wins."""
    yield '<h2 id="summary">Summary</h2>'
    yield summary_table(reading)
    report, metric = reading.report, main_metric(reading.report)
    if metric is None:
        return
    judged = next(c for c in reading.candidates if c["role"] in ("model", "other"))
    own = clip_values(report, metric["key"], [judged["key"]])
    sign = -1 if metric["better"] == "lower" else 1
    for rival in (c for c in reading.candidates if c["role"] in COMPETING and c is not judged):
        other = clip_values(report, metric["key"], [rival["key"]])
        pairs = [
            (a, b) for name, a in own.items() if is_number(a) and is_number(b := other.get(name))
        ]
        if pairs:
            wins = sum(sign * a > sign * b for a, b in pairs)
            yield (
                f"<p>In {html.escape(metric['title'])}, {html.escape(judged['title'])} beats "
                f"<em>{html.escape(rival['title'])}</em> on {wins} of {len(pairs)} clips.</p>"
            )


def _all_figures(reading: Reading) -> Iterator[str]:
    """Every figure, by group of metrics; diversity has a section of its own."""
    yield '<h2 id="figures">All figures</h2>'
    groups = dict.fromkeys([*GROUPS, *(m["group"] for m in reading.metrics())])
    for group in groups:
        if group != "diversity" and (table := group_table(reading, group)):
            yield table


def _panels(reading: Reading, *, is_diversity: bool) -> str:
    """Curves of the metrics of the group diversity or of all others, each with its numbers."""
    strokes, panels = reading.strokes(), []
    for metric in reading.report["metrics"]:
        curves = [c for c in reading.report["curves"] if c["metric"] == metric["key"]]
        if not curves or (metric["group"] == "diversity") != is_diversity:
            continue
        by_key = {curve["candidate"]: curve for curve in curves}
        lines = [
            Line(c["title"], strokes[c["key"]], *(by_key[c["key"]][k] for k in _CURVE_KEYS))
            for c in reading.candidates
            if c["key"] in by_key
        ]
        panels.append(_panel(metric, lines))
    titles = [(c["title"], strokes[c["key"]]) for c in reading.candidates]
    drawn = {c["candidate"] for c in reading.report["curves"]}
    shown = [t for c, t in zip(reading.candidates, titles, strict=True) if c["key"] in drawn]
    return f'{legend(shown)}<div class="panels">{"".join(panels)}</div>' if panels else ""


_CURVE_KEYS = ("times", "values", "lows", "highs")


def _panel(metric: Mapping[str, Any], lines: Sequence[Line]) -> str:
    """One chart, what it shows, and its numbers as a table to unfold."""
    axis, title = metric.get("axis") or "frame", html.escape(metric["title"])
    times = sorted({time for line in lines for time in line.times})
    heads = "".join(f'<th scope="col" class="number">{html.escape(n.title)}</th>' for n in lines)
    rows = []
    for time in times:
        values = [dict(zip(line.times, line.values, strict=False)).get(time) for line in lines]
        cells = "".join(f'<td class="number">{number_text(v, 4)}</td>' for v in values)
        rows.append(f'<tr><th scope="row">{time:g}</th>{cells}</tr>')
    table = (
        f'<table><thead><tr><th scope="col">{html.escape(axis)}</th>{heads}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table>"
    )
    direction = {"lower": "lower is better", "higher": "higher is better"}.get(metric["better"], "")
    return (
        f"<figure><figcaption><b>{title}</b> {html.escape(metric['unit'])} "
        f'<span class="direction">{direction}</span></figcaption>'
        f"{line_chart(lines, title=metric['title'], axis=axis)}"
        f"<details><summary>numbers</summary>{scrolling(table, metric['title'])}</details></figure>"
    )


def _curves(reading: Reading) -> Iterator[str]:
    """Curves over time."""
    yield '<h2 id="curves">Over time</h2>'
    panels = _panels(reading, is_diversity=False)
    yield (
        f"<p>Pale areas are 95 % intervals over clips.</p>{panels}" if panels else "<p>None.</p>"
    )


def _classes(reading: Reading) -> Iterator[str]:
    """Figures by class of the label map."""
    yield '<h2 id="classes">By class</h2>'
    tables = list(class_tables(reading))
    yield "".join(tables) or "<p>None.</p>"


def _diversity(reading: Reading) -> Iterator[str]:
    """How far samples of one clip lie apart, and what the best of several reaches."""
    yield '<h2 id="diversity">Diversity</h2>'
    yield group_table(reading, "diversity") + _panels(reading, is_diversity=True) or "<p>None.</p>"


def _provenance(report: Mapping[str, Any]) -> Iterator[str]:
    """Where the figures come from, in full, and what they cost."""
    yield '<h2 id="provenance">Provenance and cost</h2>'
    protocol = {key: value for key, value in report["protocol"].items() if key != "about"}
    candidates = {
        c["key"]: " · ".join(filter(None, (c["title"], c.get("about"), c.get("sha256"))))
        for c in report["candidates"]
    }
    parts = {
        "Protocol": protocol,
        "Candidates": candidates,
        "Run": report["provenance"],
        "Cost": report["cost"],
    }
    for title, entries in parts.items():
        yield f"<h3>{title}</h3>{_entries(entries)}"


def _entries(entries: Mapping[str, Any]) -> str:
    """A list of names and values; values that are themselves mappings become lists inside."""
    items = []
    for key, value in entries.items():
        name = html.escape(str(key).replace("_", " "))
        if isinstance(value, Mapping):
            text = _entries(value) if value else "none"
        else:
            text = html.escape(_entry(str(key), value))
        items.append(f"<dt>{name}</dt><dd>{text}</dd>")
    return f"<dl>{''.join(items)}</dl>"


def _entry(key: str, value: object) -> str:
    """One value as text: bytes and seconds with their unit, a command as it is typed."""
    if key == "command" and isinstance(value, Sequence) and not isinstance(value, str):
        return shlex.join(str(part) for part in value)
    if isinstance(value, list | tuple):
        return ", ".join(str(part) for part in value) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if key.endswith("bytes") and isinstance(value, int | float):
        return f"{value / 2**30:.2f} GiB"
    if key == "seconds" and isinstance(value, int | float):
        return f"{value:.0f} s ({value / 60:.1f} minutes)"
    return str(value)


def _citation(report: Mapping[str, Any]) -> Iterator[str]:
    """What to write beside a figure that is quoted."""
    protocol, provenance = report["protocol"], report["provenance"]
    changes = "; ".join(f"{key}: {value}" for key, value in protocol["changed"].items())
    text = f"seg2vid evaluation kit, protocol {protocol['name']} (sha256 {protocol['sha256']})"
    text += f", not as frozen: {changes}" if changes else ""
    text += (
        f", commit {provenance.get('commit') or 'unknown'}, {len(report['clips']['names'])} clips"
    )
    text += f", 95 % bootstrap intervals over clips, {provenance.get('time', '')}."
    yield (
        '<h2 id="cite">How to cite</h2><p>Give the name and checksum of the protocol, the commit '
        f"and the intervals with every figure:</p><pre>{html.escape(text)}</pre>"
    )
