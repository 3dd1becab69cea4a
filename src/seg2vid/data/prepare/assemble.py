"""Parts of recordings → the shards, the index and the report of a dataset."""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from seg2vid.data.prepare.report import write_report
from seg2vid.data.prepared import FORMAT, INDEX, read_span
from seg2vid.data.recordings.recording import SPLITS
from seg2vid.labels.space import LabelSpace
from seg2vid.tools.errors import MediaError
from seg2vid.tools.files import digest_of, replacing

SPEED_STEP = 0.25
"""Width of a bar of the motion histogram, in pixels per frame."""
SPEED_BARS = 40
END = bytes(1024)
"""Two empty blocks end a tar."""
Part = Mapping[str, Any]
"""What ``part.prepare_recording`` wrote of one recording."""


def read_parts(folder: Path, names: Sequence[str]) -> list[dict[str, Any]]:
    """Read the parts of these recordings, in this order. Raises ``MediaError`` for a broken one."""
    parts = []
    for name in names:
        path = folder / f"{name}.json"
        try:
            parts.append(json.loads(path.read_text("utf-8")))
        except (OSError, ValueError) as error:
            what, got = f"a finished part at {path}", str(error)
            raise MediaError(what, got=got, fix="delete it and run again") from None
    return parts


def assemble_dataset(
    output: Path,
    parts: Sequence[Part],
    splits: Mapping[str, str],
    settings: Mapping[str, Any],
    *,
    shard_bytes: int,
) -> dict[str, Any]:
    """Write shards, report and, last of all, the index; return the index.

    ``splits`` says where each recording belongs, ``settings`` is what the index says besides
    counts. The clips of a split are mixed once, by a fixed seed, so that a shard begins with many
    recordings. Raises ``MediaError`` where no clip came about.
    """
    if not any(part["clips"] for part in parts):
        reasons = []
        for part in parts[:3]:
            counts = ", ".join(f"{name} {n}" for name, n in part["dropped"].items() if n)
            reasons.append(f"{part['name']}: {part['error'] or counts or 'too short'}")
        what, fix = "at least one clip", "lower --frames, --step or --least-visible"
        raise MediaError(what, got=f"none ({'; '.join(reasons)})", fix=fix)
    clips: list[dict[str, Any]] = []
    shards: dict[str, list[dict[str, Any]]] = {}
    for split in SPLITS:
        own = [part for part in parts if splits[part["name"]] == split and part["clips"]]
        if own:
            shards[split] = _write_shards(output, split, own, clips, shard_bytes)
    index = {
        "format": FORMAT,
        **settings,
        "counts": {
            "recordings": len(parts),
            "unreadable": sum(part["error"] is not None for part in parts),
            "clips": dict(Counter(clip["split"] for clip in clips)),
            "dropped": {
                reason: sum(part["dropped"][reason] for part in parts)
                for reason in parts[0]["dropped"]
            },
        },
        "has_instances": all(part["has_instances"] for part in parts if part["clips"]),
        "class_shares": _class_shares(parts, splits, settings["label_space"]),
        "motion": _motion(clips),
        "recordings": [
            {k: v for k, v in part.items() if k not in ("clips", "class_pixels", "has_instances")}
            | {"split": splits[part["name"]], "clips": len(part["clips"])}
            for part in parts
        ],
        "shards": shards,
        "clips": clips,
    }
    write_report(index, output / "parts", output / "report.html")
    with replacing(output / INDEX) as temporary:
        temporary.write_text(json.dumps(index, indent=1, sort_keys=True) + "\n", "utf-8")
    return index


def _write_shards(
    output: Path, split: str, parts: Sequence[Part], clips: list[dict[str, Any]], limit: int
) -> list[dict[str, Any]]:
    """Write the shards of a split, return them, and append the place of every clip to ``clips``."""
    entries = [clip for part in parts for clip in part["clips"]]
    groups: list[list[dict[str, Any]]] = []
    filled = 0
    for number in np.random.default_rng(0).permutation(len(entries)):
        size = entries[number]["size"]
        if not groups or filled + size > limit:
            groups.append([])
            filled = len(END)
        groups[-1].append(entries[number])
        filled += size
    shards = []
    for number, group in enumerate(groups):
        path = output / f"{split}-{number:06d}.tar"
        with replacing(path) as temporary, temporary.open("wb") as shard:
            for clip in group:
                clips.append({**clip, "split": split, "shard": number, "offset": shard.tell()})
                fix = f"delete parts/{clip['recording']}.json and run again"
                tar = output / "parts" / f"{clip['recording']}.tar"
                shard.write(read_span(tar, clip["offset"], clip["size"], fix=fix))
            shard.write(END)
        size, digest = path.stat().st_size, digest_of(path)
        shards.append({"file": path.name, "clips": len(group), "bytes": size, "sha256": digest})
    return shards


def _class_shares(
    parts: Sequence[Part], splits: Mapping[str, str], space: Mapping[str, Any]
) -> dict[str, dict[str, float]]:
    names = LabelSpace.from_dict(space).names
    shares = {}
    for split in SPLITS:
        own = [part["class_pixels"] for part in parts if splits[part["name"]] == split]
        pixels = np.sum(own, axis=0)
        if pixels.sum():
            pairs = zip(names, pixels / pixels.sum(), strict=True)
            shares[split] = {name: round(float(share), 6) for name, share in pairs}
    return shares


def _motion(clips: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    speeds = [clip["speed"] for clip in clips if clip["speed"] is not None]
    if not speeds:
        return {"measured": False}
    end = SPEED_STEP * SPEED_BARS
    bars, _ = np.histogram(np.minimum(speeds, end - 1e-6), SPEED_BARS, (0, end))
    visible = np.mean([clip["visible"] for clip in clips if clip["visible"] is not None])
    return {
        "measured": True,
        "pixels_per_frame_quantiles": {
            f"{share:.2f}": round(float(np.quantile(speeds, share)), 4)
            for share in (0.05, 0.25, 0.5, 0.75, 0.95)
        },
        "histogram_step": SPEED_STEP,
        "histogram": bars.tolist(),
        "visible_in_last_frame": round(float(visible), 4),
    }


def assign_splits(
    recordings: Sequence[tuple[str, str, str | None]], shares: Sequence[float]
) -> dict[str, str]:
    """Assign each recording (name, group, prescribed split) to ``train``, ``val`` or ``test``.

    Groups go as a whole, in an order that depends on their names alone; ``shares`` are those of
    validation and test among the recordings without a prescribed split, what is left is for
    training. A share above zero gets at least one group where there are three or more. Where a
    split is prescribed for a part of a group the rest follows it.
    """
    splits = {name: split for name, _, split in recordings if split is not None}
    prescribed = {group: split for _, group, split in recordings if group and split is not None}
    groups: dict[str, list[str]] = {}
    for name, group, split in recordings:
        if split is None and group in prescribed:
            splits[name] = prescribed[group]
        elif split is None:
            groups.setdefault(group or name, []).append(name)
    order = sorted(groups, key=lambda group: hashlib.sha256(group.encode()).hexdigest())
    free = sum(map(len, groups.values()))
    for place, (split, share) in enumerate(zip(("val", "test"), shares, strict=True)):
        wanted, taken = share * free, 0
        least = 1 if share > 0 and len(groups) >= 3 else 0
        count = 0
        left = (*shares[place + 1 :], 1 - sum(shares))
        kept = sum(other > 0 for other in left)  # one group for each split that comes after
        while len(order) > kept and (taken + len(groups[order[0]]) / 2 <= wanted or count < least):
            group = order.pop(0)
            splits |= dict.fromkeys(groups[group], split)
            taken, count = taken + len(groups[group]), count + 1
    return splits | {name: "train" for group in order for name in groups[group]}
