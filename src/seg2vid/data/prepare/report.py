"""The report of a prepared dataset: one HTML file for people, without any other file or network."""

import base64
import html
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from seg2vid.labels.space import LabelSpace
from seg2vid.tools.files import replacing

MOST_PREVIEWS = 60
"""Recordings whose frames are shown; evenly picked where there are more."""

STYLE = """
:root { color-scheme: light dark; --line: #8884; --bar: #4a7fb5; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; width: 100%; margin: 1rem 0; }
th, td { text-align: left; padding: .25rem .6rem; border-bottom: 1px solid var(--line); }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; }
td.bar { width: 45%; } td.bar span { display: block; height: .8rem; background: var(--bar); }
td.error { color: #c0392b; }
pre { overflow-x: auto; padding: .6rem; border: 1px solid var(--line); }
figure { margin: 1rem 0; } figure img { width: 100%; image-rendering: auto; }
figcaption { font-size: .9em; } .columns { columns: 2; } .swatch { display: inline-block;
width: .8em; height: .8em; border: 1px solid var(--line); margin-right: .4em; }
"""


def write_report(index: Mapping[str, Any], previews: Path, path: Path) -> None:
    """Write the report of a dataset; ``previews`` holds a NAME.jpg for each recording."""
    parts = [
        *_head(index),
        *_sources(index),
        *_classes(index),
        *_motion(index),
        *_recordings(index),
        *_previews(index, previews),
    ]
    page = (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>Dataset report</title><style>{STYLE}</style>{''.join(parts)}</html>\n"
    )
    with replacing(path) as temporary:
        temporary.write_text(page, "utf-8")


def _head(index: Mapping[str, Any]) -> Iterator[str]:
    """What the dataset is and how it was made."""
    counts, clip = index["counts"], index["clip"]
    clips = ", ".join(f"{count} {split}" for split, count in counts["clips"].items())
    yield f"<h1>{html.escape(str(index['source']))}</h1>"
    yield (
        f"<p>{sum(counts['clips'].values())} clips ({clips}) of {clip['num_frames'] + 1} frames, "
        f"{clip['width']}x{clip['height']}, from {counts['recordings']} recordings "
        f"(layout {index['layout']}, {counts['unreadable']} not or not wholly readable).</p>"
    )
    yield f"<pre>{html.escape(index['command'])}</pre>"


def _sources(index: Mapping[str, Any]) -> Iterator[str]:
    """Who made the label maps, what measured motion, licences, what was dropped."""
    labels: dict[str, int] = {}
    for recording in index["recordings"]:
        for name, count in recording["labels"].items():
            labels[name] = labels.get(name, 0) + count
    yield "<h2>Label maps, motion, licences</h2><ul>"
    for name, count in sorted(labels.items()):
        yield f"<li>{count} label maps by {html.escape(name)}</li>"
    yield f"<li>motion measured by {html.escape(str(index['flow_teacher']))}</li>"
    for licence in sorted({recording["licence"] for recording in index["recordings"]}):
        yield f"<li>licence as stated: {html.escape(licence)}</li>"
    yield "</ul><h2>What was dropped</h2><ul>"
    for reason, meaning in REASONS.items():
        yield f"<li>{index['counts']['dropped'].get(reason, 0)} {meaning}</li>"
    yield "</ul>"


REASONS = {
    "black": "black frames",
    "repeated": "frames that repeat the one before",
    "cuts": "cuts between scenes, across which no clip goes (counted, nothing lost)",
    "short": "frames in stretches too short for a clip, and rests",
    "unrelated": "clips whose last frame shows too little of the first",
}


def _classes(index: Mapping[str, Any]) -> Iterator[str]:
    """Histogram of the classes, all splits together in the bar, each in a column."""
    space = LabelSpace.from_dict(index["label_space"])
    shares = index["class_shares"]
    largest = max((max(split.values()) for split in shares.values()), default=1.0)
    heads = "".join(f'<th class="number">{split}</th>' for split in shares)
    yield f"<h2>Classes</h2><table><tr><th>class</th>{heads}<th></th></tr>"
    for channel in space.channels:
        values = [split[channel.name] for split in shares.values()]
        if not any(values):
            continue
        cells = "".join(f'<td class="number">{value:.2%}</td>' for value in values)
        colour = f"rgb{tuple(channel.colour)}"
        bar = f'<span style="width:{100 * max(values) / largest:.1f}%;background:{colour}"></span>'
        yield f'<tr><td>{html.escape(channel.name)}</td>{cells}<td class="bar">{bar}</td></tr>'
    absent = [c.name for c in space.channels if not any(s[c.name] for s in shares.values())]
    yield f"</table><p>Absent: {html.escape(', '.join(absent)) or 'none'}.</p>"


def _motion(index: Mapping[str, Any]) -> Iterator[str]:
    """Histogram of how fast clips move."""
    motion = index["motion"]
    yield "<h2>Motion</h2>"
    if not motion["measured"]:
        yield "<p>Not measured.</p>"
        return
    quantiles = motion["pixels_per_frame_quantiles"].items()
    text = ", ".join(f"{float(share):.0%}: {value:.2f}" for share, value in quantiles)
    yield (
        f"<p>Pixels per frame, quantiles over the clips: {text}. The last frame shows "
        f"{motion['visible_in_last_frame']:.0%} of the first.</p><table>"
    )
    largest = max(motion["histogram"]) or 1
    for place, count in enumerate(motion["histogram"]):
        if count:
            low = place * motion["histogram_step"]
            bar = f'<span style="width:{100 * count / largest:.1f}%"></span>'
            yield (
                f'<tr><td class="number">{low:.2f} … {low + motion["histogram_step"]:.2f}</td>'
                f'<td class="number">{count}</td><td class="bar">{bar}</td></tr>'
            )
    yield "</table>"


def _recordings(index: Mapping[str, Any]) -> Iterator[str]:
    """One line for each recording."""
    yield (
        '<h2>Recordings</h2><table><tr><th>name</th><th>split</th><th class="number">clips</th>'
        '<th class="number">rate</th><th class="number">every</th><th>remarks</th></tr>'
    )
    for recording in index["recordings"]:
        dropped = [f"{n} {c}" for n, c in recording["dropped"].items() if c]
        remark = html.escape(recording["error"] or ", ".join(dropped))
        kind = ' class="error"' if recording["error"] else ""
        yield (
            f"<tr><td>{html.escape(recording['name'])}</td><td>{recording['split']}</td>"
            f'<td class="number">{recording["clips"]}</td>'
            f'<td class="number">{recording["frames_per_second"]:g}</td>'
            f'<td class="number">{recording["step"]}</td><td{kind}>{remark}</td></tr>'
        )
    yield "</table>"


def _previews(index: Mapping[str, Any], folder: Path) -> Iterator[str]:
    """Contact sheets of frames with labels."""
    shown = [r for r in index["recordings"] if (folder / f"{r['name']}.jpg").is_file()]
    step = max(1, -(-len(shown) // MOST_PREVIEWS))
    yield (
        "<h2>Frames with their labels</h2><p>A row is a clip: first frame and its label map, last "
        f"frame and its label map. Every {'' if step == 1 else f'{step}th '}recording.</p>"
    )
    for recording in shown[::step]:
        content = base64.b64encode((folder / f"{recording['name']}.jpg").read_bytes()).decode()
        name = html.escape(recording["name"])
        labels = html.escape(", ".join(f"{c} by {n}" for n, c in recording["labels"].items()))
        yield (
            f'<figure><img alt="clips of {name}" src="data:image/jpeg;base64,{content}">'
            f"<figcaption>{name} ({recording['split']}): labels {labels}</figcaption></figure>"
        )
