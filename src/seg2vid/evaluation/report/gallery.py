"""Clips to look at in the report of an evaluation: side-by-side videos and contact sheets."""

import base64
import html
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from seg2vid.evaluation.report.media import (
    Selection,
    choose_clips,
    clip_values,
    main_metric,
    read_strips,
    sheet_bytes,
    stills_bytes,
    video_bytes,
)
from seg2vid.evaluation.report.reading import Reading, number_text
from seg2vid.evaluation.report.style import SCRIPT

MOST_MEDIA_BYTES = 14_000_000
"""Videos and pictures in the file, as base64; clips beyond it are left out, which is said."""


@dataclass
class _Budget:
    """Counts what was embedded, and what had to be left out."""

    most: int
    used: int = 0
    left_out: list[str] = field(default_factory=list)

    def takes(self, clip: str, contents: Sequence[str]) -> bool:
        """Say whether the contents of a clip still fit, and count them if so."""
        size = sum(map(len, contents))
        if self.used + size > self.most:
            self.left_out.append(clip)
            return False
        self.used += size
        return True


def gallery(reading: Reading, strips: Path, most_bytes: int = MOST_MEDIA_BYTES) -> Iterator[str]:
    """Yield the section of clips: best, worst and others, playable, with contact sheets below.

    Still pictures have no videos. ``strips`` holds CLIP/CANDIDATE.jpg. Raises ``MediaError`` for a
    damaged picture.
    """
    is_still = reading.report["protocol"]["task"] == "stills"
    selections = choose_clips(reading.report, strips)
    yield f'<h2 id="clips">{"Pictures" if is_still else "Clips"}</h2>'
    if not selections:
        yield "<p>None were kept.</p>"
        return
    if not is_still:
        yield (
            "<p>All candidates side by side, slowed to six frames a second; the number is the "
            "frame. A click stops and starts a clip.</p>"
            '<p id="play" hidden><button value="play">play / stop all</button>'
            '<button value="slow">slow motion on / off</button></p>'
        )
    budget = _Budget(most_bytes)
    for selection in selections:
        yield from _selection(reading, strips, selection, budget)
    if budget.left_out:
        names = html.escape(", ".join(budget.left_out))
        yield f"<p>Left out, to keep the file small: {names}.</p>"
    yield "" if is_still else f"<script>{SCRIPT}</script>"


def _selection(
    reading: Reading, strips: Path, selection: Selection, budget: _Budget
) -> Iterator[str]:
    """The clips of one heading, and their contact sheets to unfold."""
    is_still = reading.report["protocol"]["task"] == "stills"
    figures, sheets = [], []
    for clip in selection.names:
        rows = read_strips(reading.report, strips, clip)
        if not rows:
            continue
        contents = [stills_bytes(rows)] if is_still else [video_bytes(rows), sheet_bytes(rows)]
        encoded = [base64.b64encode(content).decode() for content in contents]
        if not budget.takes(clip, encoded):
            continue
        caption = _caption(reading, clip)
        shown = html.escape(f"{clip}: {', '.join(rows)}")
        if is_still:
            figures.append(_picture(encoded[0], f"side by side, {shown}", caption))
        else:
            figures.append(
                f'<figure><video muted loop playsinline controls aria-label="{shown}" '
                f'src="data:video/mp4;base64,{encoded[0]}"></video>{caption}</figure>'
            )
            sheets.append(_picture(encoded[1], f"contact sheet of {shown}", caption))
    if figures:
        yield f'<h3>{html.escape(selection.title)}</h3><div class="clips">{"".join(figures)}</div>'
    if sheets:
        count = "the same clip" if len(sheets) == 1 else f"the same {len(sheets)} clips"
        yield f"<details><summary>Frame by frame: {count}</summary>{''.join(sheets)}</details>"


def _picture(encoded: str, about: str, caption: str) -> str:
    """One JPEG with its caption."""
    return (
        f'<figure><img alt="{about}" loading="lazy" src="data:image/jpeg;base64,{encoded}">'
        f"{caption}</figure>"
    )


def _caption(reading: Reading, clip: str) -> str:
    """The name of a clip and what it measures for each candidate, by the main metric."""
    metric = main_metric(reading.report)
    text = f"<b>{html.escape(clip)}</b>"
    if metric is not None:
        values = [
            f"{html.escape(candidate['title'])} {number}"
            for candidate in reading.candidates
            if (number := _clip_number(reading, metric, candidate, clip)) != "–"
        ]
        text += f"<br>{html.escape(metric['title'])}: {', '.join(values) or 'no value'}"
    return f"<figcaption>{text}</figcaption>"


def _clip_number(
    reading: Reading, metric: Mapping[str, Any], candidate: Mapping[str, Any], clip: str
) -> str:
    """The value of one clip as text."""
    value = clip_values(reading.report, metric["key"], [candidate["key"]]).get(clip)
    return number_text(value, reading.decimals(metric["key"]))
