"""A folder of graphs: written and checked against the pipeline, and opened as a pipeline.

The folder is a model folder like any other, weights and card inside, with a graph of each box
beside them and ``export.json``, which tells of these.
"""

import hashlib
import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from seg2vid.export import onnx, openvino
from seg2vid.export import torch as programs
from seg2vid.export.boxes import Box, Call, Tensors, boxes_of, record_calls, serve, try_out
from seg2vid.export.sessions import Session, Weights
from seg2vid.models.weights import WEIGHTS_FILE, find_weights
from seg2vid.pipeline import Seg2VidPipeline
from seg2vid.structures import Labels
from seg2vid.tools.devices import exact_arithmetic
from seg2vid.tools.environment import import_extra
from seg2vid.tools.errors import ModelError
from seg2vid.tools.files import digest_of, replacing
from seg2vid.tools.plain import build, read_plain

Target = Literal["onnx", "openvino", "torch"]
FORMATS: dict[str, Any] = {"onnx": onnx, "openvino": openvino, "torch": programs}
MANIFEST = "export.json"
CARD = "README.md"
BOUNDS: dict[Weights, float] = {"float32": 1e-4, "float16": 2e-2, "int8": 1.0}
"""Largest error that is let pass."""
LARGEST_BATCH = 1 << 16


@dataclass(frozen=True)
class Exported:
    """A box in the folder."""

    file: str
    inputs: dict[str, list[int | str]]
    """Name → shape, batch first."""
    outputs: list[str]
    largest_error: float
    """Against the pipeline: see ``largest_error``."""


@dataclass(frozen=True)
class Manifest:
    """What ``export.json`` tells."""

    to: Target
    model_sha256: str
    weights: Weights
    boxes: dict[str, Exported]
    opset: int | None = None
    """Version of ONNX's operators."""


def export_model(
    model: str,
    folder: Path,
    label_maps: Labels,
    *,
    to: Target = "onnx",
    weights: Weights = "float32",
    bound: float | None = None,
) -> Iterator[str]:
    """Write every box of a model into a new folder; yield a line with the error of each.

    Errors are those of what the boxes compute while videos of ``label_maps`` are made, at least
    two. Raises ``ModelError``, and leaves no folder, where an error is above ``bound``.
    """
    pipe, file = Seg2VidPipeline.from_pretrained(model), find_weights(model)
    with replacing(folder, is_folder=True) as place:
        exported: dict[str, Exported] = {}
        how: dict[str, Any] = {"weights": weights, "bound": bound}
        yield from write_boxes(pipe, label_maps, FORMATS[to], place, exported, **how)
        opset = None if to == "torch" else onnx.OPSET
        manifest = Manifest(to, digest_of(file), weights, exported, opset)
        (place / MANIFEST).write_text(json.dumps(asdict(manifest), indent=1) + "\n", "utf-8")
        shutil.copy(file, place / WEIGHTS_FILE)
        if file.with_name(CARD).is_file():
            shutil.copy(file.with_name(CARD), place / CARD)


def write_boxes(
    pipe: Seg2VidPipeline,
    label_maps: Labels,
    form: Any,
    place: Path,
    exported: dict[str, Exported],
    *,
    weights: Weights,
    bound: float | None,
) -> Iterator[str]:
    """Write the graph of each box and check it; yield a line of each, and one of whole videos.

    What was written is added to ``exported``. Raises ``ModelError`` for an error above ``bound``.
    """
    for package in form.PACKAGES:
        import_extra(package, "export")
    limit = BOUNDS[weights] if bound is None else bound
    calls, video = record_calls(pipe, label_maps)
    sessions: dict[str, Session] = {}
    for name, box in boxes_of(pipe).items():
        path, own = place / f"{name}{form.SUFFIX}", calls[name]
        form.save(trace(box, own), box, path, weights=weights, calls=own)
        with exact_arithmetic():
            sessions[name] = form.Session(path)
            error = largest_error(sessions[name], own)
        size = sum(one.stat().st_size for one in place.glob(f"{name}.*")) / 1e6
        line = f"{name:<12} {size:6.2f} MB  largest error {error:.1e}"
        if not error <= limit:
            what = f"errors of at most {limit:g} in every box"
            fix = "nothing is kept; allow it with --bound, or take other --weights"
            raise ModelError(what, got=line, fix=fix)
        shapes: dict[str, list[int | str]] = {
            key: ["batch", *one.shape[1:]] for key, one in zip(box.inputs, own[0][0], strict=True)
        }
        exported[name] = Exported(path.name, shapes, list(box.outputs), error)
        yield f"{line} of {len(own)} calls"
    with exact_arithmetic():
        found = try_out(serve(pipe, lambda name, inputs: sessions[name](inputs)), label_maps)
    for what in ("first_frame", "frames"):
        difference = (getattr(found, what) - getattr(video, what)).abs()
        mean, largest = float(difference.mean()), float(difference.max())
        yield f"{what.replace('_', ' '):<12} differ by {mean:.1e} on average, {largest:.1e} at most"


def trace(box: Box, calls: Sequence[Call]) -> torch.export.ExportedProgram:
    """Return the program of a box, its batch of any size, from the largest batch it was given."""
    inputs, _ = max(calls, key=lambda call: len(call[0][0]))
    inputs = tuple(one.clone() for one in inputs)  # no longer of inference mode
    batch = {0: torch.export.Dim("batch", min=1, max=LARGEST_BATCH)}
    with torch.no_grad(), exact_arithmetic():
        return torch.export.export(
            box.module.eval(), inputs, dynamic_shapes=tuple(batch for _ in inputs)
        )


def largest_error(session: Session, calls: Sequence[Call]) -> float:
    """Return by how much a session's outputs differ from those of the pipeline at most.

    As a share of the largest number of an output, or of 1 where that is smaller. Of a batch the
    first sample is also computed alone.
    """
    error = 0.0
    for inputs, outputs in calls:
        for count in {1, len(inputs[0])}:
            found = session(tuple(one[:count] for one in inputs))
            pairs = zip(found, (one[:count] for one in outputs), strict=True)
            error = max([error, *(_difference(*pair) for pair in pairs)])
    return error


def _difference(found: Tensor, wanted: Tensor) -> float:
    if not bool(found.isfinite().all()):
        return float("inf")
    return float((found - wanted).abs().max() / wanted.abs().max().clamp(min=1))


def read_manifest(folder: Path) -> Manifest:
    """Return what a folder holds; raise ``ModelError`` for one that ``export_model`` did not write.

    The same where its weights are others by now, or a graph is missing.
    """
    path, fix = folder / MANIFEST, "write one with: seg2vid export MODEL --to onnx -o FOLDER"
    what = "a folder that seg2vid export wrote"
    if not path.is_file():
        raise ModelError(what, got=f"{folder} without {MANIFEST}", fix=fix)
    values = read_plain(path, what, error=ModelError, fix=fix)
    manifest = build(Manifest, values, str(path), error=ModelError, fix=fix)
    if digest_of(find_weights(str(folder))) != manifest.model_sha256:
        got = f"other weights in {folder}"
        raise ModelError("the weights that the graphs were made of", got=got, fix="export again")
    for box in manifest.boxes.values():
        if not (path := folder / Path(box.file).name).is_file():
            raise ModelError(f"a file {path}", got="none", fix="export again")
    return manifest


def find_export(model: str) -> Manifest | None:
    """Return what ``export_model`` wrote into the folder ``model``; None for any other model.

    Raises ``Seg2VidError`` where it is damaged, or its runtime is not installed.
    """
    if not (Path(model) / MANIFEST).is_file():
        return None
    manifest = read_manifest(Path(model))
    for package in FORMATS[manifest.to].PACKAGES[-1:]:
        import_extra(package, "export")
    return manifest


def digest_of_graphs(folder: Path, manifest: Manifest) -> str:
    """Return a SHA-256 of all that computes: runtime, weights and the files of every box."""
    files = [one for name in sorted(manifest.boxes) for one in sorted(folder.glob(f"{name}.*"))]
    parts = [manifest.to, manifest.model_sha256, *map(digest_of, files)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def open_export(folder: str | Path, runtime: Target | None = None) -> Seg2VidPipeline:
    """Return a pipeline whose boxes a runtime computes, on the processor.

    By default it is the one that the graphs were written for; OpenVINO reads ONNX too. The pipeline
    is used like any other, at the model's own size. OpenVINO computes in bfloat16 where that is
    fast, unless this is called within ``exact_arithmetic``. Raises ``ModelError`` where the folder
    holds no graphs for that runtime.
    """
    place = Path(folder)
    manifest = read_manifest(place)
    runtime = runtime or manifest.to
    if manifest.to != runtime and (manifest.to, runtime) != ("onnx", "openvino"):
        fix = f"export with --to {runtime}"
        raise ModelError(f"graphs for {runtime}", got=f"those for {manifest.to}", fix=fix)
    sessions: dict[str, Session] = {}
    for name, box in manifest.boxes.items():
        sessions[name] = FORMATS[runtime].Session(place / Path(box.file).name)

    def run(name: str, inputs: Tensors) -> Tensors:
        device = inputs[0].device
        plain = tuple(one.float() if one.is_floating_point() else one for one in inputs)
        return tuple(one.to(device) for one in sessions[name](plain))

    pipe = serve(Seg2VidPipeline.from_pretrained(place), run)
    if lacking := boxes_of(pipe).keys() - sessions.keys():
        what, got = f"graphs of {', '.join(boxes_of(pipe))}", f"none of {', '.join(lacking)}"
        raise ModelError(what, got=got, fix="export again")
    return pipe
