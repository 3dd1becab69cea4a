"""What is evaluated: models, baselines, oracles that see more, and the real clip as the ceiling."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor
from tqdm import tqdm

from seg2vid.data.stills import StillFolder
from seg2vid.data.teachers.flow import DISFlow
from seg2vid.evaluation.protocol import Protocol
from seg2vid.evaluation.video_pairs import VideoPairs, VideosOfClips
from seg2vid.labels.space import get_label_space
from seg2vid.media.generated import GeneratedVideo, join_passes
from seg2vid.models.depth import Depth
from seg2vid.models.motion_decoder import MotionDecoder
from seg2vid.models.weights import WEIGHTS_FILE, find_weights
from seg2vid.pipeline import BOXES, Seg2VidPipeline
from seg2vid.structures import Carrier, Clip, Motion
from seg2vid.tools.errors import ModelError, printable
from seg2vid.tools.files import digest_of
from seg2vid.tools.seeds import make_generators
from seg2vid.transfer import encode_motion, play_motion
from seg2vid.warp import compose_flows, follow_passes, motion_from_flows, warp_clip, warp_labels

SEEDS_OF_A_CLIP = 1000
"""Seeds that lie between two clips."""
THUMB = 4
"""Label maps are compared at every so manyth row and column."""
Role = Literal["model", "other", "baseline", "oracle", "ceiling"]
"""``other`` is another model in the same run; an oracle is shown more than the models are."""


@dataclass(frozen=True)
class Output(Carrier):
    """What a candidate makes of one clip, the first frame included in ``frames``."""

    frames: Float[Tensor, "samples frame 3 height width"]
    """RGB in [0, 1]."""
    label_maps: Int[Tensor, "samples frame height width"] | None = None
    """The candidate's own labels of its frames."""
    motion: Motion | None = None
    """Relative to the first frame; the batch axis counts samples."""
    seconds: float = 0.0
    depth: Depth | None = None
    """What the model sees of the first frame; the batch axis counts samples."""


@dataclass(frozen=True)
class Candidate:
    """Anything that can be evaluated."""

    key: str
    """Its name in the report and in files."""
    title: str
    role: Role
    about: str
    """What it sees and does, in a line."""
    make: Callable[[Clip, int], Output]
    """Makes its output for a clip of that number, looked at as far as its role allows."""
    sha256: str = ""
    """Of its weights."""


def _with_first(first: Tensor, rest: Tensor) -> Tensor:
    """Put the first of time, (batch, ...), before the others, (batch, time, ...)."""
    return torch.cat((first.unsqueeze(1), rest), 1)


def _real_clip(clip: Clip, _number: int) -> Output:
    labels = clip.label_map[:, None] if not clip.frames.shape[1] else None
    if clip.label_maps is not None:
        labels = _with_first(clip.label_map, clip.label_maps)
    return Output(_with_first(clip.first_frame, clip.frames), labels, clip.motion)


def _repeated_frame(clip: Clip, _number: int) -> Output:
    """Repeat the first frame and its labels, without motion."""
    count = clip.frames.shape[1] + 1
    frames = clip.first_frame.unsqueeze(1).expand(-1, count, -1, -1, -1)
    labels = clip.label_map.unsqueeze(1).expand(-1, count, -1, -1)
    flow = torch.zeros_like(clip.frames[:, :, :2])
    visible = torch.ones_like(flow[:, :, :1])
    return Output(frames, labels, Motion(flow, flow, visible, visible))


def _extrapolated_flow(clip: Clip, _number: int) -> Output:
    """Measure classical flow between the first two true frames and let everything go on like that.

    Every further frame follows the same flow once more (constant velocity at each place of the
    picture); nothing hidden is painted. The flow is that of DIS (Kroeger et al., ECCV 2016).
    """
    search = DISFlow()
    first, second = clip.first_frame, clip.frames[:, 0]
    forward, backward = search.flow(first, second), search.flow(second, first)
    forwards, backwards = [forward], [backward]
    for _ in range(clip.frames.shape[1] - 1):
        forwards.append(compose_flows(forward, forwards[-1]))
        backwards.append(compose_flows(backwards[-1], backward))
    motion = motion_from_flows(torch.stack(forwards, 1), torch.stack(backwards, 1))
    frames = warp_clip(clip.first_frame, motion.backward_flow)
    moved = [warp_labels(clip.label_map, flow) for flow in motion.backward_flow.unbind(1)]
    labels = torch.stack([clip.label_map, *moved], 1)
    return Output(_with_first(clip.first_frame, frames), labels, motion)


_AGAIN = "the first frame again and again"
_KEPT_UP = "sees one true frame more than the models: classical flow, kept up"
_FLOW = "flow of two true frames, extrapolated"
_BASELINES = (
    Candidate("truth", "the real clip", "ceiling", "what perfect frames would score", _real_clip),
    Candidate("repeat", "first frame repeated", "baseline", _AGAIN, _repeated_frame),
    Candidate("extrapolated", _FLOW, "oracle", _KEPT_UP, _extrapolated_flow),
)
BASELINES: Mapping[str, Candidate] = {baseline.key: baseline for baseline in _BASELINES}
"""The baselines of videos that need no data of their own, by key."""


@dataclass(frozen=True)
class TrainingPhotos:
    """Photos with label maps that baselines look things up in, at the protocol's size."""

    folder: Path
    height: int
    width: int

    @cached_property
    def stills(self) -> StillFolder:
        """The photos; raises ``MediaError`` where they are missing."""
        space = get_label_space("cityscapes")
        return StillFolder(self.folder, space, height=self.height, width=self.width)

    @cached_property
    def _summary(self) -> tuple[UInt8[Tensor, "photo pixel"], Float[Tensor, "class 3"]]:
        """The small label maps of all photos and the mean colour of each class, read once."""
        classes = get_label_space("cityscapes").num_channels
        sums, counts = torch.zeros(classes, 3, dtype=torch.float64), torch.zeros(classes)
        thumbs = []
        numbers = range(len(self.stills))
        for number in tqdm(numbers, "training photos", unit="photo", leave=False, disable=None):
            clip = self.stills.read(number)
            ids = clip.label_map.flatten()
            sums.index_add_(0, ids, clip.first_frame[0].flatten(1).T.double())
            counts += torch.bincount(ids, minlength=classes)
            thumbs.append(thumbnail(clip.label_map))
        return torch.cat(thumbs), (sums / counts.clamp(min=1)[:, None]).float()

    def nearest(self, label_map: Int[Tensor, "1 height width"]) -> int:
        """Return the number of the photo whose labels agree at most places; the first of equals."""
        agreeing = (self._summary[0] == thumbnail(label_map.cpu())).sum(1)
        return int(agreeing.argmax())

    @property
    def mean_colours(self) -> Float[Tensor, "class 3"]:
        """Mean RGB in [0, 1] of each class; black for one that no photo shows."""
        return self._summary[1]

    def _show_nearest(self, clip: Clip, _number: int) -> Output:
        found = self.stills.read(self.nearest(clip.label_map))
        return Output(found.first_frame.unsqueeze(1), found.label_map.unsqueeze(1))

    def _paint_means(self, clip: Clip, _number: int) -> Output:
        painted = self.mean_colours[clip.label_map.cpu()].permute(0, 3, 1, 2)
        return Output(painted.unsqueeze(1), clip.label_map.unsqueeze(1))

    @property
    def baselines(self) -> Mapping[str, Candidate]:
        """The baselines that look something up in the photos, by key."""
        alike = "the real photo of the training set whose label map agrees at most pixels"
        mean = "each class in its mean colour over the training set"
        nearest, painted = "nearest training photo", "mean colour of each class"
        return {
            "nearest": Candidate("nearest", nearest, "baseline", alike, self._show_nearest),
            "mean_colour": Candidate("mean_colour", painted, "baseline", mean, self._paint_means),
        }


def thumbnail(label_map: Int[Tensor, "batch height width"]) -> UInt8[Tensor, "batch pixel"]:
    """Return the ids at every ``THUMB``-th row and column, in reading order."""
    return label_map[:, THUMB // 2 :: THUMB, THUMB // 2 :: THUMB].flatten(1).to(torch.uint8)


@dataclass(frozen=True)
class Model:
    """A model of ours, drawing ``protocol.samples`` futures of each clip from the prior."""

    name: str
    """Name or path, as ``from_pretrained`` takes it."""
    protocol: Protocol
    device: str = "cpu"

    def __post_init__(self) -> None:
        """Raise ``ModelError`` where the weights are missing, before any work is done."""
        find_weights(self.name)

    @property
    def title(self) -> str:
        """Name of the model, without its folders."""
        path = Path(self.name)
        return printable(path.parent.name if path.name == WEIGHTS_FILE else path.name)

    def candidate(self, key: str, role: Role) -> Candidate:
        """Return the model as a candidate of an evaluation."""
        given = "label map" if self.protocol.task != "prediction" else "first frame and label map"
        drawn = f"{self.protocol.samples} draws" if self.protocol.samples > 1 else "one draw"
        return Candidate(
            key, self.title, role, f"sees the {given}; {drawn}", self.make, self.sha256
        )

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of its weight file."""
        return digest_of(find_weights(self.name))

    @cached_property
    def pipeline(self) -> Seg2VidPipeline:
        """The model, loaded on first use; raises ``ModelError`` for other classes."""
        boxes = BOXES if self.protocol.task != "prediction" else ("animator",)
        pipeline = Seg2VidPipeline.from_pretrained(self.name, boxes=boxes).to(self.device)
        names = get_label_space("cityscapes").names
        if pipeline.label_space.names != names:
            what, got = "a model of the label space cityscapes", pipeline.label_space.name
            raise ModelError(what, got=f"{got} ({self.name})", fix="evaluate another")
        return pipeline

    def make(self, clip: Clip, number: int) -> Output:
        """Draw the futures of clip ``number``."""
        first_seed = self.protocol.seed + SEEDS_OF_A_CLIP * number
        seeds = [first_seed + sample for sample in range(self.protocol.samples)]
        start = time.perf_counter()
        if self.protocol.is_still:
            frames = self._paint(clip, seeds)
            labels = clip.label_map.expand(len(seeds), -1, -1).unsqueeze(1)
            return Output(frames, labels, None, time.perf_counter() - start)
        given = clip.first_frame if self.protocol.task == "prediction" else None
        count = clip.frames.shape[1] + 1
        video = self.pipeline(clip.label_map, num_frames=count, first_frame=given, seed=seeds)
        return self.as_output(video, time.perf_counter() - start)

    @torch.inference_mode()
    def as_output(self, video: GeneratedVideo, seconds: float) -> Output:
        """Return a video with all that is known of it, relative to its very first frame."""
        depth, decoder = None, self.pipeline.animator.flow_decoder
        if isinstance(decoder, MotionDecoder) and self.pipeline.config.semantics != "none":
            depth = decoder.depth(video.first_frame, video.label_map)
        has_motion = video.frames.shape[1] > 0
        return Output(
            _with_first(video.first_frame, video.frames).clamp(0, 1),
            _with_first(video.label_map, video.label_maps),
            follow_passes(video.motion, video.pass_starts) if has_motion else None,
            seconds,
            depth,
        )

    def _paint(self, clip: Clip, seeds: list[int]) -> Float[Tensor, "samples 1 3 height width"]:
        """Paint first frames alone, the same that ``pipeline`` would begin with."""
        pipeline = self.pipeline
        ids = clip.label_map.expand(len(seeds), -1, -1)
        objects = pipeline.find_objects(ids, None)
        look = pipeline.draw_look(ids, objects, make_generators(len(seeds), seeds, None))
        with pipeline.arithmetic():
            return pipeline.first_frame(ids, objects, look).clamp(0, 1).unsqueeze(1)


def still_start(model: Model) -> Candidate:
    """Return a model's own first frame, repeated: what its motion has to beat where all is
    generated.
    """
    single = replace(model, protocol=replace(model.protocol, samples=1))

    def make(clip: Clip, number: int) -> Output:
        start = Clip(clip.first_frame, clip.frames[:, :0], clip.label_map)
        frame = single.make(start, number).frames[:, 0]
        return _repeated_frame(replace(clip, first_frame=frame), number)

    about = "the model's own first frame again and again"
    return Candidate("repeat", "its first frame repeated", "baseline", about, make)


def still_videos(pairs: VideoPairs | VideosOfClips) -> Candidate:
    """Return the same of videos of any model."""

    def make(clip: Clip, number: int) -> Output:
        frame = pairs.read_futures(number)[:1, 0].to(clip.first_frame)
        return _repeated_frame(replace(clip, first_frame=frame), number)

    about = "the videos' own first frame again and again"
    return Candidate("repeat", "their first frame repeated", "baseline", about, make)


def posterior(model: Model) -> Candidate:
    """Return a model shown the clip itself: the mean of q(z | clip, labels), pass after pass.

    Its motion is played on the clip's first frame; nothing is drawn. ``make`` raises ``ModelError``
    for clips that are shorter than a pass.
    """

    def make(clip: Clip, _number: int) -> Output:
        pipeline, count = model.pipeline, clip.frames.shape[1]
        start = time.perf_counter()
        every = _real_clip(clip, 0)
        begins = range(0, count - pipeline.num_frames + 1, pipeline.num_frames)
        if not begins:
            what = f"clips of at least {pipeline.num_frames} frames after the first"
            fix = "use another protocol, or leave the posterior out"
            raise ModelError(what, got=count, fix=fix)
        maps = every.label_maps
        if maps is None:
            maps = clip.label_map.unsqueeze(1).expand(-1, count + 1, -1, -1)
        codes = [encode_motion(pipeline, every.frames[:, at:], maps[:, at]) for at in begins]
        given: dict[str, Any] = {"num_frames": count + 1, "first_frame": clip.first_frame}
        passes = play_motion(pipeline, codes, clip.label_map, **given, seed=0)
        return model.as_output(join_passes(list(passes)), time.perf_counter() - start)

    about = "sees the clip: the motion its encoder finds in it"
    title = f"{model.title}, shown the clip"
    return Candidate("posterior", title, "oracle", about, make, model.sha256)


def video_folder(pairs: VideoPairs | VideosOfClips) -> Candidate:
    """Return videos of any model, read from a folder."""

    def make(clip: Clip, number: int) -> Output:
        return Output(pairs.read_futures(number).to(clip.first_frame))

    about = f"{pairs.samples} videos of each, as they lie in the folder"
    title = printable(pairs.videos.resolve().name)
    return Candidate("model", title, "model", about, make, pairs.digest)


def _can_encode(model: Model) -> bool:
    """Say whether a model has its motion encoder, and clips have its size and length."""
    pipeline, protocol = model.pipeline, model.protocol
    is_its_size = (pipeline.height, pipeline.width) == (protocol.height, protocol.width)
    is_long_enough = pipeline.num_frames <= protocol.num_frames
    return is_its_size and is_long_enough and bool(pipeline.motion_encoder_weights)


def baselines_of(
    protocol: Protocol, model: Model | None, videos: VideoPairs | VideosOfClips | None = None
) -> Sequence[Candidate]:
    """Return the baselines of a protocol of videos in its order; ``model``, or the ``videos`` in
    its place, lends its first frame or its encoder to those that need one; those that lack one are
    left out.
    """
    lent: dict[str, Candidate] = {}
    if videos is not None and protocol.task == "generation":
        lent["repeat"] = still_videos(videos)
    if model is not None and protocol.task == "generation":
        lent["repeat"] = still_start(model)
    if model is not None and "posterior" in protocol.baselines and _can_encode(model):
        lent["posterior"] = posterior(model)
    known = {**BASELINES, **lent}
    return [known[key] for key in protocol.baselines if key in known]
