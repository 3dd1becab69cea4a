"""What ``seg2vid dataset`` is asked."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from seg2vid.tools.computing import Working
from seg2vid.tools.ranges import LARGEST_SEED, ranged

Layout = Literal["cityscapes", "kitti-flow", "davis", "coco"]
MOST_CLIPS = 1_000_000
"""Names of clips have six digits."""
_RANGE = {"metavar": "X,X"}


@dataclass(frozen=True, kw_only=True)
class DatasetOptions(Working):
    """Make an annotated video dataset from label maps; the same command resumes.

    Clip k is made from the label maps in turn, with seed SEED + k. docs/dataset.md shows the files.
    """

    labels: Path = field(metadata={"is_positional": True})
    """Folder of label maps."""
    output: Path
    """Folder to write."""
    count: int = field(metadata={"range": (1, MOST_CLIPS)})
    """Number of clips."""
    layout: Layout
    """Whose files and names."""
    model: str | None = None
    """Name (see `seg2vid models`) or path of a model."""
    frames: int | None = ranged(None, 2, MOST_CLIPS)
    """Frames of each clip, the first one included (default: 9; kitti-flow has 2)."""
    fps: float | None = ranged(None, 1, 240)
    """Frames per second (default: 17 for cityscapes, 10 for kitti-flow, else the model's)."""
    seed: int = ranged(0, 0, LARGEST_SEED - MOST_CLIPS)
    """The same seed gives the same bytes."""
    instances: Path | None = None
    """Folder of instance maps of the same names (default: A_instances.png beside A.png, or what
    label maps of instance ids tell, else separate areas of a class).
    """
    label_space: str | None = None
    """Name (see `seg2vid labels spaces`) or .yaml file of the maps' classes (default: the model's).
    """
    camera_speed: tuple[float, ...] = field(default=(), metadata=_RANGE)
    """Range from which the camera's speed is drawn for each clip, in m/s (default: as z says)."""
    camera_turn: tuple[float, ...] = field(default=(), metadata=_RANGE)
    """The same of its turn, in degrees/s, positive to the right."""
    control: Path | None = None
    """File of wishes for the motion (docs/control.md); those for what a map lacks are left out."""
    val_share: float = ranged(0.1, 0, 0.9)
    """Share of the label maps whose clips are for validation."""
    shard_of: str = "1/1"
    """i/N: make the i-th of N shares of the clips; the last job writes the lists."""
    dry_run: bool = False
    """Only say what would be made and what it would cost."""
    no_restricted: bool = False
    """Refuse weights for non-commercial use only, as SEG2VID_NO_RESTRICTED=1 does everywhere."""
