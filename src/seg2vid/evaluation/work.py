"""The work of an evaluation: every candidate on every clip, on all cores, resumable.

A unit is one candidate on one clip. Its arrays lie in ``work/units/CLIP/CANDIDATE.safetensors``
below the output, its pictures, frame below frame, in ``work/strips/CLIP/CANDIDATE.jpg``; what is
there is not done again.
"""

import sys
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from einops import rearrange
from safetensors.torch import load, save_file
from tqdm import tqdm

from seg2vid.evaluation.baselines import TrainingPhotos
from seg2vid.evaluation.candidates import Model, baselines_of, video_folder
from seg2vid.evaluation.cases import Cases, digest_of
from seg2vid.evaluation.judges import load_judges
from seg2vid.evaluation.measure import Measurement, Unit
from seg2vid.evaluation.output import Candidate, Output
from seg2vid.evaluation.protocol import Protocol
from seg2vid.evaluation.video_pairs import VideoPairs, VideosOfClips
from seg2vid.media.extras import to_pixels
from seg2vid.media.pictures import write_image
from seg2vid.tools.computing import PrecisionName
from seg2vid.tools.devices import choose_precision, within_precision
from seg2vid.tools.environment import peak_memory
from seg2vid.tools.errors import Seg2VidError
from seg2vid.tools.files import replacing
from seg2vid.tools.processes import work_in_processes

DIGEST = "digest"
"""Name of the file beside a clip's units that says which pixels were shown."""


@dataclass(frozen=True)
class Setup:
    """What is evaluated, how and where: all that a process needs to know to do its share.

    Raises ``Seg2VidError`` for a ``limit`` below 1.
    """

    protocol: Protocol
    output: Path
    """Folder of the report."""
    model: str | None = None
    against: tuple[str, ...] = ()
    """Further models in the same run."""
    data: Path | None = None
    judges: Path | None = None
    limit: int | None = None
    """Takes the first so many clips only."""
    pairs: VideoPairs | None = None
    """Two folders of videos, in place of models and clips."""
    videos: Path | None = None
    """Videos of the protocol's clips, in place of models."""
    device: str = "cpu"
    precision: PrecisionName = "auto"
    """In which networks compute; auto is the protocol's."""

    def __post_init__(self) -> None:
        if self.limit is not None and self.limit < 1:
            fix = "use --clips 1 or more"
            raise Seg2VidError("--clips of at least 1", got=self.limit, fix=fix)
        choose_precision(self.precision, torch.device(self.device))

    @property
    def computes_in(self) -> PrecisionName:
        """What networks compute in."""
        return self.protocol.precision if self.precision == "auto" else self.precision

    @property
    def work(self) -> Path:
        """Folder of what was measured."""
        return self.output / "work"

    @cached_property
    def cases(self) -> Cases:
        """The clips."""
        return Cases(self.protocol, self.data, self.limit, self.pairs)

    @cached_property
    def candidates(self) -> tuple[Candidate, ...]:
        """Everything that is evaluated, the real thing first.

        Raises ``Seg2VidError`` where weights or training photos are missing.
        """
        protocol, device = self.protocol, self.device
        model = Model(self.model, protocol, device) if self.model else None
        given: VideoPairs | VideosOfClips | None = self.pairs
        if self.videos is not None:
            given = VideosOfClips(self.videos, protocol, self.cases.names)
        found = [*self._photo_baselines(), *baselines_of(protocol, model, given)]
        if given is not None:
            found.append(video_folder(given))
        if model is not None:
            found.append(model.candidate("model", "model"))
        for number, name in enumerate(self.against, 1):
            found.append(Model(name, protocol, device).candidate(f"other_{number}", "other"))
        return tuple(found)

    def _photo_baselines(self) -> list[Candidate]:
        if not {"nearest", "mean_colour"} & set(self.protocol.baselines):
            return []
        folder = self.cases.folder_of(self.protocol.training)
        found = TrainingPhotos(folder, self.protocol.height, self.protocol.width).baselines
        return [found[key] for key in self.protocol.baselines if key in found]

    @cached_property
    def measurement(self) -> Measurement:
        """The judges, loaded."""
        return Measurement(self.protocol, load_judges(self.judges).to(self.device))

    def unit_file(self, case: str, candidate: str) -> Path:
        """Return where the arrays of a unit lie."""
        return self.units / case / f"{candidate}.safetensors"

    @property
    def units(self) -> Path:
        """The folder of all arrays."""
        return self.work / "units"

    @property
    def strips(self) -> Path:
        """The folder of all pictures."""
        return self.work / "strips"

    def missing(self, number: int) -> list[Candidate]:
        """Return the candidates that were not measured on a clip."""
        case = self.cases.names[number]
        return [one for one in self.candidates if not self.unit_file(case, one.key).is_file()]

    def numbers_left(self) -> list[int]:
        """Return the numbers of the clips on which candidates are missing."""
        return [number for number in range(len(self.cases.names)) if self.missing(number)]

    @torch.inference_mode()
    def do(self, number: int) -> int:
        """Measure every candidate on one clip; return the peak memory of this process in bytes."""
        case = self.cases.names[number]
        clip = self.cases.read(number)
        for folder in (self.units / case, self.strips / case):
            folder.mkdir(parents=True, exist_ok=True)
        with replacing(self.units / case / DIGEST) as temporary:
            temporary.write_text(digest_of(clip))
        clip = clip.to(self.device)
        with within_precision(self.computes_in):
            for candidate in self.missing(number):
                output = candidate.make(clip, number)
                unit = self.measurement.measure(output, clip, is_real=candidate.key == "truth")
                self._keep(case, candidate, output, unit)
        return peak_memory()

    def _keep(self, case: str, candidate: Candidate, output: Output, unit: Unit) -> None:
        """Write pictures, then arrays: a unit whose arrays are there is whole."""
        pixels = to_pixels(output.frames[0])
        strip = rearrange(pixels, "frame h w rgb -> (frame h) w rgb")
        write_image(self.strips / case / f"{candidate.key}.jpg", strip)
        with replacing(self.unit_file(case, candidate.key)) as temporary:
            save_file(unit, temporary)

    def read_units(self, candidate: str) -> list[Unit]:
        """Read the arrays of one candidate on all clips, in their order."""
        # As bytes: safetensors opens no path that is not UTF-8.
        paths = [self.unit_file(case, candidate) for case in self.cases.names]
        return [load(path.read_bytes()) for path in paths]

    def read_digests(self) -> list[str]:
        """Read the digests of the pixels that were shown, clip by clip."""
        return [(self.units / case / DIGEST).read_text() for case in self.cases.names]


_SETUP: list[Setup] = []
"""Of this worker process."""


def _begin(setup: Setup) -> None:
    # A function of the module, not a method of the list: that would fill a copy of it.
    _SETUP.append(setup)


def _do(number: int) -> int:
    return _SETUP[0].do(number)


def work(setup: Setup, *, workers: int, threads: int) -> int:
    """Measure what is missing, in ``workers`` processes of ``threads`` threads; show progress.

    One worker works in this process. Returns the peak memory in bytes of the process that had most.
    Raises ``Seg2VidError`` where a process dies.
    """
    left, peaks = setup.numbers_left(), [0]
    name = setup.protocol.name
    with tqdm(total=len(left), unit="clip", desc=name, disable=None, file=sys.stderr) as bar:

        def done(_number: int, peak: int) -> None:
            peaks.append(peak)
            bar.update()

        if workers == 1 or len(left) <= 1:
            torch.set_num_threads(threads)
            for number in left:
                done(number, setup.do(number))
        else:
            # A copy without what was loaded here: each process loads its own.
            bare = (replace(setup),)
            how: dict[str, Any] = {"begin": _begin, "begin_with": bare, "threads": threads}
            work_in_processes(_do, left, workers=workers, done=done, **how)
    return max(peaks)
