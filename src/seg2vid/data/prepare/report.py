"""The report of a prepared dataset: one HTML file for people, without any other file or network."""

import base64
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader

from seg2vid.labels.space import LabelSpace
from seg2vid.tools.files import replacing

MOST_PREVIEWS = 60
"""Recordings whose frames are shown; evenly picked where there are more."""
REASONS = {
    "black": "black frames",
    "repeated": "frames that repeat the one before",
    "cuts": "cuts between scenes, across which no clip goes (counted, nothing lost)",
    "short": "frames in stretches too short for a clip, and what was left at the end of others",
    "unrelated": "clips whose last frame shows too little of the first",
}


def write_report(index: Mapping[str, Any], previews: Path, path: Path) -> None:
    """Write the report of a dataset; ``previews`` holds a NAME.jpg for each recording."""

    def picture(recording: Mapping[str, Any]) -> str:
        return base64.b64encode((previews / f"{recording['name']}.jpg").read_bytes()).decode()

    labels: Counter[str] = Counter()
    for recording in index["recordings"]:
        labels.update(recording["labels"])
    splits = index["class_shares"].values()
    channels = LabelSpace.from_dict(index["label_space"]).channels
    classes = [(channel, [split[channel.name] for split in splits]) for channel in channels]
    motion = index["motion"]
    shown = [r for r in index["recordings"] if (previews / f"{r['name']}.jpg").is_file()]
    every = max(1, -(-len(shown) // MOST_PREVIEWS))
    loader = PackageLoader(__package__, ".")
    pages = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True, loader=loader)
    page = pages.get_template("report.html").render(
        index=index,
        labels=labels,
        reasons=REASONS,
        present=[(channel, shares) for channel, shares in classes if any(shares)],
        absent=[channel.name for channel, shares in classes if not any(shares)],
        largest=max((share for _, shares in classes for share in shares), default=1.0),
        bars=[
            (place * motion["histogram_step"], count)
            for place, count in enumerate(motion.get("histogram", ()))
            if count
        ],
        shown=shown[::every],
        every=every,
        picture=picture,
    )
    with replacing(path) as temporary:
        temporary.write_text(page, "utf-8", "backslashreplace")
