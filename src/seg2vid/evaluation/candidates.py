"""Who is evaluated: models, videos of any model, and the baselines and oracles they lend to."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from seg2vid.evaluation.baselines import BASELINES, real_clip, repeated_frame
from seg2vid.evaluation.output import Candidate, Output, Role, with_first
from seg2vid.evaluation.protocol import Protocol
from seg2vid.evaluation.video_pairs import VideoPairs, VideosOfClips
from seg2vid.export.graphs import Manifest, digest_of_graphs, find_export, open_export
from seg2vid.labels.space import LabelSpace, get_label_space
from seg2vid.media.generated import GeneratedVideo
from seg2vid.media.passes import join_passes
from seg2vid.models.checkpoint import load_checkpoint
from seg2vid.models.motion_decoder import MotionDecoder
from seg2vid.models.pretrained import BOXES
from seg2vid.models.weights import WEIGHTS_FILE, find_weights
from seg2vid.pipeline import Seg2VidPipeline
from seg2vid.structures import Clip
from seg2vid.tools.errors import ModelError, printable
from seg2vid.tools.files import digest_of
from seg2vid.tools.seeds import make_generators
from seg2vid.transfer import encode_motion, play_motion
from seg2vid.warp import follow_passes

SEEDS_OF_A_CLIP = 1000
"""Seeds that lie between two clips."""


@dataclass(frozen=True)
class Model:
    """A model of ours, drawing ``protocol.samples`` futures of each clip from the prior.

    Of a folder that ``seg2vid export`` wrote, graphs and runtime are what is evaluated.
    """

    name: str
    """Name or path, as ``from_pretrained`` takes it."""
    protocol: Protocol
    device: str = "cpu"

    def __post_init__(self) -> None:
        """Raise ``ModelError`` for missing weights, other classes, and graphs of another size than
        the protocol's, before any work is done.
        """
        config = load_checkpoint(find_weights(self.name)).config
        space = LabelSpace.from_dict(config.label_space)
        if space.names != get_label_space("cityscapes").names:
            what, got = "a model of the label space cityscapes", f"{space.name} ({self.name})"
            raise ModelError(what, got=got, fix="evaluate another")
        protocol = self.protocol
        if self.exported and (config.height, config.width) != (protocol.height, protocol.width):
            what = f"graphs of {protocol.width}x{protocol.height}, the size of {protocol.name}"
            got = f"{config.width}x{config.height} ({self.name})"
            raise ModelError(what, got=got, fix="evaluate the model itself, or use other clips")

    @cached_property
    def exported(self) -> Manifest | None:
        """What the model's folder holds if it is an export."""
        return find_export(self.name)

    @property
    def title(self) -> str:
        """Name of the model, without its folders; of an export with runtime and weights."""
        path = Path(self.name)
        name = printable(path.parent.name if path.name == WEIGHTS_FILE else path.name)
        graphs = self.exported
        return f"{name} ({graphs.to}, {graphs.weights})" if graphs else name

    def candidate(self, key: str, role: Role) -> Candidate:
        """Return the model as a candidate of an evaluation."""
        given = "label map" if self.protocol.task != "prediction" else "first frame and label map"
        drawn = f"{self.protocol.samples} draws" if self.protocol.samples > 1 else "one draw"
        about = f"sees the {given}; {drawn}"
        if self.exported:
            graphs = f"graphs with weights as {self.exported.weights}"
            # Of the runtimes only OpenVINO follows the precision of a run.
            within = "" if self.exported.to == "openvino" else " in float32"
            about = f"{about}; {graphs}, computed by {self.exported.to}{within}"
        return Candidate(key, self.title, role, about, self.make, self.sha256)

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of its weight file, of an export of all that computes."""
        if self.exported:
            return digest_of_graphs(Path(self.name), self.exported)
        return digest_of(find_weights(self.name))

    @cached_property
    def pipeline(self) -> Seg2VidPipeline:
        """The model, loaded on first use; a runtime takes on the threads and precision of then."""
        if self.exported:
            return open_export(self.name).to(self.device)
        boxes = BOXES if self.protocol.task != "prediction" else ("animator",)
        return Seg2VidPipeline.from_pretrained(self.name, boxes=boxes).to(self.device)

    def make(self, clip: Clip, number: int) -> Output:
        """Draw the futures of clip ``number``."""
        first_seed = self.protocol.seed + SEEDS_OF_A_CLIP * number
        seeds = [first_seed + sample for sample in range(self.protocol.samples)]
        pipeline = self.pipeline
        start = time.perf_counter()
        if self.protocol.is_still:
            frames = self._paint(clip, seeds)
            labels = clip.label_map.expand(len(seeds), -1, -1).unsqueeze(1)
            return Output(frames, labels, None, time.perf_counter() - start)
        given = clip.first_frame if self.protocol.task == "prediction" else None
        count, rate = clip.frames.shape[1] + 1, clip.frames_per_second
        if pipeline.config.architecture == "paper":
            rate = pipeline.frames_per_second  # it knows no other
        video = pipeline(
            clip.label_map,
            num_frames=count,
            first_frame=given,
            seed=seeds,
            frames_per_second=rate,
        )
        return self.as_output(video, time.perf_counter() - start)

    @torch.inference_mode()
    def as_output(self, video: GeneratedVideo, seconds: float) -> Output:
        """Return a video with all that is known of it, relative to its very first frame."""
        depth, decoder = None, self.pipeline.animator.flow_decoder
        if isinstance(decoder, MotionDecoder) and self.pipeline.config.semantics != "none":
            depth = decoder.depth(video.first_frame, video.label_map)
        has_motion = video.frames.shape[1] > 0
        return Output(
            with_first(video.first_frame, video.frames).clamp(0, 1),
            with_first(video.label_map, video.label_maps),
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
        return repeated_frame(replace(clip, first_frame=frame), number)

    about = "the model's own first frame again and again"
    return Candidate("repeat", "its first frame repeated", "baseline", about, make)


def still_videos(pairs: VideoPairs | VideosOfClips) -> Candidate:
    """Return the same of videos of any model."""

    def make(clip: Clip, number: int) -> Output:
        frame = pairs.read_futures(number)[:1, 0].to(clip.first_frame)
        return repeated_frame(replace(clip, first_frame=frame), number)

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
        every = real_clip(clip, 0)
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
    """Say whether a model has its motion encoder, and clips have its size and length.

    Exports have none: what it would find were PyTorch's.
    """
    if model.exported:
        return False
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
