"""A scene that goes on: pass by pass for a video, or frame by frame under changing control.

Everything is read from key frames (``models/key_frame.py``): each serves for some passes, and the
last frame that was read from it is the next one.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from copy import copy
from dataclasses import dataclass, replace
from functools import partial
from math import cos, inf, pi
from typing import Any

import torch
from torch import Tensor

from seg2vid.labels.space import LabelSpace
from seg2vid.media.generated import GeneratedVideo
from seg2vid.models.animator import (
    Animator,
    Key,
    choose_instances,
    choose_labels,
    continue_latent,
    mark_painted,
)
from seg2vid.models.control import Control, steering
from seg2vid.models.drive import Drive, last_velocity
from seg2vid.models.key_frame import KeyFrame
from seg2vid.models.layers import OBJECT_FACTOR, coarse_labels, find_objects
from seg2vid.structures import Latent, Objects, join_batch
from seg2vid.tools.errors import ModelError

STANDING = 4
"""How many times longer a key frame serves a camera that stands: it shows little that is new."""

MOST_FRAMES = 32
"""Frames that are made at once: slow motion has any number of them in a pass."""


@dataclass(frozen=True)
class Pace:
    """When each frame of a video is, in the model's frames since the first."""

    step: float
    """From frame to frame."""
    loop: int = 0
    """Frames of a loop, on whose way there ``step`` is the largest; 0 for a video without end."""

    def at(self, number: int) -> float:
        """Return when a frame is."""
        if self.loop == 0:
            return number * self.step
        angle = 2 * pi / self.loop
        return self.step / angle * (1 - cos(angle * number))

    def between(self, before: int, after: int) -> float:
        """Return how much later a frame is than another."""
        return self.at(after) - self.at(before)

    def reach(self, begin: int, span: int) -> int:
        """Return the last frame within a ``span`` from frame ``begin``, but at least the next."""
        end, last = begin + 1, self.loop // 2 if self.loop else inf
        while end < last and self.between(begin, end + 1) <= span + 1e-6 * self.step:
            end += 1
        return end


class Session:
    """A scene in motion, made by ``Seg2VidPipeline.start``; memory does not grow with its length.

    ``step`` makes the next frame; what control says may be another each time. The same seed and
    control give the same frames.
    """

    def __init__(
        self,
        animator: Animator,
        first: GeneratedVideo,
        objects: Objects,
        *,
        space: LabelSpace,
        pace: Pace,
        arithmetic: Callable[[], AbstractContextManager[Any]],
    ) -> None:
        """``first`` is the video of the first frame alone; networks run in ``arithmetic()``."""
        self.animator, self.space, self.arithmetic = animator, space, arithmetic
        self.first = first
        """The first frame, with all that is known of it."""
        self.count = 0
        """Frames made after the first."""
        self.pace = pace
        self._factor = first.label_map.shape[2] // (OBJECT_FACTOR * objects.shape[2])
        self._objects = objects
        self._control: Control | None = None
        # The key frames of all samples, the first and last frame that they serve, and what is known
        # of them; up to which frame is painted; what was made last.
        self._keys: Sequence[Key] = ()
        self._begin = self._end = self._painted_until = 0
        self._key = self._last = first
        self._marks = torch.zeros_like(first.first_frame[:, :1])
        # The camera's last places after the key, and how far it had turned by the key.
        self._path: Tensor | None = None
        self._heading = torch.zeros(len(objects))

    @property
    def seconds(self) -> float:
        """When the last frame is, since the first."""
        return self.pace.at(self.count) / self.animator.config.frames_per_second

    def step(self, control: Control | None = None) -> GeneratedVideo:
        """Make the next frame and return it as a video of that frame, with all that is known of it.

        ``control`` holds from the frame before on; what it leaves out is as z says. It may name
        what the first frame has. Raises ``LabelMapError`` and ``ModelError`` for wishes that cannot
        be had.
        """
        if control != self._control and control is not None:
            self.check(control)
        with torch.inference_mode():
            self._follow(control)
            number, last = self.count + 1, self.count + 1
            if self.count >= self._painted_until:
                # What comes into view in a while is painted first, and whole: frames until then
                # show it from there.
                last = min(self.pace.reach(self.count, self.animator.config.num_frames), self._end)
                self._painted_until = last
            return self._show([number] if last == number else [number, last], shown=1)

    def make_pass(self, until: int, control: Control | None = None) -> GeneratedVideo:
        """Make the frames of the next pass, ``MOST_FRAMES`` at most, but none after ``until``."""
        with torch.inference_mode():
            self._follow(control)
            begins = self.count >= self._painted_until
            if begins:
                ends = self.pace.reach(self.count, self.animator.config.num_frames)
                self._painted_until = min(ends, self._end)
            # They are made whole: how frames look does not depend on where a video ends.
            stop = min(self._painted_until, self.count + MOST_FRAMES)
            numbers = [*range(self.count + 1, stop + 1)]
            if begins and stop < self._painted_until:
                numbers.append(self._painted_until)  # see ``step``
            return self._show(numbers, shown=min(stop, until) - self.count)

    def move_as(self, z: Latent) -> None:
        """Let what comes next move as ``z`` says, which is of the last frame and its objects.

        It begins as ``z`` does, not as fast as before. A key frame that is still good is read from
        for longer. Shapes are those of ``session.first.z``, or one sample for all; raises
        ``ModelError`` for others and for numbers that are not finite.
        """
        z, before = take_latent(self.animator, z, self._objects), copy(self)
        with torch.inference_mode():
            self._begin_key(z)
            motion, since = self._last.motion, self.pace.between(before._begin, self.count)
            kept, made = (
                [key for key in keys if isinstance(key, KeyFrame) and key.drive.has_ground]
                for keys in (before._keys, self._keys)
            )
            source, depth = motion.source, motion.inverse_depth
            if self.count == before._end or not kept or source is None or depth is None:
                return
            for number, (old, new) in enumerate(zip(kept, made, strict=True)):
                old.follow(new, source[number, -1], depth[number : number + 1, -1], since)
            # The new keys have served: what was begun with them is taken back.
            vars(self).update(vars(before))
            back = replace(motion, backward_flow=motion.forward_flow)
            self._key = replace(self._key, z=continue_latent(z, back, self._objects))
            self._painted_until = self.count

    def check(self, control: Control) -> None:
        """Raise ``LabelMapError`` or ``ModelError`` for wishes that do not fit the first frame."""
        if self.animator.config.architecture == "paper":
            what = "a model whose motion is a scene's, for wishes about it"
            raise ModelError(what, got="the architecture paper", fix="leave them out")
        control.check(self.first.label_map, self.first.instance_map, self.space)

    def _follow(self, control: Control | None) -> None:
        """Let what comes next be as ``control`` says."""
        changed = control != self._control
        before, self._control = self._control, control
        since = self.pace.between(self._begin, self.count)
        if self.count == self._end:
            self._begin_key()
        elif changed:
            kept = [
                (one.freeze, one.careful) for one in (before or Control(), control or Control())
            ]
            steers = self._steering(control)
            keys = [key for key in self._keys if isinstance(key, KeyFrame)]
            # A camera that drives off needs keys more often.
            self._end = min(self._end, self.pace.reach(self._begin, self._span()))
            goes_on = kept[0] == kept[1] and self.count < self._end
            if goes_on and all(key.drive.has_ground for key in keys):
                for number, key in enumerate(keys):
                    key.steer(partial(steers, number), since)
            else:
                # What rested in the picture would jump to where it were had it moved.
                self._begin_key()

    def _span(self) -> int:
        """Return how long a key frame serves, in the model's frames."""
        span = self.animator.passes_per_key * self.animator.config.num_frames
        stands = self._control is not None and self._control.camera_stands
        return span * (STANDING if stands else 1)

    def _begin_key(self, z: Latent | None = None) -> None:
        """Make the last frame the next key; the first time that is the first frame.

        It goes on as before or, with a code of its own, as ``z`` says.
        """
        velocity, known, horizon, seen = None, None, None, self._last
        if self.count:
            number_maps = seen.instance_maps
            key = replace(
                self._key,
                first_frame=seen.frames[:, -1],
                label_map=seen.label_maps[:, -1],
                instance_map=None if number_maps is None else number_maps[:, -1],
            )
            things, cell = self.space.foreground_ids, OBJECT_FACTOR * self._factor
            maps = (key.label_map, key.instance_map)
            self._objects = find_objects(*maps, foreground=things, factor=cell)
            given = continue_latent(key.z, seen.motion, self._objects) if z is None else z
            self._key = replace(key, z=given)
            self._marks = self._marks if seen.painted is None else seen.painted[:, -1]
            depth = seen.motion.inverse_depth
            # A code of its own has metres of its own, of depth that is seen anew.
            known = None if depth is None or z is not None else depth[:, -1]
            horizons = [one.horizon for one in self._keys if isinstance(one, KeyFrame)]
            horizon = torch.cat(horizons) if horizons else None
            if (path := self._path) is not None:
                seconds = self.pace.between(self.count - 1, self.count)
                if z is None:
                    rate = self.animator.config.frames_per_second
                    velocity = last_velocity(path, seconds / rate)
                self._heading = self._heading + path[:, -1, 2].cpu()
        elif z is not None:
            self._key = replace(self._key, z=z)
        self._begin, self._path = self.count, None
        self._end = self._painted_until = self.count
        self._end = self.pace.reach(self.count, self._span())
        with self.arithmetic():
            self._keys = self.animator.begin(
                self._key.first_frame,
                self._key.label_map,
                self._key.z,
                self._objects,
                velocity=velocity,
                known=known,
                horizon=horizon,
                told_apart=self._key.instance_map is not None,
                until=round(self.pace.between(self._begin, self._end), 6),
                steer=None if self._control is None else self._steering(self._control),
                careful=self._control is None or self._control.careful,
            )
        depths = [one.inverse_depth for one in self._keys if one.inverse_depth is not None]
        if self.count == 0 and depths:
            self._key = replace(self._key, first_inverse_depth=torch.cat(depths))

    def _steering(self, control: Control | None) -> Callable[[int, Drive], Drive]:
        """Return what changes the drive of each sample as wished."""
        numbers = self._key.instance_map
        numbers = None if numbers is None else coarse_labels(numbers, self._factor)
        begin = self.pace.at(self._begin) / self.animator.config.frames_per_second
        maps = coarse_labels(self._key.label_map, self._factor), numbers
        given = maps, begin, self._heading.tolist()
        return steering(control or Control(), self.space, *given)

    def _show(self, numbers: Sequence[int], *, shown: int) -> GeneratedVideo:
        """Make frames of the key, in this order, and return the first so many."""
        start, key = self.count, self._key
        since = [self.pace.between(self._begin, number) for number in numbers]
        times = torch.tensor(since, dtype=torch.float32, device=key.first_frame.device)
        with self.arithmetic():
            shows = [one.show(times - 1) for one in self._keys]
        animation = join_batch(shows)
        label_maps, instance_maps = choose_labels(key.label_map, animation), None
        if key.instance_map is not None:
            things = self.space.foreground_ids
            instance_maps = choose_instances(key.instance_map, label_maps, animation, things)
        marks = mark_painted(self._marks, animation.motion)

        def first(tensor: Tensor) -> Tensor:
            return tensor[:, :shown]

        self._last = replace(
            key,
            frames=first(animation.refined),
            label_maps=first(label_maps),
            motion=animation.motion.map(first),
            pass_starts=(start,) if start == self._begin else (),
            instance_maps=None if instance_maps is None else first(instance_maps),
            painted=first(marks),
        )
        self.count += shown
        if (path := self._last.motion.camera_path) is not None:
            paths = [path] if self._path is None else [self._path, path]
            self._path = torch.cat(paths, 1)[:, -2:]
        return self._last


def take_latent(animator: Animator, z: Latent, objects: Objects) -> Latent:
    """Return a user's z for each sample, on the device of ``objects``.

    Raises ``ModelError`` where it does not fit the model, its size or the number of samples.
    """
    wanted = animator.flow_decoder.draw(objects[:1], torch.Generator())
    needed, given = ((one.background, one.foreground) for one in (wanted, z))
    for name, own, theirs in zip(("background", "foreground"), needed, given, strict=True):
        if theirs.shape[1:] != own.shape[1:] or theirs.shape[0] not in (1, len(objects)):
            what = f"z.{name} of shape {(len(objects), *own.shape[1:])}"
            fix = "take z from a video of this model and size, or place it with place_motion"
            raise ModelError(what, got=tuple(theirs.shape), fix=fix)
        if not bool(theirs.isfinite().all()):
            raise ModelError(f"finite numbers in z.{name}", got="nan or inf", fix="mend it")
    return z.map(lambda part: part.to(objects.device).expand(len(objects), *part.shape[1:]))
