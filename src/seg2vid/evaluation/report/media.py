"""Clips of the report: which to show, side-by-side videos and contact sheets, as bytes."""

import base64
import io
import math
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont

from seg2vid.evaluation.report.reading import Entry, clip_values, is_number, main_metric, model_keys
from seg2vid.media.drawing import Frames, contact_sheet, pick_evenly
from seg2vid.media.pictures import read_image
from seg2vid.media.video import VideoWriter
from seg2vid.tools.errors import MediaError

FRAMES_PER_SECOND = 6.0
"""Slow enough to see nine frames one by one."""
HOLD = 2
"""Times the first and the last frame are shown in addition, so that the loop can be followed."""
TITLE_HEIGHT, GAP = 18, 4
SHEET_COLUMNS = 9
SHEET_WIDTH = 2000
"""Contact sheets wider than this, in pixels, are reduced to it."""
ORDER = ("ceiling", "model", "other", "baseline", "oracle")
"""Order of the roles in a picture: what it should be, what it is, what else there is."""
MOST_MEDIA_BYTES = 14_000_000
"""Videos and pictures in the file, as base64; clips beyond it are left out, which is said."""


@dataclass(frozen=True)
class Clip:
    """A clip to embed: titles of its candidates, JPEG and video (none for stills) as base64."""

    name: str
    titles: tuple[str, ...]
    sheet: str
    video: str = ""


@dataclass
class Gallery:
    """Clips to embed by heading, and the names of those left out to keep the file small."""

    sections: dict[str, list[Clip]] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)


def read_strip(path: Path, *, height: int) -> UInt8[np.ndarray, "time height width 3"]:
    """Read frames that are stacked vertically in one picture, ``height`` pixels each.

    Raises ``MediaError`` for a picture that is not a whole number of frames high.
    """
    picture = read_image(path)
    if not len(picture) or len(picture) % height:
        what = f"frames of {height} pixels, one above the other"
        got = f"{path} of {len(picture)} pixels in height"
        raise MediaError(what, got=got, fix="run the evaluation again")
    return picture.reshape(-1, height, *picture.shape[1:])


def read_strips(report: Entry, strips: Path, clip: str) -> dict[str, Frames]:
    """Return the frames of a clip by the title of the candidate; those without picture left out."""
    found: dict[str, Frames] = {}
    for candidate in sorted(report["candidates"], key=lambda c: ORDER.index(c["role"])):
        path = strips / clip / f"{candidate['key']}.jpg"
        if path.is_file():
            title = " ".join(candidate["title"].split()) or candidate["key"]
            title = f"{title} ({candidate['key']})" if title in found else title
            found[title] = read_strip(path, height=report["protocol"]["height"])
    return found


def choose_clips(report: Entry, strips: Path) -> dict[str, list[str]]:
    """Return by heading the best, the worst and evenly spread other clips, none twice.

    Three, three and four for videos; eight, eight and sixteen for stills. Clips without pictures
    or without a value of the main metric are not ranked; without any value all are spread evenly.
    """
    ends, rest = (8, 16) if report["protocol"]["task"] == "stills" else (3, 4)
    ranked = [name for name in report["clips"]["names"] if (strips / name).is_dir()]
    chosen, heading = {}, "Spread evenly"
    if metric := main_metric(report):
        values = clip_values(report, metric["key"], model_keys(report)[:1])
        numbers = {name: v for name in ranked if is_number(v := values.get(name))}
        ranked = sorted(numbers, key=lambda n: numbers[n], reverse=metric["better"] == "higher")
        ends, title = min(ends, len(ranked) // 2), metric["title"]
        best, worst = ranked[:ends], ranked[len(ranked) - ends :]
        ranked = ranked[ends : len(ranked) - ends]
        chosen = {f"Best by {title}": best, f"Worst by {title}": worst[::-1]}
        heading += f" over {'the rest' if ends else 'all'} by {title}"
    chosen[heading] = [ranked[place] for place in pick_evenly(len(ranked), rest)]
    return {title: names for title, names in chosen.items() if names}


def read_gallery(report: Entry, strips: Path, most_bytes: int = MOST_MEDIA_BYTES) -> Gallery:
    """Return the clips to show, as videos with contact sheets or, for stills, as pictures.

    ``strips`` holds CLIP/CANDIDATE.jpg. Raises ``MediaError`` for a damaged picture.
    """
    gallery, used = Gallery(), 0
    is_still = report["protocol"]["task"] == "stills"
    for title, names in choose_clips(report, strips).items():
        clips = gallery.sections.setdefault(title, [])
        for name in names:
            if not (rows := read_strips(report, strips, name)):
                continue
            contents = [stills_bytes(rows)] if is_still else [sheet_bytes(rows), video_bytes(rows)]
            encoded = [base64.b64encode(content).decode() for content in contents]
            if used + sum(map(len, encoded)) > most_bytes:
                gallery.left_out.append(name)
                continue
            used += sum(map(len, encoded))
            clips.append(Clip(name, tuple(rows), *encoded))
    return gallery


def side_by_side(rows: Mapping[str, Frames]) -> Iterator[UInt8[np.ndarray, "height width 3"]]:
    """Yield pictures of all candidates in a grid, each under its title, frame by frame.

    A candidate with fewer frames keeps its last one. Up to four stand in two columns, more in
    three.
    """
    columns = 1 if len(rows) == 1 else 2 if len(rows) <= 4 else 3
    height = max(frames.shape[1] for frames in rows.values()) + TITLE_HEIGHT + GAP
    width = max(frames.shape[2] for frames in rows.values()) + GAP
    size = (columns * width - GAP, math.ceil(len(rows) / columns) * height - GAP)
    font = ImageFont.load_default(TITLE_HEIGHT - 6)
    for time in range(max(map(len, rows.values()))):
        sheet = Image.new("RGB", size, "#161616")
        draw = ImageDraw.Draw(sheet)
        for place, (title, frames) in enumerate(rows.items()):
            left, top = place % columns * width, place // columns * height
            text = fitting(f"{title}", f"  {min(time, len(frames) - 1)}", width - GAP, font)
            draw.text((left + 3, top + 1), text, fill="white", font=font)
            frame = np.asarray(frames[min(time, len(frames) - 1)])
            sheet.paste(Image.fromarray(frame), (left, top + TITLE_HEIGHT))
        yield np.asarray(sheet)


def fitting(title: str, ending: str, width: int, font: Any) -> str:
    """Return ``title`` + ``ending``, the title shortened until it is at most ``width`` pixels."""
    text = title
    while len(text) > 1 and font.getlength(text + ending) > width - 6:
        text = text[:-2].rstrip() + "…"
    return text + ending


def video_bytes(rows: Mapping[str, Frames]) -> bytes:
    """Return the side-by-side video as mp4; the first and the last picture are held a little."""
    return encode_video(np.stack(list(side_by_side(rows))), frames_per_second=FRAMES_PER_SECOND)


def encode_video(frames: Frames, *, frames_per_second: float) -> bytes:
    """Return frames as mp4, the first and the last one held a little."""
    pictures = [frames[0]] * HOLD + list(frames) + [frames[-1]] * HOLD
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "video.mp4"
        with VideoWriter(path, frames_per_second=frames_per_second) as writer:
            for picture in pictures:
                writer.write(picture)
        return path.read_bytes()


def sheet_bytes(rows: Mapping[str, Frames]) -> bytes:
    """Return a contact sheet as JPEG: a row for each candidate, at most nine frames of each."""
    picked = {t: frames[pick_evenly(len(frames), SHEET_COLUMNS)] for t, frames in rows.items()}
    sheet = Image.fromarray(contact_sheet(picked, title_height=30))
    sheet.thumbnail((SHEET_WIDTH, 1 << 14), Image.Resampling.LANCZOS)
    return _jpeg_bytes(sheet, quality=85)


def stills_bytes(rows: Mapping[str, Frames]) -> bytes:
    """Return the first frame of each candidate side by side in a grid with titles, as JPEG."""
    return _jpeg_bytes(Image.fromarray(next(side_by_side(rows))), quality=88)


def _jpeg_bytes(picture: Image.Image, *, quality: int) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()
