"""What ``seg2vid generate`` does: check, read the inputs, stream the passes to the files."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float, Int, UInt8
from torch import Tensor
from tqdm import tqdm

from seg2vid.labels.convert import to_file_ids, translate_ids
from seg2vid.labels.doctor import Encoding, diagnose
from seg2vid.labels.fit import Aspect, fit_image, fit_label_map
from seg2vid.labels.space import LabelSpace, get_label_space
from seg2vid.media.drawing import contact_sheet, pick_evenly
from seg2vid.media.generated import GeneratedVideo, VideoSink, check_output
from seg2vid.media.label_maps import LabelMapFile, read_instance_map, read_label_map, read_picture
from seg2vid.media.pictures import FORMATS, read_image, write_image
from seg2vid.media.video import Frame
from seg2vid.models.weights import list_models
from seg2vid.pipeline import Seg2VidPipeline
from seg2vid.tools.errors import MediaError, ModelError
from seg2vid.tools.files import check_place

SIZE_STEP = 32
"""Sides of a video are multiples of this: the networks halve the picture five times."""
LARGEST_SIDE = 4096
SHEET_COLUMNS = 8


@dataclass(frozen=True)
class GenerateOptions:
    """The options of ``seg2vid generate``; each is explained there."""

    labels: Path
    output: Path
    model: str | None = None
    frames: int | None = None
    fps: float | None = None
    seed: int = 0
    samples: int = 1
    first_frame: Path | None = None
    instances: Path | None = None
    size: tuple[int, int] | None = None
    aspect: Aspect = "crop"
    save: tuple[str, ...] = ()
    contact_sheet: Path | None = None
    encoding: Encoding = "auto"
    label_space: str | None = None
    resample: tuple[str, ...] = ()
    resample_seed: int = 0

    @property
    def outputs(self) -> dict[int, Path]:
        """The path of each seed's video."""
        if self.samples == 1:
            return {self.seed: self.output}
        stem, suffix = self.output.stem, self.output.suffix
        seeds = range(self.seed, self.seed + self.samples)
        return {seed: self.output.with_name(f"{stem}_seed{seed}{suffix}") for seed in seeds}


@dataclass(frozen=True)
class Scene:
    """The inputs at the size of the video, as a batch of one."""

    label_map: Int[Tensor, "1 height width"]
    instance_map: Int[Tensor, "1 height width"] | None
    first_frame: Float[Tensor, "1 3 height width"] | None
    notes: tuple[str, ...]
    """What was found and done, one line each; those that begin with "warning:" are warnings."""


@runtime_checkable
class MotionSource(Protocol):
    """Motion from elsewhere than the seed; ``transfer.ClipMotion`` is one."""

    def prepare(self, pipeline: Seg2VidPipeline, num_frames: int) -> str:
        """Get ready for videos of ``num_frames`` frames after the first; say what was found."""

    def play(
        self,
        pipeline: Seg2VidPipeline,
        label_map: Int[Tensor, "1 height width"],
        *,
        num_frames: int,
        instance_map: Int[Tensor, "1 height width"] | None,
        first_frame: Float[Tensor, "1 3 height width"] | None,
        seed: int,
    ) -> Iterator[GeneratedVideo]:
        """Yield the passes of one video, arguments as in ``Seg2VidPipeline.stream``."""


def check_size(size: tuple[int, int]) -> tuple[int, int]:
    """Return ``size``, (width, height); raise ``MediaError`` unless both are multiples of 32."""
    if any(side % SIZE_STEP or not SIZE_STEP <= side <= LARGEST_SIDE for side in size):
        what = f"a size of multiples of {SIZE_STEP} up to {LARGEST_SIDE}"
        near = [min(max(round(side / SIZE_STEP), 1) * SIZE_STEP, LARGEST_SIDE) for side in size]
        got, fix = f"{size[0]}x{size[1]}", f"use --size {near[0]}x{near[1]}"
        raise MediaError(what, got=got, fix=fix)
    return size


def check_options(options: GenerateOptions) -> None:
    """Raise ``MediaError`` for what can be seen to fail before the model is loaded."""
    for name, value in (("frames", options.frames), ("samples", options.samples)):
        if value is not None and value < 1:
            what = f"--{name} of at least 1"
            raise MediaError(what, got=value, fix=f"use --{name} 1 or more")
    if not 0 <= options.seed < 1 << 63:
        what = "a --seed from 0 to 9223372036854775807"
        raise MediaError(what, got=options.seed, fix="choose one in between")
    if options.size is not None:
        check_size(options.size)
    rate = 12.0 if options.fps is None else options.fps
    for path in options.outputs.values():
        check_output(path, extras=options.save, frames_per_second=rate)
    sheet = options.contact_sheet
    if sheet is not None:
        if sheet.suffix.lower() not in FORMATS:
            what = f"a contact sheet ending in {', '.join(FORMATS)}"
            raise MediaError(what, got=repr(sheet.name), fix="change the ending")
        check_place(sheet)
    read_picture(options.labels)


PhotoSegmenter = Callable[
    [UInt8[np.ndarray, "height width 3"], LabelSpace], Int[np.ndarray, "height width"]
]
"""Labels a photo with the ids of a space; ``segment.segment_photo`` is one."""


def run(
    options: GenerateOptions,
    motion: MotionSource | None = None,
    segmenter: PhotoSegmenter | None = None,
) -> Iterator[str]:
    """Make the videos; yield what a person wants to know, line by line. Raises ``Seg2VidError``.

    Motion is drawn from the seed, or played from ``motion``. With a ``segmenter`` a photo may stand
    in place of the label map.
    """
    check_options(options)
    name = options.model
    if name is None:
        available = list_models()
        if not available:
            fix = "name one with --model PATH"
            raise ModelError("a model that comes with seg2vid", got="none", fix=fix)
        name = available[0].name
    pipe = Seg2VidPipeline.from_pretrained(name)
    scene = read_scene(options, pipe, segmenter)
    yield from scene.notes
    num_frames = pipe.num_frames + 1 if options.frames is None else options.frames
    if motion is not None:
        yield motion.prepare(pipe, num_frames - 1)
    rows: dict[str, list[Frame]] = {}
    for seed, path in options.outputs.items():
        start = time.perf_counter()
        sink = make_video(
            pipe, scene, options, path=path, seed=seed, num_frames=num_frames, motion=motion
        )
        seconds = time.perf_counter() - start
        rows |= {f"seed {seed}: {name}": row for name, row in sink.kept.items() if row}
        places = ", ".join(map(str, sink.paths.values()))
        plural = "s" if num_frames > 1 else ""
        yield f"wrote {places} ({num_frames} frame{plural}, seed {seed}, {seconds:.1f} s)"
    if options.contact_sheet is not None:
        stacked = {title: np.stack(row) for title, row in rows.items()}
        write_image(options.contact_sheet, contact_sheet(stacked))
        yield f"wrote {options.contact_sheet}"


def make_video(
    pipe: Seg2VidPipeline,
    scene: Scene,
    options: GenerateOptions,
    *,
    path: Path,
    seed: int,
    num_frames: int,
    motion: MotionSource | None = None,
) -> VideoSink:
    """Generate one video of ``num_frames`` frames and write it pass by pass; return the sink."""
    sink = VideoSink(
        path,
        extras=options.save,
        frames_per_second=options.fps or pipe.frames_per_second,
        label_space=pipe.label_space,
        keep=pick_evenly(num_frames, SHEET_COLUMNS) if options.contact_sheet else (),
    )
    is_long = num_frames > 2 * (pipe.num_frames + 1)
    with (
        sink,
        tqdm(
            total=num_frames, unit="frame", leave=False, disable=None if is_long else True
        ) as progress,
    ):
        for chunk in _passes(pipe, scene, options, seed, num_frames - 1, motion):
            sink.write(chunk)
            progress.update(sink.count - progress.n)
    return sink


def _passes(
    pipe: Seg2VidPipeline,
    scene: Scene,
    options: GenerateOptions,
    seed: int,
    num_frames: int,
    motion: MotionSource | None,
) -> Iterator[GeneratedVideo]:
    """Yield the passes of one video, its motion drawn from the seed or played from ``motion``."""
    if motion is not None:
        return motion.play(
            pipe,
            scene.label_map,
            num_frames=num_frames,
            instance_map=scene.instance_map,
            first_frame=scene.first_frame,
            seed=seed,
        )
    return pipe.stream(
        scene.label_map,
        instance_map=scene.instance_map,
        first_frame=scene.first_frame,
        num_frames=num_frames,
        generator=torch.Generator().manual_seed(seed),
        resample=options.resample,
        resample_seed=options.resample_seed,
    )


def read_scene(
    options: GenerateOptions, pipe: Seg2VidPipeline, segmenter: PhotoSegmenter | None = None
) -> Scene:
    """Read label map, instance map and photo and bring them to the size of the video.

    A photo in place of the label map is segmented, if there is a ``segmenter``, and becomes the
    first frame.

    Raises ``MediaError`` or ``LabelMapError`` for what cannot be read or does not fit together.
    """
    width, height = options.size or (pipe.width, pipe.height)
    space = pipe.label_space
    own = space if options.label_space is None else get_label_space(options.label_space)
    read, photo = _read_labels(options, own, segmenter)
    ids = read.ids if own.names == space.names else translate_ids(read.ids, own, space)
    fitted = fit_label_map(
        ids, height=height, width=width, aspect=options.aspect, fill=space.void_id
    )
    instances = read.diagnosis.instance_map
    if options.instances is not None:
        instances = read_instance_map(options.instances)
        _check_same_size(options.instances, instances, ids)
    fitted_instances = None
    if instances is not None:
        fitted_instances = fit_label_map(
            instances, height=height, width=width, aspect=options.aspect, fill=0
        ).ids
    first_frame, photo = None, options.first_frame or photo
    if photo is not None:
        first_frame = _read_first_frame(photo, fitted.ids, ids.shape, options.aspect)
    return Scene(
        label_map=_batch(fitted.ids),
        instance_map=None if fitted_instances is None else _batch(fitted_instances),
        first_frame=first_frame,
        notes=(
            f"{options.labels}: {read.diagnosis.summary}",
            *(f"warning: {warning}" for warning in read.diagnosis.warnings),
            fitted.sentence,
        ),
    )


def _read_labels(
    options: GenerateOptions, space: LabelSpace, segmenter: PhotoSegmenter | None
) -> tuple[LabelMapFile, Path | None]:
    """Read the label map, or label the photo that stands in its place; then return its path too."""
    picture = read_picture(options.labels)
    diagnosis = diagnose(picture, space=space, encoding=options.encoding)
    if segmenter is None or not diagnosis.is_photo:
        return read_label_map(options.labels, space=space, encoding=options.encoding), None
    ids = segmenter(read_image(options.labels), space)
    plain = replace(picture, pixels=to_file_ids(ids, space), mode="P", palette=None)
    found = diagnose(plain, space=space, encoding="train")
    use = "; it becomes the first frame" if options.first_frame is None else ""
    found = replace(found, ids=ids, kind="train ids", detail=f"a photo, segmented first{use}")
    return LabelMapFile(ids, found), options.labels


def _batch(ids: Int[np.ndarray, "height width"]) -> Int[Tensor, "1 height width"]:
    return rearrange(torch.from_numpy(ids), "h w -> 1 h w")


def _check_same_size(
    path: Path, instances: Int[np.ndarray, "rows columns"], ids: Int[np.ndarray, "height width"]
) -> None:
    if instances.shape != ids.shape:
        (height, width), (rows, columns) = ids.shape, instances.shape
        what, got = f"an instance map of {width}x{height}, like the labels", f"{columns}x{rows}"
        raise MediaError(what, got=f"{path} with {got}", fix="give both at one size")


def _read_first_frame(
    path: Path, fitted: Int[np.ndarray, "height width"], source: tuple[int, ...], aspect: Aspect
) -> Float[Tensor, "1 3 height width"]:
    """Read the photo and fit it like the labels; with other proportions they would not align."""
    photo = read_image(path)
    proportions = photo.shape[1] / photo.shape[0] * source[0] / source[1]
    if not 0.98 < proportions < 1.02:
        what = f"a photo with the proportions of the labels ({source[1]}x{source[0]})"
        got = f"{path} with {photo.shape[1]}x{photo.shape[0]}"
        fix = "cut photo and labels to the same part of the scene"
        raise MediaError(what, got=got, fix=fix)
    pixels = fit_image(photo, height=fitted.shape[0], width=fitted.shape[1], aspect=aspect)
    return rearrange(torch.from_numpy(pixels), "h w rgb -> 1 rgb h w").float() / 255
