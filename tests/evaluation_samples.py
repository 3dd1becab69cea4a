"""A small report of an evaluation with realistic figures, and strips of frames to go with it."""

import copy
from pathlib import Path
from typing import Any

import numpy as np

from seg2vid.media.pictures import write_image

CANDIDATES = (
    ("model", "toycity", "model", "drawn from the prior, 4 seeds", 0.139),
    ("repeat", "first frame repeated", "baseline", "no motion at all", 0.178),
    ("extrapolated", "flow of two true frames, extrapolated", "oracle", "sees one more", 0.121),
    ("truth", "the real clip", "ceiling", "", 0.0),
)
METRICS = (
    ("lpips", "LPIPS", "", "lower", "Distance of deep features; blind to motion.", "pictures"),
    ("psnr", "PSNR", "dB", "higher", "Mean squared error on a logarithmic scale.", "pictures"),
    ("fvd", "FVD", "", "lower", "Distance of distributions of clips.", "distribution"),
    ("end_point_error", "End-point error", "px", "lower", "Error of the flow.", "motion"),
    ("mean_iou", "mean IoU", "%", "higher", "Labels an independent segmenter sees.", "labels"),
    ("best_of_n", "Best of n, LPIPS", "", "lower", "The nearest of n samples.", "diversity"),
    ("pairwise_lpips", "Pairwise LPIPS", "", "higher", "How far samples lie apart.", "diversity"),
)  # fmt: skip
SCALES = {"lpips": 1, "psnr": 150, "fvd": 4100, "end_point_error": 19, "mean_iou": 330,
          "best_of_n": 0.97, "pairwise_lpips": 0.3}  # fmt: skip
CLASSES = {"road": 0.33, "building": 0.25, "car": 0.08, "person": 0.01}


def figure(candidate: str, metric: str, frames: str, value: float | None) -> dict[str, Any]:
    """A figure with an interval of about a tenth."""
    half = None if value is None else 0.08 * abs(value) + 1e-3
    low, high = (None, None) if value is None or half is None else (value - half, value + half)
    remark = "indicative: 24 clips, 256 needed" if metric == "fvd" else ""
    return {"candidate": candidate, "metric": metric, "frames": frames, "value": value,
            "low": low, "high": high, "count": 24, "remark": remark}  # fmt: skip


def values_of(level: float, metric: str, clips: int, seed: int) -> list[float]:
    """Values of clips around a level."""
    noise = np.random.default_rng(seed).normal(size=clips)
    level = (0.3 - level) if metric == "psnr" else level
    return [round(float(v), 6) for v in SCALES[metric] * (level + 0.02 * noise)]


def make_report(clips: int = 24, **other: Any) -> dict[str, Any]:
    """A report as the evaluation writes it, in values that a run could give."""
    names = [f"cityscapes_seq{index}@{index * 4}" for index in range(clips)]
    report: dict[str, Any] = {
        "format": 1,
        "protocol": {"name": "cityscapes-prediction-v1", "sha256": "ab" * 32, "task": "prediction",
                     "about": "Real first frame and label map, 8 frames to come.", "height": 32,
                     "width": 64, "num_frames": 8, "horizons": [4, 8], "samples": 4, "changed": {}},
        "candidates": [], "figures": [], "curves": [], "classes": [],
        "metrics": [dict(zip(("key", "title", "unit", "better", "about", "group"), m, strict=True),
                         axis="samples" if m[0] == "best_of_n" else "frame") for m in METRICS],
        "clips": {"names": names, "values": {"lpips": {}, "psnr": {}}},
        "remarks": ["FVD over 24 clips is indicative: 256 are needed."],
        "provenance": {"time": "2026-03-01T12:00:00+00:00", "command": ["seg2vid", "evaluate"],
                       "commit": "c0ffee" * 6 + "abcd", "python": "3.11.9", "threads": 2,
                       "packages": {"torch": "2.4.0", "numpy": "1.26.4"}, "platform": "Linux",
                       "gpus": [], "processor": "a processor", "data_sha256": "cd" * 32,
                       "data_is_as_frozen": True, "judges": {"i3d.onnx": "ef" * 32},
                       "seeds": "0 to 3", "precision": "float32"},
        "cost": {"seconds": 612.0, "workers": 2, "threads_per_worker": 1,
                 "peak_memory_bytes": 2.1e9, "seconds_of_candidates": {"model": 40.0}},
    }  # fmt: skip
    for seed, (key, title, role, about, level) in enumerate(CANDIDATES):
        report["candidates"].append(
            {"key": key, "title": title, "role": role, "about": about, "sha256": f"{seed}" * 64}
        )
        _add_candidate(report, key, level, seed)
    return copy.deepcopy(report | other)


def _add_candidate(report: dict[str, Any], key: str, level: float, seed: int) -> None:
    """Figures, curves, classes and clip values of one candidate."""
    clips = len(report["clips"]["names"])
    for metric, *_ in METRICS:
        for frames in ("1-8", "1-4"):
            value: float | None = SCALES[metric] * (level if frames == "1-8" else 0.8 * level)
            if metric in report["clips"]["values"] and frames == "1-8":
                report["clips"]["values"][metric][key] = values_of(level, metric, clips, seed)
                value = float(np.mean(report["clips"]["values"][metric][key]))
            is_absent = (metric, frames) == ("fvd", "1-4") or (key, metric) == ("truth", "psnr")
            report["figures"].append(figure(key, metric, frames, None if is_absent else value))
    for metric, count in (("lpips", 8), ("mean_iou", 8), ("best_of_n", 4)):
        times = list(range(1, count + 1))
        values = [SCALES[metric] * level * (0.5 + t / 10) for t in times]
        report["curves"].append(
            {"metric": metric, "candidate": key, "times": times, "values": values,
             "lows": [0.9 * v for v in values], "highs": [1.1 * v for v in values]}
        )  # fmt: skip
    for index, (name, share) in enumerate(CLASSES.items()):
        value = level * (1 + index / 5)
        entry = {"metric": "lpips", "candidate": key, "class": name, "value": value, "share": share}
        report["classes"].append(entry | {"low": 0.9 * value, "high": 1.1 * value})


def write_strips(report: dict[str, Any], folder: Path, *, frames: int = 9) -> None:
    """Write a moving square on a ramp for every clip and candidate."""
    height, width = report["protocol"]["height"], report["protocol"]["width"]
    for index, clip in enumerate(report["clips"]["names"]):
        (folder / clip).mkdir(parents=True)
        for place, candidate in enumerate(report["candidates"]):
            strip = np.zeros((frames, height, width, 3), np.uint8)
            strip[..., place % 3] = np.linspace(30, 200, width, dtype=np.uint8)
            side = height // 4
            for time in range(frames):
                left = (time * width // 12 + index * 7) % (width - side)
                strip[time, side : 2 * side, left : left + side] = 255
            path = folder / clip / f"{candidate['key']}.jpg"
            write_image(path, strip.reshape(-1, width, 3))
