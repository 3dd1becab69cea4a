"""A static folder that makes videos in the browser: page, graphs, and ONNX Runtime Web.

``page/`` is hand-written JavaScript that does between the boxes what Python does here. The runtime
comes from the npm package onnxruntime-web of one version, each file of it known by its digest.
"""

import hashlib
import json
import shutil
import subprocess
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from seg2vid.export import onnx
from seg2vid.export.graphs import Exported, write_boxes
from seg2vid.export.sessions import Weights
from seg2vid.labels.space import LabelSpace
from seg2vid.models.first_frame import GRAIN_SIZE
from seg2vid.models.looks import (
    ALIKE,
    FEWEST,
    MOST_OFF,
    OBJECT_RANGE,
    PICTURE_RANGE,
)
from seg2vid.models.motion_decoder import MotionDecoder
from seg2vid.pipeline import Seg2VidPipeline
from seg2vid.structures import Labels
from seg2vid.tools.errors import MediaError, ModelError
from seg2vid.tools.files import replacing

PAGE = Path(__file__).with_name("page")
PACKAGE = "onnxruntime-web@1.30.0"
FILES = {
    "ort.webgpu.bundle.min.mjs": "0730816731ce2cdfb06f273da065d4a1c7091eb9d1756a83b2916c8a89d015e2",
    "ort-wasm-simd-threaded.asyncify.wasm": (
        "39f9f0894d478800487ed9f7dbe92618498db320cf55c8e3d89adff8dce658da"
    ),
}
"""Files of the package's dist/ that the page loads, and their SHA-256: what computes on a graphics
card does so on the processor too, no slower than the build for that alone.
"""
NOTICE = """The files in this folder are of ONNX Runtime Web 1.30.0 (npm package onnxruntime-web),
Copyright (c) Microsoft Corporation, MIT licence.
"""


def export_site(
    model: str,
    folder: Path,
    maps: Mapping[str, Labels],
    *,
    package: Path | None = None,
    weights: Weights = "float16",
    bound: float | None = None,
) -> Iterator[str]:
    """Write a site that runs a model in the browser into a new folder; yield what was written.

    ``maps`` (height, width) by name are what a visitor may begin with; the graphs are checked with
    them, as by ``export_model``. ``package`` is that of onnxruntime-web, a .tgz or its folder;
    without it npm fetches it. Raises ``MediaError`` where it cannot be had or is another.
    """
    pipe = Seg2VidPipeline.from_pretrained(model)
    facts = describe(pipe) | {"maps": list(maps), "name": Path(model).name}
    ids = torch.stack(list(maps.values()))
    with replacing(folder, is_folder=True) as place:
        shutil.copytree(PAGE, place, dirs_exist_ok=True)
        (place / "ort").mkdir()
        copy_runtime(package, place / "ort")
        (place / "boxes").mkdir()
        exported: dict[str, Exported] = {}
        pairs = ids if len(ids) > 1 else ids.expand(2, -1, -1)
        how: dict[str, Any] = {"weights": weights, "bound": bound}
        yield from write_boxes(pipe, pairs, onnx, place / "boxes", exported, **how)
        boxes = {
            name: {"file": f"boxes/{box.file}", "inputs": box.inputs}
            for name, box in exported.items()
        }
        facts |= {"boxes": boxes, "runtime": list(FILES)}
        (place / "maps.bin").write_bytes(ids.to(torch.uint8).numpy().tobytes())
        if (known := pipe.first_frame.known) is not None:
            numbers = (known.whole, known.segments, known.areas, known.spread)
            (place / "looks.bin").write_bytes(
                b"".join(one.float().numpy().astype("<f4").tobytes() for one in numbers)
            )
        (place / "model.json").write_text(json.dumps(facts) + "\n", "utf-8")
        size = sum(one.stat().st_size for one in place.rglob("*") if one.is_file()) / 1e6
    yield f"wrote {folder}, {size:.1f} MB; look at it with: python -m http.server -d {folder}"


def describe(pipe: Seg2VidPipeline) -> dict[str, Any]:
    """Return what the page is told of a model; raise ``ModelError`` for one that it cannot run."""
    decoder, config = pipe.animator.flow_decoder, pipe.config
    if not isinstance(decoder, MotionDecoder) or config.semantics != "split":
        what, fix = "a model of a scene with objects apart", "export another, as toycity"
        got = f"architecture {config.architecture}, semantics {config.semantics}"
        raise ModelError(what, got=got, fix=fix)
    space, depth = LabelSpace.from_dict(config.label_space), decoder.depth
    traffic = decoder.traffic
    first_frame, known = config.first_frame, pipe.first_frame.known
    colours = space.colours
    facts: dict[str, Any] = {
        "width": config.width,
        "height": config.height,
        "numFrames": config.num_frames,
        "framesPerSecond": config.frames_per_second,
        "channels": space.num_channels,
        "classes": [
            {"name": name, "colour": [int(part) for part in colours[number]]}
            for number, name in enumerate(space.names)
        ],
        "void": space.void_id,
        "foreground": list(space.foreground_ids),
        "ground": list(depth.ground),
        "road": list(depth.road),
        "thin": list(depth.thin),
        "sky": depth.sky,
        "vehicles": list(traffic.vehicles),
        "cars": list(traffic.cars),
        "paces": list(traffic.paces),
        "spacings": list(traffic.spacings),
        "riders": list(traffic.riders),
        "cycles": list(traffic.cycles),
        "hasGround": decoder.has_ground,
        "isGated": config.gate_flow,
        "wholeNoise": first_frame.global_noise,
        "segmentNoise": first_frame.segment_noise,
        "grainSize": list(GRAIN_SIZE) if first_frame.grain else None,
        "backgroundCode": config.flow_decoder.background_code,
        "foregroundCode": config.flow_decoder.foreground_code,
        "known": None,
        "licence": pipe.provenance.get("licence"),
    }
    if known is not None:
        filled = known.filled.clamp(max=len(known.whole))
        facts["known"] = {
            "count": len(known.whole),
            "pictures": int(filled[0, 0]),
            "filled": filled[1].tolist(),
            "pictureRange": PICTURE_RANGE,
            "classRange": known.class_range,
            "mostOff": MOST_OFF,
            "objectRange": OBJECT_RANGE,
            "alike": ALIKE,
            "fewest": FEWEST,
            "whole": known.whole.numel(),
            "segments": known.segments.numel(),
            "areas": known.areas.numel(),
            "spread": known.spread.numel(),
        }
    return facts


def copy_runtime(package: Path | None, place: Path) -> None:
    """Copy the files that the page loads from a package of onnxruntime-web, each checked."""
    with _unpacked(package) as dist:
        for name, digest in FILES.items():
            source = dist / name
            what = f"{name} of {PACKAGE}"
            fix = f"get the package with: npm pack {PACKAGE}, and name its file with --ort"
            if not source.is_file():
                raise MediaError(what, got=f"none in {package or dist}", fix=fix)
            if hashlib.sha256(content := source.read_bytes()).hexdigest() != digest:
                raise MediaError(what, got=f"{package or source} with other bytes", fix=fix)
            (place / name).write_bytes(content)
    (place / "NOTICE.txt").write_text(NOTICE, "utf-8")


@contextmanager
def _unpacked(package: Path | None) -> Iterator[Path]:
    """Give the folder dist/ of a package."""
    if package is not None and package.is_dir():
        yield package if package.name == "dist" else package / "dist"
        return
    with TemporaryDirectory() as folder:
        archive = _fetch(Path(folder)) if package is None else package
        what = f"the package {PACKAGE}, a .tgz or its folder"
        try:
            with tarfile.open(archive) as packed:
                for name in FILES:
                    packed.extract(f"package/dist/{name}", folder, filter="data")
        except (OSError, KeyError, tarfile.TarError) as problem:
            got = f"{archive}: {problem}"
            raise MediaError(what, got=got, fix=f"get it with: npm pack {PACKAGE}") from None
        yield Path(folder) / "package" / "dist"


def _fetch(folder: Path) -> Path:
    """Let npm fetch the package, from whichever registry it is told to use."""
    what = f"the package {PACKAGE}"
    fix = f"get it elsewhere with: npm pack {PACKAGE}, and name its file with --ort"
    try:
        done = subprocess.run(
            ["npm", "pack", "--silent", PACKAGE],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as problem:
        raise MediaError(what, got=f"npm, which fetches it: {problem}", fix=fix) from None
    found = sorted(folder.glob("*.tgz"))
    if done.returncode or not found:
        got = f"npm failed: {(done.stderr or done.stdout).strip() or done.returncode}"
        raise MediaError(what, got=got, fix=fix)
    return found[0]
