"""The options of the verbs that make videos: generate and animate."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Literal

from seg2vid.cli.arguments import POSITIONAL
from seg2vid.tools.computing import Computing
from seg2vid.tools.ranges import LARGEST_SEED, ranged

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
    careful: bool = True
    """Keep the camera from running into vehicles and people from flying, whatever the seed says."""
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
        """Return the path of each video, by the numbers of its input and of its sample."""
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
        """Return the path that names what the videos of each input have in common."""
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
