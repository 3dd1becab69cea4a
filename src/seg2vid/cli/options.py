"""The options of every verb: a dataclass for each; its docstring and those of its fields are the
help. What the verbs do stands in the other modules, which are imported when it is asked for.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any, ClassVar, Literal

from seg2vid.cli.arguments import POSITIONAL
from seg2vid.tools.computing import Computing, DeviceName
from seg2vid.tools.ranges import LARGEST_SEED, MOST_PROCESSES, ranged
from seg2vid.training.config import (
    FirstFrameTrainingConfig,
    MotionTrainingConfig,
    RunConfig,
    SegmenterTrainingConfig,
)

Aspect = Literal["crop", "pad"]
Encoding = Literal["auto", "train", "raw", "colour", "instance"]
Palette = Literal["known", "nearest"]


@dataclass(frozen=True, kw_only=True)
class VideoOptions(Computing):
    """What every verb that makes videos is told."""

    output: Path
    """Where to: .mp4, .webm, .gif, .webp, or a folder name for png frames."""
    model: str | None = None
    """Name (see `seg2vid models`) or path of a model."""
    runtime: Literal["torch", "onnx", "openvino"] = "torch"
    """What computes the networks; onnx and openvino need a --model that `seg2vid export` wrote."""
    frames: int | None = ranged(None, 1)
    """Frames of the video, the first one included; 1 paints that one alone."""
    seconds: float | None = ranged(None, 0.001, 86_400)
    """Length of the video, instead of --frames (default: 3)."""
    fps: float | None = None
    """Frames per second (default: the model's): the same drive, more or less smoothly."""
    speed: float = ranged(1.0, 0.01, 100)
    """How fast the scene moves: 0.25 is slow motion."""
    loop: bool = False
    """Drive there and back, slowest at both ends, so that the video can go round for ever."""
    camera: str | None = field(default=None, metadata={"metavar": "HOW"})
    """How the camera moves: still, forward=8,right=0,turn=-3 (m/s, degrees/s), x0.5, or a file of
    poses (default: as the seed says, like all that is not told).
    """
    move: list[str] | None = field(default=None, metadata={"metavar": "NAME=HOW"})
    """How objects move, as in car=still, person=right:1.2, car#26003=forward:6, all=x0.5; give it
    again for more. See docs/control.md.
    """
    freeze: tuple[str, ...] = ()
    """Classes that stay where they are in the picture."""
    strength: float = ranged(1.0, 0, 1)
    """How strictly wishes are kept: 0 is as the seed says."""
    control: Path | None = None
    """File with all such wishes, instead."""
    seed: int = ranged(0, 0, LARGEST_SEED)
    """The same seed gives the same video, another one another future."""
    samples: int = ranged(1, 1, 10_000)
    """Number of videos, from seeds SEED, SEED + 1 and so on."""
    diverse: int | None = ranged(None, 1, 1000)
    """Number of videos, instead of --samples: those of 8 times as many seeds, from SEED on, that
    move most differently. Motions are compared before anything is painted.
    """
    instances: Path | None = None
    """Map that tells the objects apart, of the same size as the label map."""
    size: tuple[int, int] | None = None
    """Size of the video, multiples of 32 (default: a photo's own up to 2048x1024, else the
    model's).
    """
    aspect: Aspect = "crop"
    """How other proportions are brought to the size: crop or pad, never stretch."""
    save: tuple[str, ...] = ()
    """Also write flow, visible, forward_visible, labels, overlay, instances, painted, depth,
    source, kitti_flow, poses, boxes, control-seg, control-depth, control-flow: beside the video to
    look at, in a folder of frames as exact data (docs/conventions.md). Of several samples also
    uncertainty, where they differ: OUTPUT_uncertainty, a folder.
    """
    contact_sheet: Path | None = None
    """Also write a picture of evenly spaced frames, for a quick look."""
    encoding: Encoding = "auto"
    """How to read the label map; auto finds out."""
    palette: Palette = "known"
    """How to read a drawing: known refuses colours of no class, nearest takes the nearest class."""
    label_space: str | None = None
    """Name (see `seg2vid labels spaces`) or .yaml file of its classes (default: the model's)."""
    overwrite: bool = False
    """Replace files that exist. A folder is replaced if seg2vid wrote all of it, else never."""
    compile: bool = False
    """Compile the networks first, which takes a minute or two: for many or long videos."""
    no_restricted: bool = False
    """Refuse weights for non-commercial use only, as SEG2VID_NO_RESTRICTED=1 does everywhere."""

    def outputs(self, names: Sequence[str]) -> dict[tuple[int, int], Path]:
        """The path of each video, by the numbers of its input and of its own."""
        paths, count = {}, self.diverse or self.samples
        for (number, name), own in product(enumerate(names), range(count)):
            parts = [name] if len(names) > 1 else []
            if self.diverse is not None:
                parts.append(f"diverse{own + 1}")
            elif count > 1:
                parts.append(f"seed{self.seed + own}")
            place = self.output
            if parts and place.name:
                place = place.with_name("_".join([place.stem, *parts]) + place.suffix)
            paths[number, own] = place
        return paths

    def shared(self, names: Sequence[str]) -> list[Path]:
        """The path that what is common to the videos of each input is named after."""
        place = self.output
        if len(names) < 2 or not place.name:
            return [place] * len(names)
        return [place.with_name(f"{place.stem}_{name}{place.suffix}") for name in names]


@dataclass(frozen=True, kw_only=True)
class Generate(VideoOptions):
    """Make a video from a label map, or from a photo; one each of several, or of a folder."""

    labels: list[Path] = field(metadata=POSITIONAL)
    """Label map: train ids, raw ids, palette, class colours or instance ids; or a photo, which is
    segmented first and becomes the first frame. Of several, or a folder of them, each video is
    called OUTPUT_NAME.
    """
    first_frame: Path | None = None
    """A photo to begin with, instead of a generated first frame."""
    photo: bool = False
    """Take the picture for a photo, whatever it looks like."""
    look: Path | None = None
    """A photo whose light, weather and materials the first frame takes on."""
    look_labels: Path | None = None
    """Its label map (default: the bundled segmenter's)."""
    resample: tuple[str, ...] = ()
    """Classes to paint anew, as in building,car; all others keep their look."""
    resample_seed: int = ranged(0, 0, LARGEST_SEED)
    """Another number gives these classes another look."""


@dataclass(frozen=True, kw_only=True)
class Animate(VideoOptions):
    """Make a video from a photo, which is its first frame."""

    photo: Path = field(metadata=POSITIONAL)
    """The first frame."""
    labels: Path | None = None
    """Its label map: train ids, raw ids, palette, class colours or instance ids (default: the
    bundled segmenter's).
    """
    motion_from: Path | None = None
    """Folder of frames or video that the photo shall move like."""
    motion_labels: Path | None = None
    """Label map of its first frame (default: labels/FRAME.png in that folder)."""
    motion_step: int = 1
    """Take every Nth of its frames; models have a frame rate of their own."""


@dataclass(frozen=True, kw_only=True)
class Models:
    """List the models that can be used at once."""


@dataclass(frozen=True, kw_only=True)
class Export:
    """Write the networks of a model as graphs for other runtimes, each checked against PyTorch."""

    model: str = field(metadata=POSITIONAL)
    """Name (see `seg2vid models`) or path of a model."""
    to: Literal["onnx", "openvino", "torch", "web"] = "onnx"
    """What to write: ONNX graphs, OpenVINO's files, PyTorch's exported programs, or a site that
    makes videos in the browser.
    """
    output: Path
    """The folder to write: a model for `generate --model FOLDER --runtime onnx` or openvino, or the
    site.
    """
    maps: Path | None = None
    """Folder of label maps to check with, at least one, which the site offers too (default: three
    toy-city frames).
    """
    weights: Literal["auto", "float32", "float16", "int8"] = "auto"
    """How weights are stored: float16 takes half the space and is computed with as float32; with
    int8 convolutions are computed in it, with ranges from the label maps; auto takes float16 for
    the site, else float32.
    """
    ort: Path | None = None
    """The npm package onnxruntime-web 1.30.0 for the site, a .tgz or its folder (default: fetched
    by npm).
    """
    bound: float | None = ranged(None, 0, 1000)
    """Largest error of a box, as a share of the largest number of its output, or of 1; above it
    nothing is written (default: 0.0001, with float16 0.02, with int8 1).
    """


@dataclass(frozen=True, kw_only=True)
class Assemble:
    """Join the weights of both stages into a model folder that `generate --model` takes."""

    first_frame: str = field(metadata=POSITIONAL)
    """Weights of the first-frame run (model.safetensors), or the name or path of a model."""
    motion: str = field(metadata=POSITIONAL)
    """Weights of the motion run (model.safetensors), or the name or path of a model."""
    output: Path
    """The folder to write."""


@dataclass(frozen=True, kw_only=True)
class Convert:
    """Turn a checkpoint that the paper's authors released into motion weights for `assemble`."""

    file: Path = field(metadata=POSITIONAL)
    """The released file (.pth.tar)."""
    output: Path
    """The folder to write."""


@dataclass(frozen=True, kw_only=True)
class LabelsCheck:
    """Say what a label map is, what it holds, what is wrong and how to repair it."""

    file: Path = field(metadata=POSITIONAL)
    """The label map."""
    label_space: str = "cityscapes"
    """Name (see `seg2vid labels spaces`) or .yaml file of the classes."""
    encoding: Encoding = "auto"
    """How to read the file; auto finds out."""
    palette: Palette = "known"
    """How to read a drawing: known refuses colours of no class, nearest takes the nearest class."""


@dataclass(frozen=True, kw_only=True)
class LabelsSpaces:
    """List the label spaces: the classes of each and their colours."""

    label_space: str | None = None
    """Name or .yaml file of one of them (default: all that come with seg2vid)."""


@dataclass(frozen=True, kw_only=True)
class LabelsConvert(LabelsCheck):
    """Turn any label map into a palette PNG of train ids (or plain class colours)."""

    output: Path
    """The .png to write."""
    to: Literal["train", "colour"] = "train"
    """What to write: ids (void = 255) with the class colours as palette, or colours as RGB."""
    size: tuple[int, int] | None = None
    """Scale it to this size too."""
    aspect: Aspect = "crop"
    """How other proportions are brought to the size: crop or pad, never stretch."""
    overwrite: bool = False
    """Replace a file that exists."""


@dataclass(frozen=True, kw_only=True)
class Segment(Computing):
    """Make a label map from a photo."""

    photo: Path = field(metadata=POSITIONAL)
    """The photo."""
    output: Path
    """The .png to write: a palette PNG of train ids, of the photo's size."""
    labels: str = "segmenter"
    """Who labels: segmenter (the one that comes with seg2vid), a file.onnx, hf:NAME."""
    overlay: Path | None = None
    """Also write the photo with the classes' colours over it."""
    confidence: Path | None = None
    """Also write how sure each pixel is, as a grey picture: black 0, white 1."""
    min_confidence: float = ranged(0.0, 0, 1)
    """Pixels no surer than this (0 to 1) become void."""
    overwrite: bool = False
    """Replace files that exist."""
    no_restricted: bool = False
    """Refuse weights for non-commercial use only, as SEG2VID_NO_RESTRICTED=1 does everywhere."""


@dataclass(frozen=True, kw_only=True)
class Studio:
    """Paint a label map in the browser and see it move."""

    model: str | None = None
    """Name (see `seg2vid models`) or path of a model."""
    host: str = "127.0.0.1"
    """Address to listen on; for any other than this machine's own a token is asked for, which
    stands in the address that is printed.
    """
    port: int = ranged(8765, 0, 65535)
    """Port to listen on; 0 takes a free one."""
    open: bool = True
    """Open the page in a browser."""
    streets: Path | None = None
    """Folder of label maps that the page offers to begin with, besides its own street."""
    no_restricted: bool = False
    """Refuse weights for non-commercial use only, as SEG2VID_NO_RESTRICTED=1 does everywhere."""


@dataclass(frozen=True, kw_only=True)
class ToyCity:
    """Render toy-city clips with exact labels, objects, flow and visibility."""

    output: Path
    """The folder to write to."""
    clips: int = ranged(100, 1)
    """Number of clips."""
    seed: int = ranged(0, 0, 1 << 62)
    """The same seed gives the same bytes."""
    size: tuple[int, int] = (256, 128)
    """Size of the frames."""
    frames: int = 9
    """Frames of each clip, the first one included."""
    fps: float = 12.0
    """Frames per second."""
    workers: int = ranged(1, 1, MOST_PROCESSES)
    """Processes that render at the same time."""


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """What every stage of training is told."""

    data: list[str]
    """Folder that `seg2vid prepare` or `seg2vid toycity` wrote; give it again for more."""
    output: Path
    """Folder of the run: weights, state, logs, curves, contact sheets, videos."""
    data_weights: tuple[float, ...] = ()
    """How often to draw from each, as in 2,1 (default: by their numbers of clips)."""
    allow_pipe: bool = False
    """Let --data pipe:COMMAND run that command with the shell to read a dataset."""
    validation: list[str] | None = None
    """Folder of held-out clips; give it again for more (default: those of --data)."""
    recipe: Path | None = None
    """File that names networks and training: of recipes/ its name, or config.yaml of a run."""
    start_from: str | None = None
    """Weights to begin with: name or path of a model, or of a run's weights."""
    model: dict[str, Any] = field(metadata={"is_dotted": True})
    """Change a field of the networks, as in --model.flow_decoder.width 16."""
    settings: dict[str, Any] = field(metadata={"fields_of": RunConfig})


@dataclass(frozen=True, kw_only=True)
class TrainModelOptions(TrainOptions):
    """What the two stages of a model are told besides."""

    judges: Path | None = None
    """Folder of LPIPS and VGG weights, for the terms that need them and the validation (default:
    SEG2VID_JUDGES).
    """
    vgg19: Path | None = None
    """File of VGG-19 as torchvision has it (vgg19-dcbb9e9d.pth), for the term of features as in the
    authors' code, instead of VGG-16.
    """
    without_features: bool = False
    """Leave out the terms of LPIPS and VGG features: their weights become 0."""
    preset: str = "geometry"
    """Networks to train, with an objective for them: geometry, paper, paper-kth or paper-ucf101."""
    freeze: tuple[str, ...] = ()
    """Parts that keep their weights, as in appearance_encoder or motion_encoder,flow_decoder."""
    only: tuple[str, ...] = ()
    """Parts that alone are trained, as in refiner."""


@dataclass(frozen=True, kw_only=True)
class TrainFirstFrame(TrainModelOptions):
    """Train the generator of the first frame on clips; the same command resumes."""

    stage: ClassVar = FirstFrameTrainingConfig
    training: dict[str, Any] = field(metadata={"fields_of": FirstFrameTrainingConfig})


@dataclass(frozen=True, kw_only=True)
class TrainMotion(TrainModelOptions):
    """Train motion: encoder, flow decoder and refiner on clips; the same command resumes."""

    stage: ClassVar = MotionTrainingConfig
    training: dict[str, Any] = field(metadata={"fields_of": MotionTrainingConfig})


@dataclass(frozen=True, kw_only=True)
class TrainSegmenter(TrainOptions):
    """Train the segmenter on photos with label maps; the same command resumes."""

    data: list[str]
    """Folder with photos/ and labels/, or a prepared dataset; give it again for more."""
    stage: ClassVar = SegmenterTrainingConfig
    training: dict[str, Any] = field(metadata={"fields_of": SegmenterTrainingConfig})


@dataclass(frozen=True, kw_only=True)
class TrainReplay:
    """Compute the step at which a run diverged again, and name the cause."""

    run: Path = field(metadata=POSITIONAL)
    """Folder of the run that stopped."""
    judges: Path | None = None
    """Folder of LPIPS and VGG weights, where the run was given one."""
    vgg19: Path | None = None
    """File of VGG-19, where the run was given one."""
    process: int = ranged(0, 0)
    """Number of the process whose batch is taken."""
    device: DeviceName = "auto"
    """What computes it, in float32: auto takes a GPU where there is one, else the processor."""


@dataclass(frozen=True, kw_only=True)
class Evaluate(Computing):
    """Measure a model, or videos of any model, under a protocol; the same command resumes."""

    output: Path
    """Folder of the report: report.json and report.html."""
    model: str | None = None
    """Name or path of a model (default: toycity)."""
    protocol: str | None = None
    """Name of a protocol (see docs/evaluation.md), or the path of one's .yaml (default: the clips
    of --data, without it toycity-v1).
    """
    against: list[str] | None = None
    """Another model to judge in the same run; give it again for more."""
    videos: Path | None = None
    """Folder of generated videos to judge instead of a model, with --reference or --protocol, whose
    clips they are named like.
    """
    reference: Path | None = None
    """Folder of the real videos, of the same names."""
    data: Path | None = None
    """A dataset that `seg2vid prepare` or `seg2vid toycity` wrote, whose clips are then evaluated;
    with --protocol the folder of its data (default: SEG2VID_EVALUATION_DATA).
    """
    judges: Path | None = None
    """Folder of the judges' weights (default: SEG2VID_JUDGES); see `seg2vid judges`."""
    clips: int | None = ranged(None, 1)
    """Judge the first N clips only; the report says so."""
    workers: int | None = ranged(None, 1, MOST_PROCESSES)
    """Processes (default: one for each core)."""
    threads: int | None = ranged(None, 1, 1024)
    """Threads in each process (default: the cores shared out)."""
    keep_work: bool = False
    """Keep what was measured of every clip beside the report."""


@dataclass(frozen=True, kw_only=True)
class Compare:
    """Say what changed between reports, and whether it is more than noise."""

    reports: list[Path] = field(metadata=POSITIONAL)
    """Folders of evaluations under one protocol, or their report.json; each is compared with the
    first. A single one is compared with itself: name its --candidates.
    """
    candidates: tuple[str, ...] = ()
    """Which row of each, as in model,other_1 (default: the model of each)."""
    format: Literal["text", "markdown", "latex", "csv"] = "text"
    """Lines for a terminal, a table for a document, or every number for a program."""


@dataclass(frozen=True, kw_only=True)
class StudyMake:
    """Make one page on which people choose the better of two videos, pair by pair."""

    folders: list[Path] = field(metadata=POSITIONAL)
    """Folders of videos of the same names: the first is compared with each of the others."""
    output: Path
    """The page, .html: it needs no other file and no network."""
    pairs: int = ranged(30, 1, 1000)
    """Pairs of videos for each folder that the first is compared with."""
    seed: int = ranged(0, 0, LARGEST_SEED)
    """Draws the videos, their order and their sides; another seed gives another person's page."""
    fps: float = ranged(8.0, 1, 60)
    """Frames per second."""


@dataclass(frozen=True, kw_only=True)
class StudyAnalyse:
    """Say what people preferred, with intervals and a sign test."""

    answers: list[Path] = field(metadata=POSITIONAL)
    """The files that the page saved, one for each sitting."""


@dataclass(frozen=True, kw_only=True)
class Judges:
    """List the judges, whether their weights are there and right, and where they come from."""

    judges: Path | None = None
    """Folder of the judges' weights (default: SEG2VID_JUDGES)."""


@dataclass(frozen=True, kw_only=True)
class JudgesConvert:
    """Turn an official file of a judge's weights into the file that is read here."""

    file: Path = field(metadata=POSITIONAL)
    """The official file, as `seg2vid judges` names it."""
    output: Path
    """The folder of the judges' weights."""
