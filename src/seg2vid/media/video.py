"""Videos: written frame by frame with bounded memory, whole or not at all; and read back."""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, cast

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace
from av.video.stream import VideoStream
from jaxtyping import UInt8
from PIL import Image, ImageSequence

from seg2vid.media.pictures import MOST_PIXELS, open_picture, read_image
from seg2vid.tools.errors import MediaError
from seg2vid.tools.files import Replacement, check_regular, write_marker

Frame = UInt8[np.ndarray, "height width 3"]
Writer = TypeVar("Writer", bound="AllOrNothing")

PALETTE_FRAMES = 8
"""Frames from which the one palette of a gif is made; they are all that is ever held back."""

PALETTE_PIXELS = 40_000
"""Pixels of these frames that are looked at."""

_BT709 = 1
"""The number of BT.709 in the H.264 and VP9 headers, for matrix, primaries and transfer alike."""


class _StreamEncoder:
    """One video stream in a file through PyAV, whose clock ticks once for each frame."""

    def __init__(self, path: Path, ending: str, frames_per_second: Fraction) -> None:
        form = _FORMATS[ending]
        self.container = av.open(str(path), "w", format=ending[1:], options=form.muxer)
        stream = self.container.add_stream(form.codec, rate=frames_per_second, options=form.options)
        self.stream = cast(VideoStream, stream)
        self.stream.pix_fmt = form.pixels
        self.stream.codec_context.time_base = self.time_base = 1 / frames_per_second
        self.count = 0

    def write(self, frame: Frame) -> None:
        if self.count == 0:
            self.stream.height, self.stream.width = frame.shape[:2]
        self._encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24"))

    def _encode(self, picture: av.VideoFrame) -> None:
        picture.pts, picture.time_base = self.count, self.time_base
        self.count += 1
        self.container.mux(self.stream.encode(picture))

    def _flush(self) -> None:
        if self.count:
            self.container.mux(self.stream.encode(None))

    def close(self) -> None:
        try:
            self._flush()
        finally:
            self.container.close()


class _YuvEncoder(_StreamEncoder):
    """mp4 (H.264) or webm (VP9), in the colours of BT.709."""

    def write(self, frame: Frame) -> None:
        # H.264 and VP9 need even sides, so an odd side repeats its last row or column.
        frame = np.pad(frame, ((0, frame.shape[0] % 2), (0, frame.shape[1] % 2), (0, 0)), "edge")
        if self.count == 0:
            context = self.stream.codec_context
            context.colorspace = context.color_primaries = context.color_trc = _BT709
            context.color_range = ColorRange.MPEG
        super().write(frame)

    def _encode(self, picture: av.VideoFrame) -> None:
        # Without matrix and range in the file, browsers guess them by size and colours shift.
        picture = picture.reformat(
            format="yuv420p",
            dst_colorspace=Colorspace.ITU709,
            src_color_range=ColorRange.JPEG,
            dst_color_range=ColorRange.MPEG,
        )
        picture.colorspace, picture.color_range = _BT709, ColorRange.MPEG
        super()._encode(picture)


class _GifEncoder(_StreamEncoder):
    """An endless gif with one palette; its ordered dithering does not flicker in motion."""

    def __init__(self, path: Path, ending: str, frames_per_second: Fraction) -> None:
        super().__init__(path, ending, frames_per_second)
        self.early: list[Frame] = []
        self.palette: Image.Image | None = None
        self.entries = np.full((256, 4), 255, dtype=np.uint8)

    def write(self, frame: Frame) -> None:
        if self.palette is not None:
            self._dither(frame)
            return
        self.early.append(frame)
        if len(self.early) == PALETTE_FRAMES:
            self._make_palette()

    def _make_palette(self) -> None:
        together = np.concatenate(self.early)
        # Clustering is slow: a sample of the pixels gives the same palette.
        step = math.ceil(math.sqrt(together.size / 3 / PALETTE_PIXELS))
        sample = Image.fromarray(np.ascontiguousarray(together[::step, ::step]))
        self.palette = sample.quantize(256, Image.Quantize.MEDIANCUT, kmeans=2)
        colours = np.array(self.palette.getpalette("RGB"), dtype=np.uint8).reshape(-1, 3)
        self.entries[: len(colours), 1:] = colours
        self.stream.height, self.stream.width = self.early[0].shape[:2]
        for frame in self.early:
            self._dither(frame)
        self.early.clear()

    def _dither(self, frame: Frame) -> None:
        height, width = frame.shape[:2]
        pattern = _BAYER[np.arange(height)[:, None] % 4, np.arange(width)[None] % 4]
        dithered = np.clip(frame + pattern[..., None], 0, 255).astype(np.uint8)
        image = Image.fromarray(dithered).quantize(palette=self.palette, dither=Image.Dither.NONE)
        indices_and_palette: Any = (np.asarray(image), self.entries)
        self._encode(av.VideoFrame.from_ndarray(indices_and_palette, format="pal8"))

    def _flush(self) -> None:
        if self.early:
            self._make_palette()
        super()._flush()


_BAYER = (np.array([[0, 8, 2, 10], [12, 4, 14, 6], [3, 11, 1, 9], [15, 7, 13, 5]]) - 7.5) / 2
"""Offsets of the 4x4 ordered dither: about the distance of neighbouring palette colours."""


class _FolderEncoder:
    """A folder of 000000.png, 000001.png ..., lossless."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.count = 0

    def write(self, frame: Frame) -> None:
        Image.fromarray(frame).save(self.path / f"{self.count:06d}.png", compress_level=4)
        self.count += 1

    def close(self) -> None:
        pass  # every file is already whole


class _Format(NamedTuple):
    encoder: type[_StreamEncoder]
    codec: str
    pixels: str
    options: dict[str, str] = {}
    muxer: dict[str, str] = {}
    fastest: int = 240
    """Most frames a second."""


_VP9 = {"crf": "20", "b": "0", "deadline": "good", "cpu-used": "4", "row-mt": "1"}
_H264 = {"crf": "16", "preset": "medium"}
_WEBP = {"quality": "90", "compression_level": "4"}
_FORMATS = {
    ".mp4": _Format(_YuvEncoder, "libx264", "yuv420p", _H264, {"movflags": "+faststart"}),
    ".webm": _Format(_YuvEncoder, "libvpx-vp9", "yuv420p", _VP9),
    ".webp": _Format(_StreamEncoder, "libwebp_anim", "bgra", _WEBP, {"loop": "0"}),
    ".gif": _Format(_GifEncoder, "gif", "pal8", {}, {"loop": "0"}, fastest=100),
}


def video_ending(path: Path) -> str:
    """Return the ending that chooses the format, "" for a folder; others are a ``MediaError``."""
    ending = path.suffix.lower()
    if ending == "" or (ending not in _FORMATS and path.is_dir()):
        return ""
    if ending not in _FORMATS:
        what = f"a video ending in {', '.join(_FORMATS)}, or a folder name for png frames"
        raise MediaError(what, got=repr(path.name), fix="change the ending")
    return ending


def frame_rate(frames_per_second: float, ending: str = "") -> Fraction:
    """Return the rate as a fraction; raise ``MediaError`` unless above 0 and at most 240.

    A gif, by its ``ending``, counts in hundredths of a second.
    """
    fastest = _FORMATS[ending].fastest if ending else 240
    if not math.isfinite(frames_per_second) or not 0 < frames_per_second <= fastest:
        where = f" in a {ending[1:]}" if fastest < 240 else ""
        what = f"frames per second above 0 and at most {fastest}{where}"
        raise MediaError(what, got=frames_per_second, fix="12 is a good start")
    return max(Fraction(frames_per_second).limit_denominator(1001), Fraction(1, 1001))


class AllOrNothing(ABC):
    """A context manager: what is written appears if the block ends well, else leaves no trace."""

    @abstractmethod
    def close(self) -> object:
        """Finish and move everything to its place."""

    @abstractmethod
    def discard(self) -> None:
        """Stop, and delete what was written so far."""

    def __enter__(self: Writer) -> Writer:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self.close()
        finally:
            self.discard()


class VideoWriter(AllOrNothing):
    """Writes frames to mp4, webm, gif, webp or a folder of png, by the ending of ``path``.

    A context manager: the output appears if the block ends well; a failed block leaves no trace. An
    older file is replaced, an older folder only if it holds nothing but what a writer wrote. A
    folder is marked as such by a ``video.json``, which also tells what is put into ``about``.
    """

    def __init__(self, path: Path, *, frames_per_second: float, is_part: bool = False) -> None:
        """Open a temporary sibling; raise ``MediaError`` for what cannot be written.

        A folder that ``is_part`` of a marked one has no marker of its own.
        """
        ending = video_ending(path)
        rate = frame_rate(frames_per_second, ending)
        self.path = path
        self.replacement = Replacement(path, is_folder=ending == "")
        self.shape: tuple[int, ...] | None = None
        self.about: dict[str, object] = {}
        self._is_marked = self.replacement.is_folder and not is_part
        self._frames, self._rate = 0, frames_per_second
        self._encoder: _StreamEncoder | _FolderEncoder | None = None
        place = self.replacement.temporary
        try:
            self._encoder = (
                _FORMATS[ending].encoder(place, ending, rate) if ending else _FolderEncoder(place)
            )
        except BaseException:
            self.replacement.discard()
            raise

    def write(self, frame: Frame) -> None:
        """Append one frame, uint8 RGB; raise ``MediaError`` for a size unlike the others'."""
        if self._encoder is None:
            raise MediaError("an open writer", got="a closed one", fix="open a new one")
        self.shape = self.shape or frame.shape
        if frame.shape != self.shape or frame.ndim != 3 or frame.dtype != np.uint8:
            what = f"uint8 RGB frames of one shape {self.shape}"
            got = f"{frame.dtype} of shape {frame.shape}"
            raise MediaError(what, got=got, fix="convert and resize the frames first")
        self._encoder.write(frame)
        self._frames += 1

    def finish(self) -> None:
        """Complete the temporary file; raise ``MediaError`` when no frame was written."""
        encoder, self._encoder = self._encoder, None
        if encoder is not None:
            encoder.close()
        if self.shape is None:
            raise MediaError("at least one frame", got="none", fix="write frames first")
        if self._is_marked:
            facts = {"frames": self._frames, "frames_per_second": self._rate}
            write_marker(self.replacement.temporary, self.about | facts)

    def discard(self) -> None:
        """Stop, and delete what was written so far."""
        encoder, self._encoder = self._encoder, None
        try:
            with suppress(Exception):
                if encoder is not None:
                    encoder.close()
        finally:
            self.replacement.discard()

    def close(self) -> None:
        """Move the finished video to its place."""
        self.finish()
        self.replacement.commit()


_VIDEO = "a video or a folder of png frames"


def iterate_video(path: Path) -> Iterator[Frame]:
    """Yield the frames of a video file, one at a time. Raises ``MediaError`` for what is none."""
    check_regular(path, _VIDEO)
    try:
        with av.open(str(path)) as container:
            for frame in container.decode(video=0):
                if frame.width * frame.height > MOST_PIXELS:
                    raise ValueError(f"frames of {frame.width}x{frame.height} pixels")
                yield frame.to_ndarray(format="rgb24")
    except (OSError, av.error.FFmpegError, IndexError, ValueError) as error:
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: Exception) -> MediaError:
    return MediaError(_VIDEO, got=f"{path}: {error}", fix="check the file")


def read_video(path: Path) -> UInt8[np.ndarray, "time height width 3"]:
    """Read all frames of a video, animated picture or folder of png, else raise ``MediaError``."""
    try:
        if path.is_dir():
            frames = [read_image(picture) for picture in sorted(path.glob("*.png"))]
        elif path.suffix.lower() in {".gif", ".webp"}:
            with open_picture(path, _VIDEO) as image:
                frames = [np.array(frame.convert("RGB")) for frame in ImageSequence.Iterator(image)]
        else:
            frames = list(iterate_video(path))
    except (MediaError, MemoryError):
        raise
    except Exception as error:  # decoders of damaged files raise anything
        raise _unreadable(path, error) from None
    if not frames:
        raise MediaError("frames", got=f"none in {path}", fix="check the file")
    if len(sizes := {f"{frame.shape[1]}x{frame.shape[0]}" for frame in frames}) > 1:
        got = f"{' and '.join(sorted(sizes)[:3])} in {path}"
        raise MediaError("frames of one size", got=got, fix="scale them")
    return np.stack(frames)
