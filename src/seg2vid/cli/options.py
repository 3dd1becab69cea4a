"""The options of a verb: a dataclass for each; its docstring and those of its fields are the help.

Those of the verbs that make videos and that train stand in ``video_options`` and
``training_options``. What verbs do stands in the other modules, imported when it is asked for.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from seg2vid.cli.arguments import POSITIONAL
from seg2vid.cli.video_options import Aspect, Encoding, Palette
from seg2vid.tools.computing import Computing
from seg2vid.tools.ranges import LARGEST_SEED, MOST_PROCESSES, ranged


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
    looks: str | None = None
    """A dataset, as for training, whose pictures' looks first frames are painted with (default:
    those that the first-frame run saw last)"""


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
class Evaluate(Computing):
    """Measure a model, or videos of any model, under a protocol; the same command resumes."""

    output: Path
    """Folder of the report: report.json and report.html."""
    model: str | None = None
    """Name or path of a model (default: toycity); a folder that `seg2vid export` wrote is judged by
    its graphs.
    """
    protocol: str | None = None
    """Name of a protocol (see docs/evaluation.md), or the path of one's .yaml (default: the clips
    of --data, without it toycity-v2).
    """
    against: list[str] | None = None
    """Another model or export to judge in the same run; give it again for more."""
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
