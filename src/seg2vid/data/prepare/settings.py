"""What ``seg2vid prepare`` is asked, and what of it decides the content of every clip."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from seg2vid.tools.computing import Working
from seg2vid.tools.ranges import ranged, read_share

Layout = Literal["auto", "cityscapes", "kitti", "kth", "ucf101", "camvid", "toycity", "folder"]
Windows = Literal["sliding", "labelled"]


@dataclass(frozen=True)
class ClipSettings:
    """What decides the content of every clip; it stands in the index."""

    height: int = 128
    width: int = 256
    num_frames: int = 8
    """Frames after the first one."""
    frames_per_second: float = 12.0
    """Wanted rate: of each recording every n-th frame is taken, n such that it comes nearest."""
    step: int | None = ranged(None, 1)
    """Take every n-th frame with this n, whatever the rate."""
    stride: int | None = ranged(None, 1)
    """Frames from one clip's start to the next, in taken frames; by default they do not overlap."""
    windows: Windows = "sliding"
    """``labelled``: clips begin at labelled frames only; ``sliding``: they follow one another."""
    aspect: Literal["crop", "pad"] = "crop"
    """How other proportions are brought to the size, never stretched."""
    least_visible: float = 0.05
    """Share of the first frame that the last one still shows at least: less is a cross-fade or
    nothing to learn motion from.
    """
    keep_flow: bool = False
    """Store flow and visibility with the clip, as supervision."""
    lossless: bool = False
    """PNG instead of JPEG."""
    flip: bool = False
    """Label the mirrored frames too, and take the mean: twice the time, a little better."""
    smooth: float = 0.5
    """Weight of the neighbouring frames, along the flow, in a frame's labels."""
    adapt: float = 0.0
    """Share of the segmenter's batch statistics that is taken from the clip."""
    min_confidence: float = 0.0
    """Pixels less sure than this become void."""


@dataclass(frozen=True, kw_only=True)
class PrepareOptions(Working):
    """Turn videos or a known dataset into clips with label maps; the same command resumes.

    SOURCE is a video, a folder of videos or of folders of frames (labels/ and instances/ in them
    are used), or the official tree of Cityscapes, KITTI raw, KTH, UCF-101 or CamVid.
    docs/data.md explains the options.
    """

    source: Path = field(metadata={"is_positional": True})
    """Where the videos are."""
    output: Path
    """Folder to write: shards (tar), index.json, report.html."""
    layout: Layout = "auto"
    """What SOURCE is; auto finds out."""
    only: str | None = None
    """Regular expression; recordings with no match in their name are left out."""
    size: tuple[int, int] = (256, 128)
    """Size of the clips, multiples of 32."""
    frames: int = ranged(9, 2)
    """Frames of each clip, the first one included."""
    fps: float = 12.0
    """Wanted frames per second; every n-th frame is taken, n such that it comes nearest."""
    settings: dict[str, Any] = field(
        default_factory=dict,
        metadata={
            "fields_of": ClipSettings,
            "without": ("height", "width", "num_frames", "frames_per_second"),
        },
    )
    labels: str = "segmenter"
    """Who labels frames without a map: segmenter, file.onnx, hf:NAME or none."""
    flow: Literal["dis", "raft", "none"] = "dis"
    """What measures motion: dis (OpenCV), raft (needs --judges) or none."""
    judges: Path | None = None
    """Folder of raft_small.safetensors."""
    val_share: float = 0.1
    """Share of the recordings for validation, where the dataset has no split."""
    test_share: float = 0.0
    """Share of the recordings for test, likewise."""
    group: str | None = None
    """Regular expression; recordings with the same match in their name stay in one split."""
    shard_size: int = ranged(64, 1)
    """Megabytes of a shard."""
    shard_of: str = "1/1"
    """i/N: do the i-th of N shares of the recordings; the last job joins them."""
    dry_run: bool = False
    """Only say what would be done and what it would cost."""

    @property
    def clip(self) -> ClipSettings:
        """What decides the content of every clip."""
        width, height = self.size
        return ClipSettings(height, width, self.frames - 1, self.fps, **self.settings)

    @property
    def share(self) -> tuple[int, int]:
        """The i and N of ``shard_of``; raises ``MediaError`` for other text."""
        return read_share(self.shard_of, "prepare")


def choose_step(recording_rate: float, settings: ClipSettings) -> int:
    """Return of how many frames one is taken."""
    return settings.step or max(1, round(recording_rate / settings.frames_per_second))
